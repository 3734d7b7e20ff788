"""The options of an engine and its server: one frozen dataclass.

The command line, the YAML reader, `Engine(**options)` and the documentation are all made from the
fields here, so an option is added in this file and nowhere else.
"""

import dataclasses
from typing import Any, Literal


def _option(default: Any, group: str, help: str, **extra: Any) -> Any:
    """A field with what the command line says about it. `extra`: aliases, metavar, hidden."""
    return dataclasses.field(default=default, metadata={"group": group, "help": help, **extra})


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Everything that can be chosen. Names are SGLang's where SGLang has them."""

    # Model
    model_path: str = _option("demo", "model", "folder, hub id, or 'demo': the built-in model")
    tokenizer_path: str | None = _option(None, "model", "tokenizer, if not the model's own")
    tokenizer_mode: Literal["auto", "slow"] = _option("auto", "model", "slow: no fast tokenizer")
    skip_tokenizer_init: bool = _option(False, "model", "token ids in and out, no text")
    load_format: Literal["auto", "safetensors", "dummy"] = _option(
        "auto", "model", "dummy: random weights from config.json alone"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16", "half", "float"] = _option(
        "auto", "model", "auto: bfloat16 on accelerators, float32 on a CPU"
    )
    context_length: int | None = _option(None, "model", "tokens of a request, prompt and output")
    revision: str | None = _option(None, "model", "branch, tag or commit of a hub id")
    served_model_name: str | None = _option(None, "model", "the name in /v1/models")
    chat_template: str | None = _option(None, "model", "a .jinja file instead of the model's own")

    # Memory and scheduling
    mem_fraction_static: float | None = _option(
        None, "memory", "share of device memory for weights and cache (default 0.88)"
    )
    max_total_tokens: int | None = _option(None, "memory", "tokens the cache holds")
    page_size: int = _option(16, "memory", "tokens of a cache page: a power of two up to 128")
    max_running_requests: int | None = _option(None, "scheduling", "requests computed at a time")
    max_queued_requests: int = _option(1024, "scheduling", "requests that may wait; then 429")
    chunked_prefill_size: int | None = _option(
        None, "scheduling", "prompt tokens of a step (default 8192 on a GPU); 0: no chunks"
    )
    max_prefill_tokens: int = _option(16384, "scheduling", "new prompt tokens of a step, at most")
    schedule_policy: Literal["lpm", "fcfs", "random", "dfs-weight"] = _option(
        "lpm", "scheduling", "who comes first: longest cached prefix, arrival, chance, tree order"
    )
    schedule_conservativeness: float = _option(
        1.0, "scheduling", "higher: more pages kept for running requests, fewer retractions"
    )
    disable_radix_cache: bool = _option(False, "scheduling", "no prefix caching")
    disable_overlap_schedule: bool = _option(False, "scheduling", "read each step before the next")
    random_seed: int | None = _option(None, "scheduling", "seed of requests without a seed")

    # Devices
    tp_size: int = _option(1, "devices", "devices that share the model", aliases=["tensor-parallel-size", "tp"])
    attention_backend: Literal["auto", "reference", "triton"] = _option(
        "auto", "devices", "implementation of attention"
    )
    compile_cache_dir: str | None = _option(
        None, "devices", "folder of compiled programs (default: the user's cache folder); '': none"
    )
    watchdog_timeout_s: float = _option(300.0, "devices", "a step longer than this is a failure")

    # Server
    host: str = _option("127.0.0.1", "server", "address to listen on")
    port: int = _option(30000, "server", "port to listen on")
    api_key: str | None = _option(None, "server", "key that clients must send as a bearer token")
    stream_interval: int = _option(1, "server", "tokens between two chunks of a stream")
    drain_timeout_s: float = _option(30.0, "server", "how long SIGTERM lets requests finish")
    log_level: str = _option("info", "server", "critical, error, warning, info, debug")
    log_level_http: str | None = _option(None, "server", "of the access log (default: log_level)")
    log_requests: bool = _option(False, "server", "log every request")
    enable_cache_report: bool = _option(False, "server", "cached_tokens in OpenAI usage")
