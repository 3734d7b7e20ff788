"""Packages that only benchmarks need: the extra `bench`."""

import importlib
from typing import Any

from sgjax.errors import ConfigError


def import_extra(name: str) -> Any:
    """A module of the extra.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ConfigError(
            f"This needs {name.split('.')[0]}, which is not installed. Install it with the extra "
            "`bench`: pip install 'sgjax[bench]'."
        ) from None
