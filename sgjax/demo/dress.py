"""How people type: greetings, asides, missing punctuation, other case and typing errors."""

import random

from sgjax.demo import facts
from sgjax.demo.grammar import capitalised, expand, with_typo

OPENINGS = facts.phrases("dress", "openings")
CLOSINGS = facts.phrases("dress", "closings")
FILLERS = ("the", "a", "is", "of", "for", "me", "you", "please", "do", "to")


def _aside(rng: random.Random, templates: tuple[str, ...]) -> str:
    things = facts.table("things")
    return expand(
        rng,
        rng.choice(templates),
        country=rng.choice(list(facts.countries())),
        city=rng.choice(list(facts.cities())),
        name=rng.choice(facts.table("talk")["names"]),
        thing=rng.choice(things[rng.choice(list(things))]),
        age=str(rng.randint(8, 80)),
    )


def _drop_filler(rng: random.Random, text: str) -> str:
    words = text.split(" ")
    places = [i for i, w in enumerate(words) if w.lower() in FILLERS]
    if places:
        del words[rng.choice(places)]
    return " ".join(words)


def _has_exact_text(text: str) -> bool:
    """Whether the text holds keys or quotes that must be kept letter by letter."""
    return any(mark in text for mark in ('"', "{", "`", "'")) or "JSON" in text


def dressed(rng: random.Random, text: str) -> str:
    """The question as some person would type it."""
    exact = _has_exact_text(text)
    if not exact and rng.random() < 0.06:
        text = _drop_filler(rng, text)
    if not exact and rng.random() < 0.07:
        text = with_typo(rng, text)
    text = capitalised(text) if rng.random() < 0.78 else text
    if rng.random() < 0.13:
        text = text.rstrip(".?!")
    elif rng.random() < 0.03:
        text = text.rstrip(".?!") + rng.choice(("!", "??", "...", "?!", " ?", " ."))
    if rng.random() < 0.16:
        text = f"{capitalised(_aside(rng, OPENINGS))} {text}"
    if rng.random() < 0.07:
        text = f"{text} {_aside(rng, CLOSINGS)}"
    if not exact and rng.random() < 0.07:
        text = text.lower()
    elif not exact and rng.random() < 0.012:
        text = text.upper()
    return text.strip().replace("D.C..", "D.C.")
