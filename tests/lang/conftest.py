"""What tests of programs share."""

from collections.abc import Iterator

import pytest

import sgjax


@pytest.fixture(scope="session")
def demo_engine() -> Iterator[sgjax.Engine]:
    """The built-in model, in this process."""
    with sgjax.Engine(model_path="demo") as engine:
        yield engine
