"""A sample's answer in a stream of /generate: each event has all of it so far."""

from typing import Any, Protocol

import orjson

from sgjax.front.generator import Sample
from sgjax.front.native import Answer
from sgjax.front.piece import Piece
from sgjax.text import Tokenizer
from sgjax_server.event_template import EventTemplate
from sgjax_server.sse import event


class StreamedAnswer(Protocol):
    def event(self, piece: Piece) -> bytes:
        """The answer with this piece, as an event."""
        ...


def streamed_answer(
    sample: Sample, tokenizer: Tokenizer | None, index: int, *, has_logprob_text: bool
) -> StreamedAnswer:
    if sample.submit.return_logprob or sample.submit.grammar is not None:
        return _WholeAnswer(Answer(sample, tokenizer, has_logprob_text=has_logprob_text), index)
    return _GrowingAnswer(sample, tokenizer, index)


class _WholeAnswer:
    """Encodes all of it, every time."""

    def __init__(self, answer: Answer, index: int):
        self._answer = answer
        self._index = index

    def event(self, piece: Piece) -> bytes:
        self._answer.add(piece)
        return event(self._answer.to_dict(self._index))


class _GrowingAnswer:
    """Encodes what is new, and puts it behind what it has."""

    def __init__(self, sample: Sample, tokenizer: Tokenizer | None, index: int):
        empty = Answer(sample, tokenizer, has_logprob_text=False).to_dict(index)
        self._has_text = tokenizer is not None
        names = ["text"] if self._has_text else []
        names += ["output_ids", "finish_reason", "completion_tokens"]
        names += ["cached_tokens", "num_retractions"]

        def form(*values: Any) -> dict[str, Any]:
            new = dict(zip(names, values, strict=True))
            meta_info = {name: new.get(name, value) for name, value in empty["meta_info"].items()}
            return {name: new.get(name, value) for name, value in empty.items()} | {
                "meta_info": meta_info
            }

        self._template = EventTemplate(form, len(names))
        # The beginnings of a JSON string and a JSON array.
        self._text, self._ids = bytearray(b'"'), bytearray(b"[")
        self._num_tokens = self._num_cached = self._num_retractions = 0
        self._counts = b"0", b"0"
        """Of cached tokens and of retractions."""

    def event(self, piece: Piece) -> bytes:
        for token in piece.token_ids:
            self._ids += b",%d" % token if self._num_tokens else b"%d" % token
            self._num_tokens += 1
        if piece.num_cached or piece.num_retractions:
            self._count(piece)
        finish = b"null" if piece.finish is None else orjson.dumps(piece.finish.to_dict())
        rest = self._ids + b"]", finish, b"%d" % self._num_tokens, *self._counts
        if not self._has_text:
            return self._template.fill(*rest)
        self._text += orjson.dumps(piece.text)[1:-1]
        return self._template.fill(self._text + b'"', *rest)

    def _count(self, piece: Piece) -> None:
        self._num_cached = max(self._num_cached, piece.num_cached)
        self._num_retractions = max(self._num_retractions, piece.num_retractions)
        self._counts = b"%d" % self._num_cached, b"%d" % self._num_retractions
