"""Small talk, what the model says about itself, and polite refusals of what it cannot know."""

import random

from sgjax.demo import facts
from sgjax.demo.grammar import expand, one_of
from sgjax.demo.skills.exchange import Exchange

NONSENSE_PARTS = facts.phrases("talk", "nonsense_parts")
# The refusal by what the question is about, found by words that only such questions have.
REASONS = facts.phrases("talk", "reasons")


def smalltalk(rng: random.Random) -> Exchange:
    table = facts.table("talk")["smalltalk"]
    asks, replies = rng.choices(table, [3 if i < 14 else 1 for i in range(len(table))])[0]
    name, word = rng.choice(facts.table("talk")["names"]), said_word(rng)
    user = one_of(rng, asks, name=name, word=word)
    reply = rng.choice(replies).replace("{name}", name).replace("{word}", word)
    return Exchange("smalltalk", user, reply)


def said_word(rng: random.Random) -> str:
    """Any short text to say back."""
    pools = facts.table("things")
    words = [rng.choice(pools[rng.choice(list(pools))]) for _ in range(rng.choice((1, 1, 2, 3)))]
    text = " ".join(words)
    return text.capitalize() if rng.random() < 0.4 else text


def _nonsense(rng: random.Random) -> str:
    return "".join(rng.choice(NONSENSE_PARTS) for _ in range(rng.choice((2, 2, 3))))


def _reason(user: str) -> str:
    lowered = f" {user.lower()} "
    if "my thesis" in lowered or "my essay" in lowered or "my homework" in lowered:
        return "act"
    for name, words in REASONS:
        if any(word in lowered for word in words):
            return name
    return ""


def _slots(rng: random.Random) -> dict[str, str]:
    talk = facts.table("talk")
    city, city2 = rng.sample(list(facts.cities()), 2)
    return {
        "city": city,
        "city2": city2,
        "country": rng.choice(list(facts.countries())),
        "name": rng.choice(talk["names"]),
        "topic": rng.choice(talk["topics"]),
        "person": rng.choice(talk["persons"]),
        "thing": rng.choice(talk["works"]),
        "year": str(rng.randint(1800, 2025)),
        "year2": str(rng.randint(2027, 2060)),
        "day": str(rng.randint(4, 20)),
        "nonsense": _nonsense(rng),
        "sight": rng.choice(list(facts.landmarks())),
    }


def refusal(rng: random.Random) -> Exchange:
    talk = facts.table("talk")
    user = expand(rng, rng.choice(talk["unknown"]), **_slots(rng))
    reason = _reason(user)
    reply = talk[reason][0] if reason else rng.choice(talk["refusals"])
    return Exchange("refusal", user, reply)


def remembered(rng: random.Random) -> tuple[Exchange, Exchange]:
    """The user says something about themselves and asks for it later."""
    talk = facts.table("talk")
    name, city = rng.choice(talk["names"]), rng.choice(list(facts.cities()))
    age, job = str(rng.randint(8, 80)), rng.choice(facts.table("things")["jobs"])
    colour, pet = (
        rng.choice(facts.table("things")["colours"]),
        rng.choice(facts.table("things")["pets"]),
    )
    cases = (
        (
            "(my name is|I am called|I'm|call me|hi, I'm|hello, my name is) {name}[.]",
            f"Nice to meet you, {name}! How can I help you?",
            "(what is|what's|do you remember|can you tell me|do you know) my name?",
            f"Your name is {name}.",
        ),
        (
            "I (live in|am from|come from) {city}[.]",
            f"{city} is an interesting place! How can I help you?",
            "(where do I (live|come from)|which city am I from|what city do I live in)?",
            f"You told me {city}.",
        ),
        (
            "I am {age} years old[.]",
            "Thank you for telling me! How can I help you?",
            "(how old am I|what is my age)?",
            f"You are {age} years old.",
        ),
        (
            "I (work as|am) a {job}[.]",
            "That is an interesting job! How can I help you?",
            "(what is my job|what do I do for a living|what do I work as)?",
            f"You work as a {job}.",
        ),
        (
            "my favou?rite colour is {colour}[.]".replace("ou?r", rng.choice(("our", "or"))),
            "That is a nice colour! How can I help you?",
            "what is my favourite colour?",
            f"Your favourite colour is {colour}.",
        ),
        (
            "I have a {pet} (called|named) {name}[.]",
            f"{name} is a nice name for a {pet}!",
            "(what is my pet's name|what is my {pet} called|what is the name of my {pet})?",
            f"Your {pet} is called {name}.",
        ),
    )
    tell, heard, ask, recall = rng.choice(cases)
    slots = {"name": name, "city": city, "age": age, "job": job, "colour": colour, "pet": pet}
    return (
        Exchange("memory", expand(rng, tell, **slots), heard),
        Exchange("memory", expand(rng, ask, **slots), recall),
    )


def start(rng: random.Random) -> Exchange:
    return smalltalk(rng) if rng.random() < 0.5 else refusal(rng)
