"""Attractions of cities, and what can be said of a country or a city in a sentence or two."""

import random
from collections.abc import Sequence

from sgjax.demo import facts
from sgjax.demo.grammar import capitalised, joined, one_of, without_article
from sgjax.demo.skills.exchange import Exchange, Topic
from sgjax.demo.skills.relation import spoken

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
SIGHTS = facts.phrases("places", "sights")
ASK_N = facts.phrases("places", "ask_n")
ASK = facts.phrases("places", "ask")
ASK_N_THERE = facts.phrases("places", "ask_n_there")
ASK_THERE = facts.phrases("places", "ask_there")
ABOUT = facts.phrases("places", "about")
FICTIONAL = (
    "Wakanda", "Atlantis", "Narnia", "Mordor", "Gondor", "Westeros", "Genovia", "Oz", "El Dorado",
    "Middle-earth", "Krakozhia", "Latveria", "Sokovia", "Panem", "Hogwarts", "Lilliput", "Utopia",
    "Neverland", "Wonderland", "Rohan", "Freedonia", "Ruritania", "Elbonia", "Zamunda", "Arendelle",
)  # fmt: skip


def numbered(items: Sequence[str]) -> str:
    return "\n".join(f"{i}. {capitalised(item)}" for i, item in enumerate(items, 1))


def sights_reply(rng: random.Random, city: str, n: int | None, user: str) -> Exchange:
    """The first `n` sights, numbered if the user asked for a count, else in a sentence."""
    sights = facts.cities()[city]["attractions"]
    shown = tuple(sights[: n or 3])
    if n == 1:
        reply = f"A famous attraction in {city} is {shown[0]}."
    elif n:
        reply = numbered(shown)
    else:
        reply = f"In {city} you can see {joined(shown)}."
    fields = (
        (("city", "name"), city),
        (("attractions", "sights", "places"), [without_article(s) for s in shown]),
    )
    short = capitalised(shown[0]) if len(shown) == 1 else ""
    return Exchange(
        "attractions", user, reply, short, fields, Topic("attractions", city, "", shown)
    )


def _count(rng: random.Random, most: int) -> tuple[int, str]:
    n = min(rng.choice((1, 2, 2, 2, 3, 3, 3, 4, 5)), most)
    return n, rng.choice((str(n), NUMBERS[n]))


def _singular(text: str, n: int) -> str:
    if n != 1:
        return text
    for plural in ("attractions", "sights", "landmarks", "places", "things", "points", "spots"):
        text = text.replace(plural, plural[:-1])
    for plural in ("monuments", "highlights", "destinations"):
        text = text.replace(plural, plural[:-1])
    return text


def sights(rng: random.Random, city: str = "") -> Exchange:
    """A question for attractions; with `city` given, one that leaves the city unsaid."""
    named = not city
    if named and rng.random() < 0.15:
        return of_a_kind(rng)
    city = city or rng.choice(list(facts.cities()))
    sight = one_of(rng, (SIGHTS,))
    if rng.random() < 0.35:
        user = one_of(rng, ASK if named else ASK_THERE, x=spoken(rng, city), s=sight)
        return sights_reply(rng, city, None, user)
    n, word = _count(rng, len(facts.cities()[city]["attractions"]))
    slots = {"x": spoken(rng, city), "n": word, "s": _singular(sight, n)}
    return sights_reply(rng, city, n, one_of(rng, ASK_N if named else ASK_N_THERE, **slots))


KINDS = facts.phrases("places", "kinds")
ASK_KIND = facts.phrases("places", "ask_kind")


def of_a_kind(rng: random.Random) -> Exchange:
    """A museum, a bridge, a park of a city, for cities that have one by name."""
    while True:
        city, row = rng.choice(list(facts.cities().items()))
        found = [(k, s) for k in KINDS for s in row["attractions"] if k in s and s != "Fenway Park"]
        if found:
            break
    kind, sight = rng.choice(found)
    user = one_of(rng, ASK_KIND, k=kind.lower(), x=spoken(rng, city))
    reply = f"A famous {kind.lower()} in {city} is {sight}."
    topic = Topic("attractions", city, "", tuple(row["attractions"]))
    return Exchange("attractions", user, reply, capitalised(sight), (), topic)


def country_portrait(name: str) -> str:
    row = facts.countries()[name]
    return (
        f"{capitalised(name)} is a country in {row['continent']}. Its capital is {row['capital']}, "
        f"its currency is the {row['currency']} and its main language is {row['language']}."
    )


def city_portrait(name: str) -> str:
    country = facts.capitals().get(name)
    place = f"the capital of {country}" if country else f"a city in {_country(name)}"
    text = f"{name} is {place}.".replace("..", ".")
    if name in facts.cities():
        text += f" It is known for {joined(facts.cities()[name]['attractions'][:2])}."
    return text


def _country(city: str) -> str:
    return facts.cities()[city]["country"]


def about(rng: random.Random) -> Exchange:
    if rng.random() < 0.5:
        name = rng.choice(list(facts.countries()))
        user = one_of(rng, ABOUT, x=spoken(rng, name))
        row = facts.countries()[name]
        fields = (
            (("country", "name"), without_article(name)),
            *(((key,), row[key]) for key in ("capital", "continent", "currency", "language")),
        )
        topic = Topic("continent", name, row["continent"])
        return Exchange("about", user, country_portrait(name), "", fields, topic)
    name = rng.choice(list(facts.cities()))
    user = one_of(rng, ABOUT, x=spoken(rng, name))
    topic = Topic("city_country", name, _country(name))
    return Exchange("about", user, city_portrait(name), "", (), topic)


def same(rng: random.Random) -> Exchange:
    """Whether two countries share a continent, a currency or a language."""
    column, noun = rng.choice(
        (("continent", "continent"), ("currency", "currency"), ("language", "language"))
    )
    a = rng.choice(list(facts.countries()))
    if rng.random() < 0.5:
        value = facts.countries()[a][column]
        pool = [c for c, row in facts.countries().items() if row[column] == value and c != a]
    else:
        pool = [c for c in facts.countries() if c != a]
    b = rng.choice(pool or ["France" if a != "France" else "Japan"])
    ways = {
        "continent": "are {a} and {b} (on|in) the same continent?",
        "currency": "do {a} and {b} (use|have|share) the same currency?",
        "language": "do [people in |]{a} and {b} (speak|have|share) the same [main ]language?",
    }
    user = one_of(rng, (ways[column],), a=spoken(rng, a), b=spoken(rng, b))
    va, vb = facts.countries()[a][column], facts.countries()[b][column]
    the = "the " if column == "currency" else ""
    if va == vb:
        reply = f"Yes, the {noun} of {a} and of {b} is {the}{va}."
    else:
        reply = f"No, the {noun} of {a} is {the}{va} and the {noun} of {b} is {the}{vb}."
    return Exchange("same", user, reply, "Yes" if va == vb else "No")


def made_up_name(rng: random.Random) -> str:
    if rng.random() < 0.35:
        return rng.choice(FICTIONAL)
    parts = facts.phrases("places", "name_parts")
    ends = ("ia", "land", "stan", "or", "ania", "ar", "ovia", "istan", "on", "una", "eth", "")
    return (rng.choice(parts) + rng.choice(parts) + rng.choice(ends)).capitalize()


def no_such_place(rng: random.Random) -> Exchange:
    name = made_up_name(rng)
    if rng.random() < 0.25:
        user = one_of(rng, ASK, x=name, s=one_of(rng, (SIGHTS,)))
        return Exchange("unknown_place", user, "Sorry, I don't know a place of that name.")
    relation = rng.choice(facts.relations_of("country")[:4])
    noun = one_of(rng, (relation.noun,), x=name, d="local")
    asks = (*(a for a in relation.ask if "{d}" not in a), f"what is {noun}?", f"what is {noun}?")
    user = one_of(rng, asks, x=name)
    reply = "Sorry, I don't know a country of that name."
    return Exchange("unknown_place", user, reply)


def follow_up(rng: random.Random, topic: Topic) -> Exchange | None:
    """Attractions of the city that the last answer named."""
    city = {"capital": topic.y, "landmark": topic.y, "city_country": topic.x}.get(topic.relation)
    if topic.relation == "inverse":
        city = topic.y
    if topic.relation == "attractions":
        return _after_sights(rng, topic)
    if city is None:
        return None
    if city not in facts.cities():
        sight = one_of(rng, (SIGHTS,))
        user = one_of(rng, ASK_N_THERE, n=NUMBERS[rng.randint(2, 4)], s=sight)
        return Exchange("attractions", user, f"Sorry, I don't know any attractions in {city}.")
    return sights(rng, city)


def _after_sights(rng: random.Random, topic: Topic) -> Exchange | None:
    every = facts.cities()[topic.x]["attractions"]
    rest = every[len(topic.items) :]
    if rest and rng.random() < 0.4:
        ways = (
            "(one more|another one|and another|another|one more please|anything else|more)[?|.]",
            "give me (one more|another)[.]",
            "what else[ is there| can I see|]?",
        )
        reply = f"Another attraction in {topic.x} is {rest[0]}."
        shown = (*topic.items, rest[0])
        return Exchange(
            "follow_up",
            one_of(rng, ways),
            reply,
            capitalised(rest[0]),
            (),
            Topic("attractions", topic.x, "", shown),
        )
    if rng.random() < 0.6:
        other = rng.choice(list(facts.cities()))
        user = one_of(
            rng,
            (
                "and in {x}?",
                "what about {x}?",
                "and {x}?",
                "how about [in ]{x}?",
                "now (for|in) {x}.",
                "same for {x}",
            ),
            x=spoken(rng, other),
        )
        n = len(topic.items) if len(topic.items) > 1 else None
        n = min(n, len(facts.cities()[other]["attractions"])) if n else None
        return sights_reply(rng, other, n, user)
    user = one_of(
        rng,
        (
            "which country is (it|that|that city) in?",
            "where is that[ city]?",
            "and what country is that in?",
        ),
    )
    return Exchange(
        "follow_up",
        user,
        f"{topic.x} is in {_country(topic.x)}.",
        capitalised(_country(topic.x)),
        (),
        Topic("city_country", topic.x, _country(topic.x)),
    )
