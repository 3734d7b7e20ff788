"""Masks of the tokens that grammars allow, computed in threads while the device is busy."""

import queue
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from sgjax.constrained.matcher import GrammarFault, Matcher

MAX_BYTES = 64 << 20
"""Of masks that are kept, for states that come again: beginnings of grammars, mostly."""


_AT_A_TIME = 4
"""So that one that takes long holds up few others."""


class Mask:
    """The tokens allowed in one state, i32[ceil(V / 32)], when `is_done`."""

    __slots__ = ("_matcher", "bits", "fault", "is_done")

    def __init__(self, matcher: Matcher, num_words: int):
        self._matcher: Matcher | None = matcher
        self.bits = np.zeros(num_words, np.int32)
        self.fault: GrammarFault | None = None
        self.is_done = False

    def fill(self) -> None:
        """Once; then the mask may outlive the matcher."""
        assert self._matcher is not None
        try:
            self._matcher.fill(self.bits)
        except GrammarFault as fault:
            self.fault = fault
        self._matcher = None
        self.is_done = True


class MaskFiller:
    """Fills masks, each state's once however many requests are in it.

    One thread asks; it must leave a matcher alone until its mask is done.
    """

    def __init__(self, vocab_size: int, num_threads: int, *, max_bytes: int = MAX_BYTES):
        self._num_words = -(-vocab_size // 32)
        self._max_masks = max(1, max_bytes // (4 * self._num_words))
        self._masks: OrderedDict[bytes, Mask] = OrderedDict()
        self._wanted: queue.SimpleQueue[list[Mask] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"sgjax-mask-{i}", daemon=True)
            for i in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, matchers: Sequence[Matcher]) -> list[Mask]:
        """The masks of the states of matchers; they may not be done yet."""
        new: list[Mask] = []
        masks = [self._mask(matcher, new) for matcher in matchers]
        # To wake a thread takes longer than most masks: a few for each.
        for first in range(0, len(new), _AT_A_TIME):
            self._wanted.put(new[first : first + _AT_A_TIME])
        while len(self._masks) > self._max_masks:
            self._masks.popitem(last=False)
        return masks

    def _mask(self, matcher: Matcher, new: list[Mask]) -> Mask:
        mask = self._masks.get(matcher.key)
        if mask is None:
            mask = self._masks[matcher.key] = Mask(matcher, self._num_words)
            new.append(mask)
        else:
            self._masks.move_to_end(matcher.key)
        return mask

    def wait(self, timeout_s: float) -> None:
        """Until more masks are done, or for so long."""
        try:
            self._done.get(timeout=timeout_s)
        except queue.Empty:
            return
        while not self._done.empty():
            self._done.get_nowait()

    def close(self) -> None:
        """Ends the threads."""
        for _ in self._threads:
            self._wanted.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (masks := self._wanted.get()) is not None:
            for mask in masks:
                mask.fill()
            self._done.put(None)
