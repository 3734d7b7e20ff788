"""A server of the built-in model, with all routes, for the clients of APIs; and a fake one."""

import os
from collections.abc import Iterator

import pytest

import sgjax as sgl
from tests.lang.backends.fake_api import FakeApi, fake_api

# Clients must not reach for the internet: litellm's list of prices is its own.
os.environ.update({"LITELLM_LOCAL_MODEL_COST_MAP": "True", "DO_NOT_TRACK": "1"})


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with fake_api() as found:
        yield found


@pytest.fixture(scope="session")
def runtime() -> Iterator[sgl.Runtime]:
    """A server of the built-in model: the only engine of this folder."""
    with sgl.Runtime(model_path="demo", api_key="k", max_running_requests=8) as started:
        yield started
