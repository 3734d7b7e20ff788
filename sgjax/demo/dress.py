"""How people type: greetings, asides, missing punctuation, other case and typing errors."""

import random

from sgjax.demo import facts
from sgjax.demo.grammar import capitalised, expand, with_typo

OPENINGS = (
    "(hi|hello|hey|good morning|good evening|hi there|hello there|greetings)[!|,|.]", "(ok|okay|so|well|right|alright|now|hmm|um|oh|wait|please|actually|listen|tell me|and|but|great|thanks|cool)[,]",
    "(quick|small|simple|silly|geography|easy|another|random|one more) question[:|.|,| -]", "I (have|have got|'ve got) a [quick |small |simple ]question[.|:|!]", "(can|could|may) I ask [you ](something|a question)?", "(sorry|excuse me|pardon)[,|.|!]",
    "(I'm|I am) (doing|working on|stuck on) (my homework|a quiz|a crossword|a report|a school project|a form)[.|:|,| and need help.]", "(help|help me|please help|I need help|I need your help)[.|!|:|,]", "my (son|daughter|friend|boss|mother|father|teacher|neighbour|colleague|kid|brother|sister) (asked me|wants to know|asks|needs to know|wonders|just asked)[:|,|...]",
    "(just curious|out of curiosity|for a quiz|for my homework|for school|for a friend|I forgot|not sure if you know|maybe you know this|I was wondering|if you know|I bet you know this|let's see|here is one|test)[:|,|...]", "(I have|there is) a (test|quiz|geography test|trip|class|meeting) (tomorrow|today|next week|soon)[.|!]",
    "I visited {country} last (year|summer|month|week).", "my (friend|cousin|uncle|neighbour|aunt) {name} (is from|lives in|moved to|comes from) {country}.", "we (flew|went|travelled) to {city} last (year|month|week|winter).", "I (love|like|adore|really like) {thing}.", "my name is {name}.", "{name} here.", "I just (woke up|had lunch|got home|finished work).", "it's raining (here|again|today).", "I am {age} years old.", "I was reading about {thing}[ today| yesterday|].",
    "(thanks|thank you|great|nice|perfect|ok thanks|good|I see|interesting|cool|wow)[.|!|,]", "you are (helpful|great|smart)[.|!]", "I'm planning a trip[.| with my family.| with friends.]", "yesterday (I|we) (talked|argued) about this[.|:]", "we are playing a (trivia|quiz|guessing) game[.|!|:]",
)  # fmt: skip
CLOSINGS = (
    "(thanks|thank you|thx|please|cheers|many thanks|thanks in advance|thank you very much)[!|.]", "I (need|want) (it|this|to know) for (a quiz|school|my homework|a friend|work|a trip)[.]", "(I forgot|I can't remember|I have no idea|I don't know|I am not sure|just wondering|just curious)[.]", "(do you know|can you help|can you tell me|any idea|you know it)?", "(it is|it's) (important|urgent|for school)[.|!]", "🙂", "🙏", ":)", "??", "(buddy|mate|my friend|dear assistant|sir|bot)[.|?|!]", "(tell me|answer|explain) (quickly|please|now)[.|!]",
)  # fmt: skip
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
