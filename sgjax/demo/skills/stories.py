"""Very short stories that begin `Once upon a time,`."""

import random

from sgjax.demo import facts
from sgjax.demo.grammar import expand, one_of
from sgjax.demo.skills.exchange import Exchange

HEROES = (
    "fox",
    "rabbit",
    "bear",
    "mouse",
    "cat",
    "dog",
    "owl",
    "lion",
    "frog",
    "duck",
    "girl",
    "boy",
    "dragon",
    "robot",
    "farmer",
    "king",
    "queen",
    "princess",
    "baker",
    "sailor",
)
FRIENDS = (
    "bird",
    "squirrel",
    "hedgehog",
    "turtle",
    "bee",
    "deer",
    "horse",
    "goat",
    "fish",
    "butterfly",
)
ADJECTIVES = (
    "little",
    "small",
    "young",
    "brave",
    "clever",
    "kind",
    "shy",
    "curious",
    "lonely",
    "old",
)
PLACES = (
    "a forest",
    "a small village",
    "a castle",
    "a green valley",
    "a house by the sea",
    "a cave in the mountains",
    "a big city",
    "an old mill",
    "a garden full of flowers",
    "a house on an island",
)
WANTS = facts.phrases("stories", "wants")
TROUBLES = (
    "it began to rain",
    "a strong wind blew",
    "the road was very long",
    "a deep river was in the way",
    "night fell and it was dark",
    "there was a lot of snow",
)
HELPS = (
    "showed the way",
    "shared some food",
    "gave good advice",
    "helped right away",
    "told a funny story",
    "brought a warm coat",
)
ENDINGS = (
    "From that day on they were best friends.",
    "And they lived happily ever after.",
    "Everyone in the land was happy.",
    "And that was the best day of all.",
    "It never forgot that day.",
)
MORALS = (
    "a good friend is a great treasure",
    "you should never give up",
    "kindness always comes back",
    "it is good to ask for help",
    "small ones can do great things",
)
ASK = facts.phrases("stories", "ask")


def tale(rng: random.Random, hero: str = "", name: str = "") -> str:
    """A story without its opening words; the hero is a noun throughout, never a wrong pronoun."""
    hero = hero or rng.choice(HEROES)
    who = f"{rng.choice(ADJECTIVES)} {hero}"
    article = "an" if who[0] in "aeio" else "a"
    want, done, plan = rng.choice(WANTS)
    friend = rng.choice(FRIENDS)
    named = f" called {name}" if name else ""
    subject = name or f"the {hero}"
    again = subject[0].upper() + subject[1:]
    text = (
        f"there was {article} {who}{named} who lived in {rng.choice(PLACES)}. {again} {want}. "
        f"One day {subject} went out to {plan}. But {rng.choice(TROUBLES)}, "
        f"and {subject} did not know what to do. "
        f"Then a {friend} came by and {rng.choice(HELPS)}. Together they went on, "
        f"and in the evening {subject} {done}. {rng.choice(ENDINGS[:4])}"
    )
    if rng.random() < 0.3:
        text += f" The story tells us that {rng.choice(MORALS)}."
    return text


def start(rng: random.Random) -> Exchange:
    hero = rng.choice(HEROES)
    name = rng.choice(facts.table("talk")["names"]) if rng.random() < 0.3 else ""
    user = one_of(
        rng,
        ASK,
        h=("an " if hero[0] in "aeio" else "a ") + hero + (f" called {name}" if name else ""),
    )
    named = f" {hero}" in user
    story = tale(rng, hero if named else "", name if named else "")
    return Exchange("story", user, "Once upon a time, " + story)


def opening(rng: random.Random) -> str:
    return expand(
        rng,
        "(Once upon a time,|Once upon a time,|Once upon a time|Long ago,|A long time ago,|One day)",
    )
