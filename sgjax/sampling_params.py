"""How the tokens of one request are drawn."""

import dataclasses
import difflib
import math
import re
from collections.abc import Mapping
from typing import Any, Self

from sgjax.constraint_fields import CONSTRAINTS, check_constraints, json_text
from sgjax.errors import InvalidRequest

MAX_N = 128
MAX_STOPS = 16
MAX_STOP_CHARS = 256
MAX_STOP_TOKEN_IDS = 256
MAX_LOGIT_BIAS = 1024
MAX_TOP_LOGPROBS = 20
MAX_NEW_TOKENS = 1 << 30
MIN_REPETITION_PENALTY = 1e-6
"""Logits are divided by it, in float32: by less they might become infinite."""
GREEDY_BELOW = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """The sampling parameters of a request, checked when made.

    Names and defaults are SGLang's. Penalties and biases act on the logits before the temperature;
    `top_k`, `top_p` and `min_p` then cut the same distribution together, none of them renormalised
    before the next. A temperature below 1e-6 is exactly greedy.

    What a constraint says is checked where it becomes a grammar: `sgjax.constrained.grammar_of`.
    """

    max_new_tokens: int | None = 128
    """Tokens to generate at most; None: to the end of the context."""
    min_new_tokens: int = 0
    """Until so many tokens are out, no EOS and no stop token can be drawn."""
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] | None = None
    seed: int | None = None
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    no_stop_trim: bool = False
    n: int = 1
    regex: str | None = None
    """What the whole output must match."""
    json_schema: str | None = None
    """JSON text of a schema of the output, or "$$ANY$$" for any JSON object."""
    ebnf: str | None = None
    """A grammar of the output: EBNF, which begins at `root`, or Lark, which begins at `start`."""
    structural_tag: str | None = None
    """JSON text: free text, in which tags bind what stands between their begin and end."""
    choice: tuple[str, ...] | None = None
    """Texts, one of which the output must be."""

    def __post_init__(self) -> None:
        _check_ranges(self)
        _check_lists(self)
        check_constraints(self._constraints, self.min_new_tokens)

    @property
    def is_constrained(self) -> bool:
        """Whether a grammar decides what may come next."""
        return bool(self._constraints)

    @property
    def _constraints(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in CONSTRAINTS}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def is_greedy(self) -> bool:
        return self.temperature < GREEDY_BELOW

    @property
    def has_penalties(self) -> bool:
        return (
            self.frequency_penalty != 0
            or self.presence_penalty != 0
            or self.repetition_penalty != 1
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Reads SGLang's dict form: None means the default, an unknown key is an error.

        Raises:
            InvalidRequest: for an unknown key, a wrong type, or a value out of range.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in names:
                near = difflib.get_close_matches(str(key), names, 1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise InvalidRequest(
                    f"Unknown sampling parameter {key!r}.{hint} Known: {', '.join(names)}.",
                    param=str(key),
                )
        given = {key: _plain(key, value) for key, value in values.items() if value is not None}
        if "max_new_tokens" in values and values["max_new_tokens"] is None:
            given["max_new_tokens"] = None
        return cls(**given)


def _plain(key: str, value: Any) -> Any:
    """Brings what JSON offers (a string or list of stops, string keys) to the field's type."""
    if key == "stop":
        return (value,) if isinstance(value, str) else _tuple(key, value)
    if key in ("stop_token_ids", "choice"):
        return _tuple(key, value)
    if key in ("json_schema", "structural_tag"):
        return json_text(key, value)
    if key == "logit_bias":
        return _bias(value)
    return value


def _tuple(key: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidRequest(f"{key} must be a list, not {type(value).__name__}.", param=key)
    return tuple(value)


def _bias(value: Any) -> dict[int, float]:
    if not isinstance(value, Mapping):
        raise InvalidRequest(
            f"logit_bias must map token ids to numbers, not be {type(value).__name__}.",
            param="logit_bias",
        )
    try:
        return {_token_id(token): bias for token, bias in value.items()}
    except (TypeError, ValueError):
        raise InvalidRequest(
            "The keys of logit_bias must be token ids (integers), not words.", param="logit_bias"
        ) from None


def _token_id(key: Any) -> int:
    """A key of JSON as an id: written one way only, so that no two keys are the same."""
    if isinstance(key, str) and not re.fullmatch(r"-?(0|[1-9][0-9]*)", key):
        raise ValueError(key)
    return int(key)


# name -> (lowest, highest, lowest is allowed)
_FLOATS = {
    "temperature": (0.0, 100.0, True),
    "top_p": (0.0, 1.0, False),
    "min_p": (0.0, 1.0, True),
    "frequency_penalty": (-2.0, 2.0, True),
    "presence_penalty": (-2.0, 2.0, True),
    "repetition_penalty": (MIN_REPETITION_PENALTY, 2.0, True),
}
_INTS = {
    "max_new_tokens": (0, MAX_NEW_TOKENS),
    "min_new_tokens": (0, MAX_NEW_TOKENS),
    "n": (1, MAX_N),
    "seed": (-(2**63), 2**63 - 1),
}
_FLAGS = ("ignore_eos", "skip_special_tokens", "spaces_between_special_tokens", "no_stop_trim")


def _check_ranges(params: SamplingParams) -> None:
    for name, (low, high, closed) in _FLOATS.items():
        value = getattr(params, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidRequest(f"{name} must be a number, not {value!r}.", param=name)
        if not (math.isfinite(value) and low <= value <= high and (closed or value > low)):
            bracket = "[" if closed else "("
            raise InvalidRequest(
                f"{name} must be in {bracket}{low:g}, {high:g}], not {value!r}.", param=name
            )
    for name, (low, high) in _INTS.items():
        value = getattr(params, name)
        if value is None and name in ("max_new_tokens", "seed"):
            continue
        _check_int(name, value, low, high)
    if params.top_k != -1:
        _check_int("top_k", params.top_k, 1, 2**31 - 1, extra=" or -1 (all)")
    if params.max_new_tokens is not None and params.min_new_tokens > params.max_new_tokens:
        raise InvalidRequest(
            f"min_new_tokens ({params.min_new_tokens}) must not be larger than max_new_tokens "
            f"({params.max_new_tokens}).",
            param="min_new_tokens",
        )


def _check_int(name: str, value: Any, low: int, high: int, extra: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"{name} must be an integer, not {value!r}.", param=name)
    if not low <= value <= high:
        raise InvalidRequest(f"{name} must be in [{low}, {high}]{extra}, not {value}.", param=name)


def _check_lists(params: SamplingParams) -> None:
    if len(params.stop) > MAX_STOPS:
        raise InvalidRequest(
            f"At most {MAX_STOPS} stop strings are allowed, not {len(params.stop)}.", param="stop"
        )
    for stop in params.stop:
        if not isinstance(stop, str) or not 0 < len(stop) <= MAX_STOP_CHARS:
            raise InvalidRequest(
                f"A stop must be a string of 1 to {MAX_STOP_CHARS} characters.", param="stop"
            )
    if len(params.stop_token_ids) > MAX_STOP_TOKEN_IDS:
        raise InvalidRequest(
            f"At most {MAX_STOP_TOKEN_IDS} stop_token_ids are allowed, "
            f"not {len(params.stop_token_ids)}.",
            param="stop_token_ids",
        )
    for token in params.stop_token_ids:
        _check_int("stop_token_ids", token, 0, 2**31 - 1)
    bias = params.logit_bias or {}
    if len(bias) > MAX_LOGIT_BIAS:
        raise InvalidRequest(
            f"At most {MAX_LOGIT_BIAS} entries of logit_bias are allowed, not {len(bias)}.",
            param="logit_bias",
        )
    for token, value in bias.items():
        _check_int("logit_bias", token, 0, 2**31 - 1)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not -100 <= value <= 100:
            raise InvalidRequest(
                f"A logit_bias must be a number in [-100, 100], not {value!r}.", param="logit_bias"
            )
    for name in _FLAGS:
        if not isinstance(getattr(params, name), bool):
            raise InvalidRequest(f"{name} must be true or false.", param=name)
