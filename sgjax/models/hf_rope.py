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


_Given = Mapping[str, Any]


def read_rope(hf: HFConfig) -> RopeConfig:
    """RoPE: rope_theta with rope_scaling, or, since transformers 5, all of it in rope_parameters.

    Raises:
        ConfigError: for a kind that is not known, and numbers that its kind lacks or does not know.
    """
    key, given = _scaling(hf)
    given = dict(given)
    kinds = [given.pop(name) for name in ("rope_type", "type") if name in given]
    kind = kinds[0] if kinds else "default"
    if kind not in KINDS:
        raise hf.error(key, f"has rope_type {kind!r}; known: {', '.join(KINDS)}")
    theta = _theta(hf, key, given.pop("rope_theta", None))
    if given.pop("partial_rotary_factor", None) not in (None, 1.0):
        raise hf.error(key, "turns a part of each head, which this architecture does not")
    return RopeConfig(theta, kind, _params(hf, key, kind, given))


def read_context_length(hf: HFConfig, rope: RopeConfig) -> int:
    """Tokens the model reads: those it was trained on, times a scaling that stretches them.

    A scaling that tells the original context is part of the training: it stretches no further.
    """
    lengths = [hf.size(key, None) for key in CONTEXT_KEYS]
    trained = next((length for length in lengths if length), None)
    if trained is None:
        raise hf.error("max_position_embeddings", "must say how many tokens the model reads")
    _, given = _scaling(hf)
    if rope.kind == "llama3" or given.get("original_max_position_embeddings") is not None:
        return trained
    return int(trained * rope.param("factor", 1.0))


def _scaling(hf: HFConfig) -> tuple[str, _Given]:
    """The key that speaks of scaling, and what it says."""
    old, new = hf("rope_scaling", None), hf("rope_parameters", None)
    if old is not None and new is not None and old != new:
        raise hf.error("rope_scaling", f"contradicts rope_parameters = {short(new)}")
    key = "rope_scaling" if old is not None else "rope_parameters"
    given = hf(key, {})
    if not isinstance(given, Mapping):
        raise hf.error(key, "must be an object or null")
    return key, given


def _theta(hf: HFConfig, key: str, inside: Any) -> float:
    outside = hf.number("rope_theta", 10000.0)
    theta = outside if inside is None else inside
    if not _is_number(theta) or theta <= 1:
        raise hf.error(key if inside is not None else "rope_theta", "needs a theta above 1")
    return float(theta)


def _params(hf: HFConfig, key: str, kind: str, given: _Given) -> tuple[tuple[str, Any], ...]:
    """The numbers of a kind, with the original context where the kind is about it."""
    needed, optional = _ROPE_PARAMS[kind]
    params = {name: value for name, value in given.items() if value is not None}
    if unknown := sorted(params.keys() - needed - optional):
        raise hf.error(key, f"has {', '.join(unknown)}, unknown to rope_type {kind!r}")
    trained = hf.size("max_position_embeddings", None)
    original = params.get("original_max_position_embeddings", trained)
    if kind in ("llama3", "yarn", "dynamic"):
        params["original_max_position_embeddings"] = original
    if kind == "yarn" and "factor" not in params and _is_number(original) and trained:
        params["factor"] = trained / original
    if missing := sorted(needed - params.keys()):
        raise hf.error(key, f"lacks {', '.join(missing)}, which rope_type {kind!r} needs")
    for name, value in params.items():
        if name != "truncate" and not (_is_number(value) and value > 0):
            raise hf.error(key, f"must have a positive number as {name}")
    return tuple(sorted(params.items()))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
