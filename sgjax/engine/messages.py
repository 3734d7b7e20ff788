"""What front and engine say to each other, in one process or over a socket (msgpack)."""

from array import array
from typing import Any, Literal

import msgspec

from sgjax.engine.request import FinishReason
from sgjax.sampling_params import SamplingParams

ModelTask = Literal["generate", "embed", "classify"]
"""What a model does with a prompt."""


class Submit(msgspec.Struct, tag=True, frozen=True):
    """A prompt's token ids in, Deltas out, the last with a finish reason. A model that pools gives
    one, with a vector."""

    rid: str
    prompt_ids: array
    """int32."""
    params: SamplingParams
    return_logprob: bool = False
    logprob_start: int | None = None
    """Prompt logprobs of the tokens after this index; None for none of the prompt."""
    top_logprobs: int = 0
    cache_salt: str = ""
    is_streamed: bool = True
    """Whether tokens are wanted as they come, or only the first and then, at the end, the rest."""
    grammar: str | None = None
    """llguidance's, which the output must keep to."""
    grammar_after: list[int] = []
    """Tokens after which the grammar begins, the end of a model's thinking; empty: at once."""


class Abort(msgspec.Struct, tag=True, frozen=True):
    """End a request (None: all). What it computed stays in the prefix cache."""

    rid: str | None
    reason: str = "aborted"


class Call(msgspec.Struct, tag=True, frozen=True):
    """Ask for something that is answered once, by a Reply of the same id: flush_cache, stats."""

    id: int
    name: str


class Shutdown(msgspec.Struct, tag=True, frozen=True):
    """Stop now; requests in flight are aborted."""


Command = Submit | Abort | Call | Shutdown


class Logprobs(msgspec.Struct, frozen=True):
    """Logprobs of a run of tokens: an entry a token; `top` holds (logprob, id), likeliest first."""

    tokens: list[int]
    logprobs: list[float | None]
    """None for the first token of a prompt, which nothing predicts: the front's to add."""
    top: list[list[tuple[float, int]]] | None = None


class Delta(msgspec.Struct, tag=True, frozen=True):
    """What a request gained. Two of one request may be merged by joining their lists; of numbers at
    the end, which may be left out, the larger counts."""

    rid: str
    token_ids: list[int]
    finish: FinishReason | None = None
    logprobs: Logprobs | None = None
    prompt_logprobs: Logprobs | None = None
    num_cached: int = 0
    num_retractions: int = 0
    num_forced: int = 0
    """Output tokens that were not drawn, since the grammar left no choice."""
    vector: bytes = b""
    """What a model that pools makes of the prompt: float32, in this machine's order."""


class Tokens(msgspec.Struct, tag=True, frozen=True):
    """One token more for each of these requests, and nothing else: what most of them gain in most
    steps."""

    rids: list[str]
    token_ids: list[int]


class Refused(msgspec.Struct, tag=True, frozen=True):
    """A request that the engine does not take. `kind` is the class of `sgjax.errors` to raise."""

    rid: str
    kind: str
    message: str
    param: str | None = None


class Reply(msgspec.Struct, tag=True, frozen=True):
    """The answer to a Call: a value of plain types, or an error's text."""

    id: int
    value: Any = None
    error: str | None = None


class Progress(msgspec.Struct, tag=True, frozen=True):
    """Where the engine's start is: phase "load" (files), "compile" (programs, before serving) or
    "background" (programs, while serving)."""

    phase: str
    done: int
    total: int
    detail: str = ""


class Serving(msgspec.Struct, tag=True, frozen=True):
    """The engine takes requests; what it is."""

    info: "EngineInfo"


class Ready(msgspec.Struct, tag=True, frozen=True):
    """Every program is compiled: nothing compiles from now on."""

    seconds: float


class Failed(msgspec.Struct, tag=True, frozen=True):
    """The engine could not start, or has ended. `config` tells a ConfigError from a fault."""

    message: str
    config: bool = False


class EngineInfo(msgspec.Struct, frozen=True):
    """What a front needs to know of the engine."""

    architecture: str
    vocab_size: int
    context_length: int
    max_total_tokens: int
    """Tokens whose keys and values the cache can hold."""
    max_running_requests: int
    page_size: int
    tp_size: int
    eos_ids: list[int]
    dtype: str
    device: str
    task: ModelTask = "generate"
    labels: list[str] = []
    """Of a classifier: what each number of a vector is the score of."""
    num_token_types: int = 1
    """A token of type t is sent as its id + t * vocab_size."""
    default_sampling: dict[str, float] = {}
    """What generation_config.json says of temperature, top_p, top_k, min_p, repetition_penalty."""


class EngineStats(msgspec.Struct, frozen=True):
    """A snapshot for /metrics and get_server_info. Counters only grow."""

    num_running: int = 0
    num_waiting: int = 0
    num_pages: int = 0
    num_free_pages: int = 0
    num_cached_pages: int = 0
    """Pages in the prefix tree that nobody uses now."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    forced_tokens: int = 0
    finished_requests: int = 0
    aborted_requests: int = 0
    failed_requests: int = 0
    retractions: int = 0
    steps: int = 0
    step_seconds: float = 0.0
    """Sum over steps: from a step's launch, or the reading of the step before, to its reading."""
    plan_seconds: float = 0.0
    """Sum over steps: planning and packing on the host."""
    compiles: int = 0
    compiles_after_ready: int = 0
    ready: bool = False
    page_imbalance: int = 0
    """Times that free + cached + running pages did not add up (and were healed)."""


Event = Delta | Tokens | Refused | Reply | Progress | Serving | Ready | Failed


def encoder() -> msgspec.msgpack.Encoder:
    """Of messages."""
    return msgspec.msgpack.Encoder(enc_hook=array.tobytes)


def decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    """Of messages of this type."""
    return msgspec.msgpack.Decoder(kind, dec_hook=lambda _, data: array("i", data))
