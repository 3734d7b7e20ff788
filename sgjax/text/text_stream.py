"""The text of one request's output, as its tokens come."""

from collections.abc import Sequence
from typing import NamedTuple

from sgjax.sampling_params import SamplingParams
from sgjax.text.stop import StopMatcher
from sgjax.text.tokenizer import Tokenizer


class TextDelta(NamedTuple):
    """What some tokens added to the text."""

    text: str
    num_tokens_used: int
    """How many of the tokens belong to the output: fewer than were fed if a stop was found."""
    stopped_by: str | None = None
    """The stop string that these tokens completed; the request is to be ended."""


class TextStream:
    """Detokenizer and stop strings, joined.

    Tokens are read one by one, so that text and counts are the same however they are split. The
    token that completes a stop is the last of the output; what comes after it is dropped.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        params: SamplingParams,
        *,
        is_continuation: bool = True,
        shown_tokens: Sequence[str] = (),
    ):
        """`is_continuation`: a prompt comes before it, so a leading space is the output's own.
        `shown_tokens`: special tokens that are not skipped in any case."""
        self._detokenizer = tokenizer.stream(
            skip_special_tokens=params.skip_special_tokens,
            spaces_between_special_tokens=params.spaces_between_special_tokens,
            is_continuation=is_continuation,
            shown_tokens=shown_tokens,
        )
        self._matcher = None
        if params.stop:
            self._matcher = StopMatcher(params.stop, no_trim=params.no_stop_trim)
        self._no_stop_trim = params.no_stop_trim

    @property
    def stopped_by(self) -> str | None:
        """The stop string that ended the text, if one has."""
        return self._matcher and self._matcher.matched

    def feed(self, token_ids: Sequence[int], *, ends_with_stop_token: bool = False) -> TextDelta:
        """Reads tokens. After a stop was found, all more of them are dropped.

        With `ends_with_stop_token` the last is the EOS or stop token that ended the request: it
        counts, but has no text, unless `no_stop_trim` asks for it.
        """
        count = len(token_ids)
        is_silent = ends_with_stop_token and not self._no_stop_trim
        if self._matcher is None:
            spoken = token_ids[:-1] if is_silent else token_ids
            return TextDelta(self._detokenizer.feed(spoken), count)
        if self._matcher.matched is not None:
            return TextDelta("", 0)
        texts = []
        for index, token_id in enumerate(token_ids):
            if not is_silent or index != count - 1:
                texts.append(self._matcher.feed(self._detokenizer.feed((token_id,))))
            if self._matcher.matched is not None:
                return TextDelta("".join(texts), index + 1, self._matcher.matched)
        return TextDelta("".join(texts), count)

    def finish(self) -> str:
        """The rest of the text, when no more tokens come: what was held back."""
        if self._matcher is None:
            return self._detokenizer.flush()
        if self._matcher.matched is not None:
            return ""
        return self._matcher.feed(self._detokenizer.flush()) + self._matcher.flush()
