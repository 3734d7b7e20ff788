"""sgjax: an LLM serving engine in JAX.

`Engine` and `SamplingParams` are found on first use, so that `import sgjax` stays light.
"""

import importlib
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sgjax.front.engine import Engine
    from sgjax.sampling_params import SamplingParams

__version__ = "0.1.0"

BEGAN_S = time.time()
"""When this process began to import the package."""

__all__ = ["Engine", "SamplingParams", "__version__"]

_HOMES = {"Engine": "sgjax.front.engine", "SamplingParams": "sgjax.sampling_params"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'sgjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
