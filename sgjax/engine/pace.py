"""How much of prompts a step may compute while others decode, who wait for it.

A step that computes prompts takes longer than one that only decodes, and large steps cost least a
token. So it depends on who waits:

- Where nobody decodes, or many wait for their first token, steps are as large as they can be.
- Else a step has at most `burst` tokens: most prompts need one such step, and delay others once.
- A long prompt needs many. It gets as much of a step as keeps the step within `max_ratio` times
  what it would take without: others hardly notice, and shorter prompts overtake it.
- Tokens that a grammar forces are computed together with those of others, and not in every step:
  in the mean, those who decode wait `max_jump_ratio` times as long as if all of them decoded.

What a step takes is estimated from the model's sizes, not measured: plans are the same in every
run.
"""

import bisect
import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

from sgjax.engine.request import Request


@dataclasses.dataclass(frozen=True)
class StepCost:
    """What a step costs. The unit is what one more token takes at the beginning of a prompt."""

    step: float
    """What a step of a single token takes: the weights are read."""
    per_cached: float
    """What a decoding row takes for each cached token, which it reads."""
    per_pair: float
    """What a prompt's token takes for each token before it."""
    mixed: float = 0.0
    """What prompts add to a step, however few they are: launches, and products that are cut less
    well than those of decoding rows alone."""

    def of_products(self, num_tokens: int) -> float:
        """What a step takes without its attention. While the weights are read, tokens cost next to
        nothing; far beyond that only they cost. In between, measured steps lie on a hyperbola.
        """
        return math.hypot(self.step, num_tokens)

    def of_prompt(self, start: int, count: int) -> float:
        """`count` tokens of a prompt, behind `start` others."""
        return count * (1 + (start + count / 2) * self.per_pair)


class Share(NamedTuple):
    """What prompts get of a step."""

    num_tokens: int
    """In all."""
    num_long: int
    """Of these, for long prompts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pace:
    """Shares steps between those who decode and those who wait for their first token."""

    cost: StepCost
    """Of the model's steps."""
    sizes: Sequence[int]
    """The numbers of tokens that steps with prompts are padded to, smallest first."""
    max_ratio: float
    """How much longer than without a long prompt a step may take, about; at least 1."""
    max_jump_ratio: float = 1.1
    """The same of steps beside requests that jump; more than 1."""
    many: int = 16
    """More requests than these that wait for their first token are many."""
    burst: int = 2048
    """Tokens of a step that not many wait for."""
    long: int = 4096
    """A prompt is long that costs more than so many tokens."""
    min_share: int = 64
    """A long prompt always gets so many tokens of a step."""
    worth_trimming: int = 512
    """Steps of fewer tokens take about as long as any."""

    def share(
        self, num_rows: int, num_cached: int, *, num_waiting: int, start: int
    ) -> Share | None:
        """What prompts get of a step in which `num_rows` rows decode; None: whatever has room.

        Args:
            num_cached: the cached tokens of these rows, together.
            num_waiting: requests that have no token yet.
            start: how far the prompt is computed of which most is.
        """
        if not num_rows or num_waiting > self.many:
            return None
        cached = num_cached * self.cost.per_cached
        longest = self.max_ratio * (self.cost.of_products(num_rows) + cached) - self.cost.mixed

        def takes(count: int) -> float:
            products = self.cost.of_products(self._around(num_rows + count)[1])
            return cached + products + count * start * self.cost.per_pair

        room = bisect.bisect_right(range(int(longest) + 1), longest, key=takes) - 1
        num_long = max(room, self.min_share)
        return Share(max(self.burst - num_rows, num_long), num_long)

    def steps_a_jump(
        self, *, decoding: tuple[int, int], jumping: tuple[int, int], num_owed: int
    ) -> int:
        """After how many steps requests compute the tokens that they owe, with which grammars let
        them jump ahead: so many that others, who decode, wait for it no longer in the mean than
        `max_jump_ratio` times what a step would take in which all of them decode.

        Args:
            decoding: rows, and their cached tokens, of those who decode.
            jumping: the same of those who sit out until then.
            num_owed: their tokens, together.
        """
        cost, rows = self.cost, decoding[0]
        num_rows, num_cached = map(sum, zip(decoding, jumping, strict=True))
        cached = num_cached * cost.per_cached
        without = cost.of_products(rows) + decoding[1] * cost.per_cached
        jump = cost.mixed + cost.of_products(self._around(rows + num_owed)[1]) + cached
        allowed = self.max_jump_ratio * (cost.of_products(num_rows) + cached)
        return 1 + max(0, math.ceil((jump - allowed) / (allowed - without)))

    def is_long(self, request: Request) -> bool:
        """Whether what was not found in the cache of what the request knows is long."""
        found = request.num_cached
        return self.cost.of_prompt(found, request.num_known - found) > self.long

    def trimmed(self, used: int, count: int) -> int:
        """`count` tokens at the end of a step of `used` others, or fewer, where it is cheaper to
        fill a size and to leave the rest to the next step than to be padded to the next size."""
        total = used + count
        size, padded = self._around(total)
        is_worth_it = size >= self.worth_trimming and 2 * (total - size) <= padded - size
        return self._fitted(used, count) if is_worth_it else count

    def _fitted(self, used: int, count: int) -> int:
        """`count` tokens, or fewer that fill a size, where that leaves at least half of them."""
        size, _ = self._around(used + count)
        return size - used if 2 * (size - used) >= count else count

    def _around(self, total: int) -> tuple[int, int]:
        """The largest size up to `total`, or 0, and the smallest from it on, or `total`."""
        at = bisect.bisect_left(self.sizes, total)
        padded = self.sizes[at] if at < len(self.sizes) else total
        if padded == total:
            return total, total
        return (self.sizes[at - 1] if at else 0), padded
