"""What all clients ask for: a small form that any model fills in where a grammar makes it."""

from typing import Any, Literal

import pydantic

KEY = "key-of-the-tests"
QUESTION = "What is the capital of France?"
MESSAGES: Any = [{"role": "user", "content": QUESTION}]


class Weather(pydantic.BaseModel, extra="forbid"):
    """The weather of a city. Nothing in it, or beside it, is as long as the model likes."""

    city: Literal["Oslo", "Rome", "Lima"]
    degrees: int = pydantic.Field(ge=-40, le=50)
    is_wet: bool


TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "enum": ["Oslo", "Rome", "Lima"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 9},
            },
            "required": ["city", "days"],
        },
    },
}
BY_NAME: Any = {"type": "function", "function": {"name": "get_weather"}}
