"""Definitions of common words and a set of general questions."""

import random

from sgjax.demo import facts
from sgjax.demo.grammar import capitalised, expand, one_of
from sgjax.demo.skills.exchange import Exchange, Topic

DEFINE = facts.phrases("words", "define")
AGAIN = (
    "and {a}?",
    "what about {a}?",
    "and what is {a}?",
    "how about {a}?",
    "and {t}?",
    "now define {t}.",
    "same for {t}",
    "and (the word |the term |){t}?",
    "now {t}[ please]",
)


def _plural(term: str, article: str) -> str:
    if article not in ("a", "an"):
        return term
    if term.endswith(("s", "sh", "ch", "x")):
        return term + "es"
    return term[:-1] + "ies" if term.endswith("y") and term[-2] not in "aeou" else term + "s"


def definition(
    rng: random.Random, ways: tuple[str, ...] = DEFINE, kind: str = "definition"
) -> Exchange:
    row = rng.choice(facts.table("definitions"))
    term, article = row["term"], row["article"]
    with_article = f"{article} {term}".strip()
    user = one_of(rng, ways, t=term, a=with_article, p=_plural(term, article))
    fields = ((("term", "word"), term), (("definition", "meaning"), row["meaning"]))
    reply = capitalised(f"{with_article} is {row['meaning']}.")
    return Exchange(
        kind, user, reply, capitalised(row["meaning"]), fields, Topic("definition", term)
    )


def named_by(rng: random.Random) -> Exchange:
    """The other way round: which word has this meaning."""
    row = rng.choice(facts.table("definitions"))
    said = f"{row['article']} {row['term']}".strip()
    ways = (
        "what do you call {m}?",
        "which word means {m}?",
        "what is the (word|name) for {m}?",
        "{m} - what is it called?",
    )
    reply = f"It is called {said}."
    return Exchange(
        "definition", one_of(rng, ways, m=row["meaning"]), reply, capitalised(row["term"])
    )


def general(rng: random.Random) -> Exchange:
    row = rng.choice(facts.table("questions"))
    user = one_of(rng, row["ask"])
    if user.startswith(("what is ", "which is ")) and rng.random() < 0.35:
        user = expand(
            rng,
            "[please ](tell me|name|do you know|can you tell me|give me|I want to know) {n}",
            n=user.split(" is ", 1)[1],
        )
    elif rng.random() < 0.15 and user.startswith(
        ("who ", "what ", "which ", "where ", "why ", "when ")
    ):
        user = expand(rng, "(do you know|can you tell me|tell me|I wonder|any idea): {n}", n=user)
    return Exchange(
        "general", user, row["reply"], capitalised(row["short"]), ((("answer",), row["short"]),)
    )


def spelling(rng: random.Random) -> Exchange:
    pools = [items for noun, items in facts.table("things").items() if "famous" not in noun]
    word = rng.choice([w for w in rng.choice(pools) if w.isalpha()] or ["cat"])
    ways = (
        "how (do you|do I|is|would you) spell ('{w}'|{w})?",
        "spell [the word ]('{w}'|{w}).",
        "what is the spelling of {w}?",
    )
    return Exchange("spelling", one_of(rng, ways, w=word), "-".join(word.upper()))


def start(rng: random.Random) -> Exchange:
    roll = rng.random()
    if roll < 0.55:
        return definition(rng)
    if roll < 0.6:
        return named_by(rng)
    return spelling(rng) if roll < 0.63 else general(rng)


def follow_up(rng: random.Random, topic: Topic) -> Exchange | None:
    if topic.relation != "definition":
        return None
    return definition(rng, AGAIN, "follow_up")
