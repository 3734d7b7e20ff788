from types import SimpleNamespace

import pytest

from sgjax.config import ServeConfig
from sgjax.engine.sizing import max_running_requests, num_pages
from sgjax.errors import ConfigError


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


def gpu(*, limit, in_use=0):
    stats = {"bytes_limit": limit, "bytes_in_use": in_use}
    return SimpleNamespace(platform="gpu", memory_stats=lambda: stats)


def pages(devices, *, weight_bytes, **options):
    """With a share that is the allocator's own: all that it may take."""
    config = ServeConfig(model_path="demo", mem_fraction_static=0.95, page_size=16, **options)
    sizes = {"bytes_per_token": 10, "weight_bytes": weight_bytes, "context_length": 100}
    return num_pages(config, devices=devices, **sizes)


def test_the_cache_has_what_weights_will_leave_of_the_fullest_device():
    assert pages([gpu(limit=16_000)], weight_bytes=0) == 100
    assert pages([gpu(limit=16_000, in_use=1_600)], weight_bytes=6_400) == 50


def test_weights_that_leave_no_page_are_refused_before_they_are_loaded():
    with pytest.raises(ConfigError, match="no memory left for the cache"):
        pages([gpu(limit=16_000)], weight_bytes=15_900)
    with pytest.raises(ConfigError, match="there is room for 800 tokens"):
        pages([gpu(limit=16_000)], weight_bytes=8_000, max_total_tokens=801)
