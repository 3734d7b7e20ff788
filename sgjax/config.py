"""The options of an engine and its server: one frozen dataclass.

The command line, the YAML reader, `Engine(**options)` and the documentation are all made from the
fields here, so an option is added in this file and nowhere else.
"""

import dataclasses
import difflib
import functools
import logging
from collections.abc import Mapping
from typing import Any, Literal, Self

from sgjax.errors import ConfigError
from sgjax.options import Option, Rule, at_least, option, options_of
from sgjax.sglang_flags import IGNORED, LATER, LATER_NAMES, UNREAD_FORMATS

logger = logging.getLogger(__name__)

_SHARE = Rule(words="above 0 and below 1", holds=lambda share: 0 < share < 1)
_PAGE = Rule(
    words="that is a power of two from 1 to 128",
    holds=lambda size: 1 <= size <= 128 and size & (size - 1) == 0,
)
_PORT = Rule(words="from 1 to 65535", holds=lambda port: 1 <= port <= 65535)
_POSITIVE = Rule(words="above 0", holds=lambda value: value > 0)
_NOT_EMPTY = Rule(words="that is not empty", holds=bool)
_SEED = Rule(words="from 0 to 2**63 - 1", holds=lambda seed: 0 <= seed < 2**63)

ToolCallParser = Literal[
    "deepseekv3",
    "deepseekv31",
    "glm45",
    "gpt-oss",
    "hermes",
    "kimi_k2",
    "llama3",
    "mistral",
    "pythonic",
    "qwen",
    "qwen25",
    "qwen3_coder",
]
ReasoningParser = Literal[
    "deepseek-r1",
    "deepseek-v3",
    "glm45",
    "gpt-oss",
    "interns1",
    "kimi",
    "kimi_k2",
    "minimax",
    "mistral",
    "qwen3",
    "qwen3-thinking",
    "step3",
]
CHAT_TEMPLATES = (
    "chatml",
    "chatml-llava",
    "gemma-it",
    "internlm2-chat",
    "llama-2",
    "llama-2-chat",
    "llama-3-instruct",
    "llama-4",
    "mistral",
    "qwen",
    "qwen2-vl",
    "vicuna_v1.1",
)
"""Chat templates that go by a name: those of sgjax.text.named_templates."""
LogLevel = Literal["critical", "error", "warning", "info", "debug"]

GROUPS = {
    "model": "Model",
    "memory": "Memory",
    "scheduling": "Scheduling",
    "devices": "Devices",
    "server": "Server",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Everything that can be chosen. Names are SGLang's where SGLang has them.

    Raises:
        ConfigError: for a value that is not allowed, with the option, the value, and what is.
    """

    model_path: str = option(
        "demo",
        "model",
        "folder, hub id, or 'demo': the built-in model",
        rule=_NOT_EMPTY,
        aliases=["model"],
    )
    tokenizer_path: str | None = option(
        None, "model", "folder or hub id of the tokenizer, if not the model's own", rule=_NOT_EMPTY
    )
    tokenizer_mode: Literal["auto", "slow"] = option("auto", "model", "slow: no fast tokenizer")
    skip_tokenizer_init: bool = option(False, "model", "token ids in and out, no text")
    load_format: Literal["auto", "safetensors", "dummy"] = option(
        "auto", "model", "dummy: random weights from config.json alone"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16", "half", "float"] = option(
        "auto", "model", "auto: bfloat16 on accelerators, float32 on a CPU"
    )
    context_length: int | None = option(
        None,
        "model",
        "tokens of a request, prompt and output (default: the model's)",
        rule=at_least(1),
    )
    revision: str | None = option(
        None, "model", "branch, tag or commit of a hub id", rule=_NOT_EMPTY
    )
    served_model_name: str | None = option(
        None, "model", "the name in /v1/models (default: the model's path)", rule=_NOT_EMPTY
    )
    chat_template: str | None = option(
        None,
        "model",
        "a .jinja file, or a name such as chatml, instead of the model's own",
        rule=_NOT_EMPTY,
    )

    mem_fraction_static: float | None = option(
        None, "memory", "share of device memory for weights and cache (default 0.88)", rule=_SHARE
    )
    max_total_tokens: int | None = option(
        None, "memory", "tokens the cache holds (default: as many as fit)", rule=at_least(1)
    )
    page_size: int = option(16, "memory", "tokens of a cache page", rule=_PAGE)

    max_running_requests: int | None = option(
        None, "scheduling", "requests computed at a time (default: by device)", rule=at_least(1)
    )
    max_num_reqs: int | None = option(
        None, "scheduling", "a second bound on the requests computed at a time", rule=at_least(1)
    )
    max_queued_requests: int = option(
        1024, "scheduling", "requests that may wait; then 429", rule=at_least(1)
    )
    chunked_prefill_size: int | None = option(
        None,
        "scheduling",
        "prompt tokens of a step (default 8192 on a GPU); 0: no chunks",
        rule=at_least(-1),
    )
    max_prefill_tokens: int = option(
        16384, "scheduling", "new prompt tokens of a step, at most", rule=at_least(1)
    )
    max_itl_ratio: float = option(
        2.5,
        "scheduling",
        "how much longer tokens may take while a long prompt is computed (about); 0: any time",
        rule=at_least(0),
    )
    schedule_policy: Literal["lpm", "fcfs", "random", "dfs-weight"] = option(
        "lpm", "scheduling", "who comes first: longest cached prefix, arrival, chance, tree order"
    )
    schedule_conservativeness: float = option(
        1.0,
        "scheduling",
        "higher: more pages kept for running requests, fewer retractions",
        rule=at_least(0),
    )
    disable_radix_cache: bool = option(False, "scheduling", "no prefix caching")
    grammar_backend: Literal["llguidance", "xgrammar", "outlines", "none"] = option(
        "llguidance",
        "scheduling",
        "who says what a regex, a schema or a grammar allows; llguidance stands in for the others",
    )
    disable_jump_forward: bool = option(
        False,
        "scheduling",
        "draw also the tokens that a grammar leaves no choice of",
        aliases=["disable_regex_jump_forward"],
    )
    json_whitespace: Literal["compact", "flexible"] = option(
        "compact", "scheduling", "between the tokens of JSON by a schema: none, or any"
    )
    disable_overlap_schedule: bool = option(False, "scheduling", "read each step before the next")
    random_seed: int | None = option(
        None, "scheduling", "seed of requests without a seed (default: by chance)", rule=_SEED
    )

    tp_size: int = option(
        1,
        "devices",
        "devices that share the model",
        rule=at_least(1),
        aliases=["tensor_parallel_size", "tp"],
    )
    ep_size: int = option(
        1,
        "devices",
        "groups of these devices that have experts of their own, in models with experts",
        rule=at_least(1),
        aliases=["expert_parallel_size", "ep"],
    )
    attention_backend: Literal["auto", "reference", "triton"] = option(
        "auto", "devices", "implementation of attention"
    )
    disable_cuda_graph: bool = option(
        False, "devices", "launch a step's kernels one by one, not as a recorded CUDA graph"
    )
    compile_cache_dir: str | None = option(
        None, "devices", "folder of compiled programs (default: the user's cache folder); '': none"
    )
    watchdog_timeout_s: float = option(
        300.0,
        "devices",
        "seconds; a step that takes longer is a failure",
        rule=_POSITIVE,
        flag="--watchdog-timeout",
    )

    host: str = option("127.0.0.1", "server", "address to listen on", rule=_NOT_EMPTY)
    port: int = option(30000, "server", "port to listen on", rule=_PORT)
    api_key: str | None = option(
        None,
        "server",
        "key that clients must send as a bearer token",
        rule=_NOT_EMPTY,
        secret=True,
    )
    stream_interval: int = option(
        1, "server", "tokens between two chunks of a stream", rule=at_least(1)
    )
    drain_timeout_s: float = option(
        30.0,
        "server",
        "seconds that SIGTERM leaves to running requests",
        rule=at_least(0),
        flag="--drain-timeout",
    )
    log_level: LogLevel = option("info", "server", "what is logged")
    log_level_http: LogLevel | None = option(
        None, "server", "of the access log (default: that of --log-level)"
    )
    log_requests: bool = option(False, "server", "log every request")
    file_storage_path: str | None = option(
        None,
        "server",
        "folder of /v1/files (default: a temporary one that goes with the server)",
        rule=_NOT_EMPTY,
        aliases=["file_storage_pth"],
    )
    tool_call_parser: ToolCallParser | None = option(
        None,
        "server",
        "how the model writes calls of tools (default: what its chat template shows)",
    )
    reasoning_parser: ReasoningParser | None = option(
        None,
        "server",
        "how the model writes what it thinks, which then is apart from the answer (default: all "
        "is answer)",
    )
    enable_cache_report: bool = option(False, "server", "cached_tokens in OpenAI usage")

    def __post_init__(self) -> None:
        _check_load_format(self.load_format)
        for name, opt in serve_options().items():
            opt.check(getattr(self, name))
        _check_chat_template(self.chat_template)
        for name, value in _settled(self).items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Makes a config from options by any of their names, SGLang's that are not ours included.

        Options that mean nothing here are left out with a logged warning.

        Raises:
            ConfigError: for an unknown option, one given twice, one that is not supported yet, or
                a value that is not allowed.
        """
        given: dict[str, Any] = {}
        names: dict[str, str] = {}
        for name, value in options.items():
            key = resolve(name, value)
            if key is None:
                continue
            if key in given:
                raise ConfigError(f"{names[key]} and {name} are one option: give one of them.")
            given[key], names[key] = value, name
        return cls(**given)


@functools.cache
def serve_options() -> dict[str, Option]:
    """The options of ServeConfig by name, in order."""
    return options_of(ServeConfig)


@functools.cache
def option_names() -> dict[str, str]:
    """Every name of every option -> the field's."""
    return {name: opt.name for opt in serve_options().values() for name in opt.names}


def resolve(name: str, value: Any, where: str | None = None) -> str | None:
    """The field that an option of this name sets; None if it sets none.

    Raises:
        ConfigError: if there is no such option, or it asks for what is not supported yet. `where`
            is how the user named it.
    """
    if name in option_names():
        return option_names()[name]
    where = where or name
    if name in IGNORED:
        if value not in (False, None):
            logger.warning("%s has no effect: %s.", where, IGNORED[name].why)
        return None
    if name in LATER_NAMES:
        later = LATER[LATER_NAMES[name]]
        if str(value).lower() not in (str(same).lower() for same in later.same):
            raise ConfigError(f"{where} is not supported yet: sgjax cannot do {later.what}.")
        return None
    known = [*option_names(), *IGNORED, *LATER_NAMES]
    raise ConfigError(f"There is no option {where}.{did_you_mean(name, known)}")


def did_you_mean(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f" Did you mean {near[0]}?" if near else ""


def _settled(config: ServeConfig) -> dict[str, Any]:
    """Fields whose value has a plainer form that means the same."""
    settled: dict[str, Any] = {}
    if config.max_num_reqs is not None:
        running = config.max_running_requests or config.max_num_reqs
        settled["max_running_requests"] = min(running, config.max_num_reqs)
    if config.chunked_prefill_size == -1:
        settled["chunked_prefill_size"] = 0
    if config.grammar_backend != "none":
        settled["grammar_backend"] = "llguidance"
    settled["dtype"] = {"half": "float16", "float": "float32"}.get(config.dtype, config.dtype)
    return settled


def _check_load_format(load_format: str) -> None:
    if load_format in UNREAD_FORMATS:
        raise ConfigError(
            f"load_format {load_format!r} is not read: {UNREAD_FORMATS[load_format]}. Convert the "
            "checkpoint to safetensors once: load it with transformers where you trust it, and "
            "save it with save_pretrained."
        )


def _check_chat_template(template: str | None) -> None:
    if template is None or template.endswith(".jinja") or template in CHAT_TEMPLATES:
        return
    hint = " .json files are not read." if template.endswith(".json") else ""
    raise ConfigError(
        f"chat_template must be the path of a .jinja file, or one of {', '.join(CHAT_TEMPLATES)}, "
        f"not {template!r}.{hint}{did_you_mean(template, list(CHAT_TEMPLATES))}"
    )
