"""Stop strings, found in a text that comes piece by piece."""

from collections.abc import Sequence


class StopMatcher:
    """Passes a text on up to its first stop.

    The first is the stop whose last character comes first; of several that end together, the one
    listed first. It is cut from the text, or with `no_trim` left as its end. What might be the
    beginning of a stop is held back until more text decides:

        stops: "END"     fed: "the E" -> "the "     held: "E"
                         fed: "ast"   -> "East"     held: ""
    """

    def __init__(self, stops: Sequence[str], *, no_trim: bool = False):
        """`stops` are not empty strings."""
        self._stops = [_Stop(text) for text in stops]
        self._no_trim = no_trim
        self._held = ""
        self.matched: str | None = None
        """The stop that was found. From then on nothing is passed on."""

    def feed(self, text: str) -> str:
        """The text that is now certain to come before any stop."""
        if self.matched is not None:
            return ""
        text = self._held + text
        for position in range(len(self._held), len(text)):
            for stop in self._stops:
                if stop.ends_with(text[position]):
                    return self._end(stop, text[: position + 1])
        return self._split(text)

    def flush(self) -> str:
        """What is held back, when no more text comes."""
        held, self._held = self._held, ""
        return held

    def _end(self, stop: "_Stop", text: str) -> str:
        self.matched, self._held = stop.text, ""
        return text if self._no_trim else text[: -len(stop.text)]

    def _split(self, text: str) -> str:
        num_held = max((stop.num_matched for stop in self._stops), default=0)
        if self._no_trim:
            num_held = 0  # a stop is shown too, so there is nothing to hold back
        cut = len(text) - num_held
        self._held = text[cut:]
        return text[:cut]


class _Stop:
    """Knuth, Morris and Pratt's matcher: constant time a character, on average."""

    def __init__(self, text: str):
        self.text = text
        self.num_matched = 0
        """Length of the longest end of the text so far that begins this stop."""
        self._shorter = _borders(text)

    def ends_with(self, character: str) -> bool:
        """Reads one more character; whether the stop ends with it."""
        length = self.num_matched
        while length and self.text[length] != character:
            length = self._shorter[length]
        if self.text[length] == character:
            length += 1
        self.num_matched = length
        return length == len(self.text)


def _borders(text: str) -> list[int]:
    """For each n: the length of the longest proper beginning of text[:n] that also ends it."""
    borders = [0, 0]
    for n in range(1, len(text)):
        length = borders[n]
        while length and text[length] != text[n]:
            length = borders[length]
        borders.append(length + (text[length] == text[n]))
    return borders
