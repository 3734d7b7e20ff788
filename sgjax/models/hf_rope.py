"""How config.json speaks of positions: RoPE in both of its dialects, and the context length."""

from collections.abc import Mapping
from typing import Any

from sgjax.layers.rope import KINDS, RopeConfig
from sgjax.models.hf_config import HFConfig, short

CONTEXT_KEYS = (
    "max_sequence_length",
    "seq_length",
    "max_position_embeddings",
    "max_seq_len",
    "model_max_length",
)
"""Where the context length may stand; the first that is there counts."""

_ROPE_PARAMS: dict[str, tuple[set[str], set[str]]] = {
    "default": (set(), set()),
    "linear": ({"factor"}, set()),
    "dynamic": ({"factor"}, set()),
    "llama3": (
        {"factor", "low_freq_factor", "high_freq_factor"},
        {"original_max_position_embeddings"},
    ),
    "longrope": (
        {"short_factor", "long_factor", "factor"},
        {"original_max_position_embeddings", "attention_factor"},
    ),
    "yarn": (
        {"factor"},
        {
            "original_max_position_embeddings",
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "mscale",
            "mscale_all_dim",
            "truncate",
        },
    ),
}
"""The numbers of each kind of RoPE: needed ones, and optional ones."""


_OTHER_NAMES = {"su": "longrope"}
_FULL, _SLIDING = "full_attention", "sliding_attention"

_Given = Mapping[str, Any]


def read_rope(hf: HFConfig, *, fraction: float | None = None, theta: float = 10000.0) -> RopeConfig:
    """RoPE: rope_theta with rope_scaling, or, since transformers 5, all of it in rope_parameters.

    `theta` and `fraction`, the share of a head's features that turns, count where config.json does
    not say them. No fraction: all features turn always.

    Raises:
        ConfigError: for a kind that is not known, and numbers that its kind lacks or does not know.
    """
    key, given = _scaling(hf)
    outside = {
        "partial_rotary_factor": hf("partial_rotary_factor", None),
        "rope_theta": _theta(hf, "rope_theta", hf("rope_theta", theta)),
    }
    return _rope(hf, key, outside, given, fraction)


def read_local_rope(hf: HFConfig, default_theta: float) -> RopeConfig:
    """RoPE of layers with a window, where it differs from the others': rope_local_base_freq
    without scaling, or, since transformers 5, rope_parameters of sliding_attention."""
    name = "rope_local_base_freq"
    local = _theta(hf, name, hf(name, default_theta))
    key, given = _scaling(hf, _SLIDING)
    return _rope(hf, key, {"rope_theta": local}, given, None)


def check_rope(hf: HFConfig, rope: RopeConfig, head_size: int) -> None:
    """Refuses what does not fit heads of this size."""
    key, given = _scaling(hf)
    num_turned = rope.num_turned(head_size)
    if num_turned < 2 or num_turned % 2:
        raise hf.error(
            key if "partial_rotary_factor" in given else "partial_rotary_factor",
            f"leaves {num_turned} of the {head_size} features of a head to RoPE, which turns pairs",
        )
    for name in ("short_factor", "long_factor"):
        factors = rope.param(name)
        if factors is not None and len(factors) != num_turned // 2:
            raise hf.error(
                key,
                f"has {len(factors)} numbers as {name}, but RoPE turns {num_turned // 2} pairs of "
                "features",
            )


def _rope(
    hf: HFConfig, key: str, outside: _Given, given: _Given, fraction: float | None
) -> RopeConfig:
    given = {**outside, **{name: value for name, value in given.items() if value is not None}}
    kinds = [given.pop(name) for name in ("rope_type", "type") if name in given]
    kind = _OTHER_NAMES.get(kinds[0], kinds[0]) if kinds else "default"
    if kind not in KINDS:
        raise hf.error(key, f"has rope_type {kind!r}; known: {', '.join(KINDS)}")
    theta = _theta(hf, key, given.pop("rope_theta"))
    part = given.pop("partial_rotary_factor", None)
    if fraction is None and part not in (None, 1.0):
        raise hf.error(key, "turns a part of each head, which this architecture does not")
    if part is not None and not (_is_number(part) and 0 < part <= 1):
        raise hf.error(key, "must have a partial_rotary_factor above 0, up to 1")
    fraction = fraction or 1.0
    params = _params(hf, key, kind, given)
    return RopeConfig(theta, kind, params, fraction if part is None else part)


def read_context_length(hf: HFConfig, rope: RopeConfig) -> int:
    """Tokens the model reads: those it was trained on, times a scaling that stretches them.

    A scaling that tells the original context is part of the training: it stretches no further.
    """
    lengths = [hf.size(key, None) for key in CONTEXT_KEYS]
    trained = next((length for length in lengths if length), None)
    if trained is None:
        raise hf.error("max_position_embeddings", "must say how many tokens the model reads")
    _, given = _scaling(hf)
    tells_original = given.get("original_max_position_embeddings") is not None
    if rope.kind in ("llama3", "longrope") or tells_original:
        return trained
    return int(trained * rope.param("factor", 1.0))


def _scaling(hf: HFConfig, of: str = _FULL) -> tuple[str, _Given]:
    """The key that speaks of scaling, and what it says of one kind of layers.

    Where it does not tell kinds apart, it speaks of those without a window, or of all.
    """
    old, new = hf("rope_scaling", None), hf("rope_parameters", None)
    if old is not None and new is not None and old != new:
        raise hf.error("rope_scaling", f"contradicts rope_parameters = {short(new)}")
    key = "rope_scaling" if old is not None else "rope_parameters"
    given = hf(key, {})
    if isinstance(given, Mapping) and not given.keys().isdisjoint((_FULL, _SLIDING)):
        given = given.get(of) or {}
    elif of != _FULL:
        given = {}
    if not isinstance(given, Mapping):
        raise hf.error(key, "must be an object or null")
    return key, given


def _theta(hf: HFConfig, key: str, theta: Any) -> float:
    if not _is_number(theta) or theta <= 1:
        raise hf.error(key, "needs a theta above 1")
    return float(theta)


def _params(hf: HFConfig, key: str, kind: str, given: _Given) -> tuple[tuple[str, Any], ...]:
    """The numbers of a kind, with the original context where the kind is about it."""
    needed, optional = _ROPE_PARAMS[kind]
    params = {name: value for name, value in given.items() if value is not None}
    if unknown := sorted(params.keys() - needed - optional):
        raise hf.error(key, f"has {', '.join(unknown)}, unknown to rope_type {kind!r}")
    trained = hf.size("max_position_embeddings", None)
    original = params.get("original_max_position_embeddings", trained)
    if kind == "longrope":  # which says it outside, too
        original = hf.size("original_max_position_embeddings", original)
    if kind in ("llama3", "yarn", "dynamic", "longrope"):
        params["original_max_position_embeddings"] = original
    if kind in ("yarn", "longrope") and "factor" not in params and _is_number(original) and trained:
        params["factor"] = trained / original
    if missing := sorted(needed - params.keys()):
        raise hf.error(key, f"lacks {', '.join(missing)}, which rope_type {kind!r} needs")
    for name, value in params.items():
        if name in ("short_factor", "long_factor"):
            params[name] = _factors(hf, key, name, value)
        elif name != "truncate" and not (_is_number(value) and value > 0):
            raise hf.error(key, f"must have a positive number as {name}")
    return tuple(sorted(params.items()))


def _factors(hf: HFConfig, key: str, name: str, value: Any) -> tuple[float, ...]:
    if not (isinstance(value, list) and all(_is_number(each) and each > 0 for each in value)):
        raise hf.error(key, f"must have a list of positive numbers as {name}")
    return tuple(float(each) for each in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
