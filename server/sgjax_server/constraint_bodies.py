"""What a body may say to bind its output: OpenAI's, SGLang's and vLLM's fields."""

from typing import Annotated, Any, Literal

from pydantic import Field

from sgjax.constraint_fields import MAX_CHOICES, MAX_CONSTRAINT_BYTES
from sgjax_server.strict_body import Body

Text = Annotated[str, Field(min_length=1, max_length=MAX_CONSTRAINT_BYTES)]
JsonOrText = dict[str, Any] | Text
Choices = Annotated[list[str], Field(min_length=1, max_length=MAX_CHOICES)]


class TextFormat(Body):
    type: Literal["text"]


class JsonObjectFormat(Body):
    type: Literal["json_object"]


class NamedSchema(Body):
    """A JSON schema by OpenAI's rules; `strict` closes its objects."""

    name: Annotated[str, Field(max_length=256)] | None = None
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class JsonSchemaFormat(Body):
    type: Literal["json_schema"]
    json_schema: NamedSchema


class StructuralTagFormat(Body):
    """`structures` and `triggers`, or `format`: see sgjax.constrained.structural_tag."""

    type: Literal["structural_tag"]
    structures: list[dict[str, Any]] | None = None
    triggers: list[str] | None = None
    format: dict[str, Any] | None = None


ResponseFormat = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat | StructuralTagFormat,
    Field(discriminator="type"),
]


class StructuredOutputs(Body):
    """vLLM's."""

    json_: JsonOrText | None = Field(None, alias="json")
    regex: Text | None = None
    choice: Choices | None = None
    grammar: Text | None = None
    json_object: bool | None = None
    structural_tag: JsonOrText | None = None
    whitespace_pattern: Annotated[str, Field(min_length=1, max_length=256)] | None = None


class ConstraintFields(Body):
    """All of a body that may bind the output, of which one does: OpenAI's, SGLang's, vLLM's."""

    response_format: ResponseFormat | None = None
    regex: Text | None = None
    json_schema: JsonOrText | None = None
    ebnf: Text | None = None
    structural_tag: JsonOrText | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: JsonOrText | None = None
    guided_regex: Text | None = None
    guided_choice: Choices | None = None
    guided_grammar: Text | None = None
