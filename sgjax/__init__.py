"""sgjax: an LLM serving engine in JAX.

`Engine` and `SamplingParams` are found on first use, so that `import sgjax` stays light.
"""

import importlib
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sgjax.front.engine import Engine as Engine
    from sgjax.lang.api import assistant as assistant
    from sgjax.lang.api import assistant_begin as assistant_begin
    from sgjax.lang.api import assistant_end as assistant_end
    from sgjax.lang.api import flush_cache as flush_cache
    from sgjax.lang.api import function as function
    from sgjax.lang.api import gen as gen
    from sgjax.lang.api import gen_int as gen_int
    from sgjax.lang.api import gen_string as gen_string
    from sgjax.lang.api import get_server_args as get_server_args
    from sgjax.lang.api import get_server_info as get_server_info
    from sgjax.lang.api import image as image
    from sgjax.lang.api import select as select
    from sgjax.lang.api import set_default_backend as set_default_backend
    from sgjax.lang.api import system as system
    from sgjax.lang.api import system_begin as system_begin
    from sgjax.lang.api import system_end as system_end
    from sgjax.lang.api import user as user
    from sgjax.lang.api import user_begin as user_begin
    from sgjax.lang.api import user_end as user_end
    from sgjax.lang.api import video as video
    from sgjax.lang.backends.anthropic import Anthropic as Anthropic
    from sgjax.lang.backends.litellm import LiteLLM as LiteLLM
    from sgjax.lang.backends.openai import OpenAI as OpenAI
    from sgjax.lang.backends.runtime_endpoint import RuntimeEndpoint as RuntimeEndpoint
    from sgjax.lang.backends.vertexai import VertexAI as VertexAI
    from sgjax.lang.choices import greedy_token_selection as greedy_token_selection
    from sgjax.lang.choices import token_length_normalized as token_length_normalized
    from sgjax.lang.choices import (
        unconditional_likelihood_normalized as unconditional_likelihood_normalized,
    )
    from sgjax.lang.runtime import Runtime as Runtime
    from sgjax.lang.state import ProgramState as ProgramState
    from sgjax.lang.switches import global_config as global_config
    from sgjax.sampling_params import SamplingParams as SamplingParams

__version__ = "0.1.0"

BEGAN_S = time.time()
"""When this process began to import the package."""

_NAMES = {
    "sgjax.front.engine": ["Engine"],
    "sgjax.lang.api": [
        "assistant",
        "assistant_begin",
        "assistant_end",
        "flush_cache",
        "function",
        "gen",
        "gen_int",
        "gen_string",
        "get_server_args",
        "get_server_info",
        "image",
        "select",
        "set_default_backend",
        "system",
        "system_begin",
        "system_end",
        "user",
        "user_begin",
        "user_end",
        "video",
    ],
    "sgjax.lang.backends.runtime_endpoint": ["RuntimeEndpoint"],
    "sgjax.lang.backends.anthropic": ["Anthropic"],
    "sgjax.lang.backends.litellm": ["LiteLLM"],
    "sgjax.lang.backends.openai": ["OpenAI"],
    "sgjax.lang.backends.vertexai": ["VertexAI"],
    "sgjax.lang.choices": [
        "greedy_token_selection",
        "token_length_normalized",
        "unconditional_likelihood_normalized",
    ],
    "sgjax.lang.runtime": ["Runtime"],
    "sgjax.lang.state": ["ProgramState"],
    "sgjax.lang.switches": ["global_config"],
    "sgjax.sampling_params": ["SamplingParams"],
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = ["__version__", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


if not TYPE_CHECKING:  # else a type checker takes any name for one that there is

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            return getattr(importlib.import_module(_HOMES[name]), name)
        raise AttributeError(f"module 'sgjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
