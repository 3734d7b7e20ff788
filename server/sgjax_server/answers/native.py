"""Answers in SGLang's own form."""

from typing import Annotated, Any, Literal

from pydantic import Field

from sgjax_server.answers.form import Answer

Triple = tuple[float | None, int, str | None]
"""A logprob (null for a prompt's first token), a token, and its text if that was asked for."""


class Finish(Answer):
    type: Literal["stop", "length", "abort"]
    matched: int | str | None = None
    length: int | None = None
    message: str | None = None


class MetaInfo(Answer):
    id: str
    finish_reason: Finish | None
    prompt_tokens: int
    completion_tokens: int
    forced_tokens: int | None = None
    cached_tokens: int
    num_retractions: int
    input_token_logprobs: list[Triple] | None = None
    output_token_logprobs: list[Triple] | None = None
    normalized_prompt_logprob: float | None = None
    input_top_logprobs: list[list[Triple] | None] | None = None
    output_top_logprobs: list[list[Triple] | None] | None = None


class Generated(Answer):
    text: str | None = None
    """Missing without a tokenizer."""
    output_ids: list[int]
    meta_info: MetaInfo
    index: int


class Tokenized(Answer):
    """Lists of lists, and of counts, where several prompts came."""

    tokens: list[int] | list[list[int]]
    count: int | list[int]
    max_model_len: int
    token_strs: list[str] | list[list[str]] | None = None


class Detokenized(Answer):
    """The same twice: SGLang's name, and vLLM's."""

    text: str | list[str]
    prompt: str | list[str]


class ParsedCall(Answer):
    tool_index: int
    """Which of the tools it calls; -1 for none of them."""
    name: str
    parameters: str
    """JSON text; what a model wrote may be none."""


class ParsedCalls(Answer):
    normal_text: str
    calls: list[ParsedCall]


class SeparatedReasoning(Answer):
    reasoning_text: str
    text: str


class RoleTexts(Answer):
    """What stands around the messages of a chat, for those who put prompts together themselves."""

    texts: dict[str, Annotated[list[str], Field(min_length=2, max_length=2)]]
    """By role: before and behind."""
    opening: str
    """What stands before a chat that begins without a system message."""
    stops: list[str]


class ModelInfo(Answer):
    model_path: str
    tokenizer_path: str
    served_model_name: str
    is_generation: bool
    architecture: str
    context_length: int
    vocab_size: int
    preferred_sampling_params: dict[str, float] | None
    reads: list[str]
    """Besides text."""
    role_texts: RoleTexts | None
    """None where the chat template cannot be taken apart."""


class ServerInfo(Answer, extra="allow"):
    """With these, every option by its name."""

    version: str
    status: Literal["ready", "serving"]
    max_total_num_tokens: int
    engine: dict[str, Any]
    stats: dict[str, Any]


class Ready(Answer):
    ready: Literal[True]
