from types import SimpleNamespace

import pytest

from sgjax.config import ServeConfig
from sgjax.engine.sizing import max_running_requests


@pytest.mark.parametrize(
    ("platform", "asked", "count"),
    [
        ("gpu", {}, 512),
        ("gpu", {"max_running_requests": 1024}, 1024),
        ("gpu", {"max_running_requests": 1024, "max_num_reqs": 100}, 100),
        ("cpu", {}, 32),
        ("cpu", {"max_running_requests": 7}, 7),
    ],
)
def test_requests_at_a_time_depend_on_the_device_until_somebody_says(platform, asked, count):
    config = ServeConfig(model_path="demo", **asked)
    assert max_running_requests(config, SimpleNamespace(platform=platform)) == count
