"""Values of a dtype, or of a JSON schema, from models that are bound by JSON schemas only."""

import dataclasses
import json
import re
from typing import Any

from sgjax.errors import InvalidProgram, ProgramFailed
from sgjax.lang.backends.contract import Answer, Call

_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}
_TEXTS = {
    # Of a value, and of a value's beginning.
    int: (r"[-+]?[0-9]+", r"[-+]?[0-9]*"),
    float: (r"[-+]?[0-9]*\.?[0-9]+", r"[-+]?[0-9]*\.?[0-9]*"),
    bool: ("True|False", "T?r?u?e?|F?a?l?s?e?"),
    str: ('".*"', '".*'),
}
_NUM_AROUND = 24
"""Tokens that {"value": ...} may add to a value's own."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """What the answer must look like. An object, as APIs want it, so a value stands within one."""

    schema: dict[str, Any]
    key: str | None = None
    """Of the value; None: the answer itself is wanted."""
    dtype: type | None = None

    def read(self, answer: Answer) -> Answer:
        """The value's text, as Python writes it.

        Raises:
            ProgramFailed: the answer has another form, or ends too early.
        """
        if self.key is None:
            return answer
        try:
            value = json.loads(answer.text)[self.key]
        except (ValueError, LookupError, TypeError):
            raise ProgramFailed(
                f"The model answered {answer.text!r:.200}, which holds no {self._what}. If it was "
                "cut, give the call more max_tokens."
            ) from None
        return dataclasses.replace(answer, text=self._text(value))

    @property
    def _what(self) -> str:
        return self.dtype.__name__ if self.dtype else self.key or "value"

    def _text(self, value: Any) -> str:
        if self.dtype is int and isinstance(value, int | float) and value == int(value):
            return str(int(value))
        if self.dtype is float and isinstance(value, int | float):
            return str(float(value))
        if self.dtype is bool and isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and self.dtype in (str, None):
            return json.dumps(value, ensure_ascii=False) if self.dtype is str else value
        raise ProgramFailed(f"The model answered {value!r:.80}, which is no {self._what}.")


def shape_of(call: Call) -> tuple[Shape | None, Call]:
    """The shape that a call asks for, and what else it asks for.

    A dtype's stops go with it: JSON ends by itself.

    Raises:
        InvalidProgram: the JSON schema cannot be read.
    """
    params = dict(call.params)
    if call.dtype is not None:
        params.pop("regex", None)
        params.pop("stop", None)
        if params.get("max_new_tokens") is not None:
            params["max_new_tokens"] += _NUM_AROUND
        shape = Shape(one_value("value", {"type": _TYPES[call.dtype]}), "value", call.dtype)
        return shape, dataclasses.replace(call, params=params)
    schema = params.pop("json_schema", None)
    if schema is None:
        return None, call
    return Shape(read_schema(schema)), dataclasses.replace(call, params=params)


def one_value(key: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object with one value."""
    return {
        "type": "object",
        "properties": {key: schema},
        "required": [key],
        "additionalProperties": False,
    }


def read_schema(schema: Any) -> dict[str, Any]:
    """Raises InvalidProgram unless it is an object, or one's text."""
    try:
        found = json.loads(schema) if isinstance(schema, str) else schema
    except ValueError as error:
        raise InvalidProgram(f"json_schema {schema!r:.80} is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise InvalidProgram(f"json_schema must be an object, not {found!r:.80}.")
    return found


def check_dtype(answer: Answer, dtype: type | None) -> None:
    """Raises ProgramFailed for an answer that no regex of its dtype bound. One that was cut must
    look like the beginning of a value."""
    if dtype is None:
        return
    finish = answer.meta_info.get("finish_reason") or {}
    whole, cut = _TEXTS[dtype]
    pattern = cut if finish.get("type") == "length" else whole
    if not re.fullmatch(pattern, answer.text.strip(), re.DOTALL):
        raise ProgramFailed(
            f"The model answered {answer.text!r:.200}, which is no {dtype.__name__}: this server "
            "does not know the parameter regex."
        )
