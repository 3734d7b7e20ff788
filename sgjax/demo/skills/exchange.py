"""The types that every skill returns, and the frames that ask for any noun phrase."""

import dataclasses
import random

from sgjax.demo.grammar import expand, one_of

Value = str | int | float | bool | list[str]

FRAMES = (
    "what is {n}?",
    "what is {n}?",
    "what's {n}?",
    "(which|what) is {n}?",
    "tell me {n}.",
    "[please |could you |can you |would you |kindly ](tell me|give me|state|name|say) {n}[.| please.]",
    "(can|could|would|will) you [please ]tell me what {n} is?",
    "do you [happen to ]know (what {n} is|{n})?",
    "(I'd|I would) like to know {n}.",
    "I (want|need|have|wish) to know [what ]{n}[ is].",
    "{n}?",
    "{n}",
    "{n} please",
    "name {n}.",
    "I (forgot|don't remember|can't remember|don't know|can't recall) {n}.",
    "remind me (of {n}|what {n} is).",
    "any idea what {n} is?",
    "(find|look up|give) [me ]{n}.",
    "what would you say is {n}?",
    "{n} is (what|which|...)?",
    "(my teacher|my boss|my son|my daughter|a friend|someone) (asked me|wants to know) (what {n} is|{n}).",
    "let me know what {n} is.",
    "(we|I) need {n} for (a form|a quiz|a crossword|school|my notes|a report).",
    "help me (out here|here|please|with this)[: what is|:] {n}?",
    "I (wonder|was wondering|am curious|am wondering) what {n} (is|might be|could be).",
    "(identify|state|provide|specify|mention) {n}.",
    "(so|and|ok|okay|well|right|now), what is {n}?",
    "what do (you|we|people) call {n}?",
    "(quick|easy|simple|next|another|trivia|one more|first|final) question: [what is ]{n}?",
    "question: what is {n}?",
    "is there anything you can tell me about {n}?",
    "do you have any idea (about|of) {n}?",
    "could you help me (find|find out|with) {n}?",
    "if I asked you {n}, what would you (say|answer)?",
    "(answer|complete|fill in) this: {n} is ...",
    "{n} = ?",
    "{n}: ?",
    "I'm (trying to find out|looking for|after|searching for) {n}.",
    "everyone (knows|seems to know) {n} but me, what is it?",
    "what might {n} be?",
    "how about telling me {n}?",
)


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


AGAIN = (
    "(and|and|or|but) [what ](of|for|about|in) {x}?",
    "(what|how|and what|and how|ok, what|so what) about {x}?",
    "and {x}?",
    "{x}?",
    "(same|the same) [question |thing |again ](for|about|with) {x}[ please|?].",
    "(now|next|then|also|next up) [for |of |do ]{x}[.|?| please]",
    "what is it (for|in) {x}?",
    "and in {x}?",
    "and that of {x}?",
    "what would it be for {x}?",
    "(now|and now) tell me (about|for|the same for) {x}.",
    "(what|how) about (the one|that) of {x}?",
    "thanks[!|,] and [of |for ]{x}?",
    "ok, (and|now) {x}?",
    "(I also need|also|and also) {x}[ please].",
)
