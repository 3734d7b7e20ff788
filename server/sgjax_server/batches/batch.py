"""A batch: what is asked of it, and how far it is, in OpenAI's words."""

import dataclasses
from typing import Any, Literal

Status = Literal[
    "validating",
    "in_progress",
    "finalizing",
    "completed",
    "failed",
    "cancelling",
    "cancelled",
    "expired",
]
ENDED = frozenset({"completed", "failed", "cancelled", "expired"})
_TIMES = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """Why a batch failed as a whole; `line` counts from 1."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclasses.dataclass(slots=True)
class Usage:
    """Tokens of all answers together."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def add(self, usage: dict[str, Any]) -> None:
        """Takes in an answer's usage, in the names of completions or of responses."""
        self.input_tokens += usage.get("prompt_tokens", usage.get("input_tokens", 0))
        self.output_tokens += usage.get("completion_tokens", usage.get("output_tokens", 0))
        given = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
        made = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
        self.cached_tokens += given.get("cached_tokens") or 0
        self.reasoning_tokens += made.get("reasoning_tokens") or 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "input_tokens": self.input_tokens,
            "input_tokens_details": {"cached_tokens": self.cached_tokens},
            "output_tokens": self.output_tokens,
            "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
            "total_tokens": self.input_tokens + self.output_tokens,
        }


@dataclasses.dataclass(slots=True, kw_only=True)
class Batch:
    """A batch as it goes on."""

    id: str
    endpoint: str
    input_file_id: str
    completion_window: str
    model: str
    created_at: int
    expires_at: int
    metadata: dict[str, str] | None = None
    output_lifetime_s: int | None = None
    """How long its output files are kept, in seconds; None: until they are deleted."""
    status: Status = "validating"
    problems: list[Problem] = dataclasses.field(default_factory=list)
    output_file_id: str | None = None
    error_file_id: str | None = None
    times: dict[str, int] = dataclasses.field(default_factory=dict)
    total: int = 0
    completed: int = 0
    failed: int = 0
    usage: Usage = dataclasses.field(default_factory=Usage)

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    def enter(self, status: Status, now: int) -> None:
        """The status from now on; no batch leaves one of those that end it."""
        assert not self.has_ended
        self.status = status
        self.times[f"{status}_at"] = now

    def to_dict(self) -> dict[str, Any]:
        problems = [dataclasses.asdict(problem) for problem in self.problems]
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.model,
            "errors": {"object": "list", "data": problems} if problems else None,
            "input_file_id": self.input_file_id,
            "completion_window": self.completion_window,
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            **{name: self.times.get(name) for name in _TIMES},
            "request_counts": {
                "total": self.total,
                "completed": self.completed,
                "failed": self.failed,
            },
            "usage": self.usage.to_dict(),
            "metadata": self.metadata,
        }
