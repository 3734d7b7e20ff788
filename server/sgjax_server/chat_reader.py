"""A sample's pieces of text, as the events of a chat."""

from sgjax.front.piece import Piece
from sgjax_server.chat_events import Content, End, Event


class ChatReader:
    """Reads one sample of a chat."""

    def is_plain(self, piece: Piece) -> bool:
        """Whether the piece is nothing but text of the answer: then it need not be read."""
        return piece.finish is None and piece.logprobs is None

    def read(self, piece: Piece) -> list[Event]:
        """The events of the next piece; the last of them is the End where it has a finish."""
        events: list[Event] = []
        if piece.text or piece.logprobs is not None:
            events.append(Content(piece.text, piece.logprobs))
        if piece.finish is not None:
            events.append(End(piece.finish.type, piece.finish))
        return events
