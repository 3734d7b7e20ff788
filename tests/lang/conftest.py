"""What tests of programs share."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import sgjax
from tests.lang.fake_backend import FakeBackend


@pytest.fixture(scope="session")
def demo_engine() -> Iterator[sgjax.Engine]:
    """The built-in model, in this process."""
    with sgjax.Engine(model_path="demo") as engine:
        yield engine


@pytest.fixture
def fake() -> Iterator[Callable[..., FakeBackend]]:
    """Makes fake backends, and ends them."""
    made: list[FakeBackend] = []

    def make(*args: Any, **kwargs: Any) -> FakeBackend:
        made.append(FakeBackend(*args, **kwargs))
        return made[-1]

    yield make
    for backend in made:
        backend.shutdown()
