"""What the outputs of `sgjax bench offline json` are bound to."""

import json
from typing import Any

from sgjax.errors import ConfigError


def _words(most: int) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^[A-Z][a-z ]{{1,{most}}}$"}


def _whole(low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high}


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_CHARACTER = _closed(
    {
        "name": _words(12),
        "age": _whole(1, 99),
        "occupation": _words(10),
        "home town": _words(10),
        "armor": {"enum": ["leather", "chainmail", "plate"]},
        "weapon": {"enum": ["sword", "axe", "bow"]},
        "strength": _whole(0, 20),
        "is alive": {"type": "boolean"},
        "best friend": _closed({"name": _words(12), "known since": _whole(1000, 1999)}),
    }
)
"""Fixed keys and short values, as the SGLang paper decodes JSON: https://arxiv.org/abs/2312.07104"""

_SURVEY = _closed(
    {f"the answer to question {i} of this survey": {"enum": ["yes", "no"]} for i in range(1, 13)}
)
"""Nearly all of it is forced."""

CONSTRAINTS = {
    "character": {"json_schema": json.dumps(_CHARACTER)},
    "survey": {"json_schema": json.dumps(_SURVEY)},
    # One survey after the other: more tokens than are asked for.
    "list": {"json_schema": json.dumps({"type": "array", "items": _SURVEY, "minItems": 1000})},
    # What a string of JSON may hold, without an end: as many tokens as are asked for.
    "string": {"regex": r'[^"\\\x00-\x1f\x7f]*END OF THE STRING'},
}
"""By name: fields of SamplingParams."""


def check_tokenizer(name: str, *, has_tokenizer: bool) -> None:
    """Raises ConfigError where a workload cannot be bound."""
    if not has_tokenizer:
        raise ConfigError(f"{name} needs a model with a tokenizer, or a --shape.")
