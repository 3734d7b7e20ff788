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


class Shared:
    """In the place of an Engine that a page starts: one that others use too, and that stays."""

    def __init__(self, engine: sgjax.Engine):
        self._engine = engine

    @property
    def backend(self) -> object:
        return self._engine.backend

    def __enter__(self) -> sgjax.Engine:
        return self._engine

    def __exit__(self, *_: object) -> None:
        pass

    def shutdown(self) -> None:
        pass


@pytest.fixture
def one_engine(demo_engine: sgjax.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts that start the built-in model, or name no backend, get the one that is there."""

    def start(*, model_path: str) -> Shared:
        assert model_path == "demo"
        return Shared(demo_engine)

    monkeypatch.setattr(sgjax, "Engine", start, raising=False)
    monkeypatch.setattr("sgjax.lang.defaults._default", demo_engine.backend)
