"""The sizes that a scheduler keeps to."""

import dataclasses

from sgjax.engine.request import Request
from sgjax.errors import ConfigError, ContextTooLong, NeverFits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """All are at least 1. While a scheduler serves, its limits may be replaced by others with a
    larger max_step_tokens, max_prefill_tokens or max_logits: when more programs are compiled."""

    num_pages: int
    page_size: int
    num_slots: int
    """Requests that run at a time."""
    max_step_tokens: int
    """Tokens of a step: of the largest bucket."""
    max_prefill_tokens: int
    """Prompt tokens of a step, but for its first prompt."""
    max_logits: int
    """Logits of a step: of the largest bucket."""
    context_length: int
    """Tokens of a request, prompt and output."""
    max_pages_per_request: int
    """Columns of the page tables."""
    max_queued: int
    has_whole_texts: bool = False
    """Whether a prompt must be computed in one step, for which max_step_tokens has room."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.type is bool:
                continue
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{field.name} must be an integer of at least 1, not {value!r}.")

    @property
    def max_running(self) -> int:
        """So few that every decoding request has its token and its logits in every step."""
        return min(self.num_slots, self.max_step_tokens, self.max_logits)

    @property
    def max_request_tokens(self) -> int:
        """Tokens of one request whose keys and values can be kept."""
        return min(self.num_pages, self.max_pages_per_request) * self.page_size

    def check(self, request: Request) -> None:
        """Whether a request can be served at all.

        Raises:
            ContextTooLong: prompt and max_new_tokens exceed the context.
            NeverFits: it may need more pages than there are, or than a page table has columns.
        """
        num_prompt, num_new = request.num_prompt, request.max_new_tokens
        if num_prompt + num_new > self.context_length:
            raise ContextTooLong(num_prompt, self.context_length, num_new=num_new)
        if request.num_needed > self.max_request_tokens:
            raise NeverFits(request.num_needed, self.max_request_tokens)
