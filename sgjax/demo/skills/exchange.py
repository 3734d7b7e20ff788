"""The types that every skill returns, and the frames that ask for any noun phrase."""

import dataclasses
import random

from sgjax.demo import facts
from sgjax.demo.grammar import expand, one_of

Value = str | int | float | bool | list[str]

FRAMES = facts.phrases("exchange", "frames")


@dataclasses.dataclass(frozen=True, slots=True)
class Topic:
    """What an exchange was about, so that a follow-up can refer to it."""

    relation: str
    x: str
    y: str = ""
    items: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Exchange:
    """One question and its answer.

    `short` is the answer alone, for users who ask for one word. `fields` are the key names and
    values of the answer as JSON; where either is empty the exchange has no such form.
    """

    kind: str
    user: str
    reply: str
    short: str = ""
    fields: tuple[tuple[tuple[str, ...], Value], ...] = ()
    about: Topic | None = None


def ask_for(rng: random.Random, noun: str) -> str:
    """A question for what a noun phrase such as `the capital of Peru` stands for."""
    return expand(rng, rng.choice(FRAMES), n=noun)


def follow(rng: random.Random, subject: str) -> str:
    """The same question again for another subject: `and of Japan?`."""
    return one_of(rng, AGAIN, x=subject)


AGAIN = facts.phrases("exchange", "again")
