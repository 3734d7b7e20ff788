"""Lists of things, of countries and of cities; membership; comparisons of two or three things."""

import random
from collections.abc import Sequence

from sgjax.demo import facts
from sgjax.demo.grammar import capitalised, expand, one_of, without_article
from sgjax.demo.skills.exchange import Exchange, Topic
from sgjax.demo.skills.places import NUMBERS, numbered
from sgjax.demo.skills.relation import spoken

KNOWN_FIRST = facts.phrases("lists", "known_first")
CONTINENTS = ("Africa", "Asia", "Europe", "North America", "South America", "Oceania")
ADJECTIVE = {
    "Africa": "African",
    "Asia": "Asian",
    "Europe": "European",
    "North America": "North American",
    "South America": "South American",
}
ASK = facts.phrases("lists", "ask")
ASK_SOME = (
    "(list|name|give me|tell me) [some|a few] {c}.",
    "what are some {c}?",
    "can you (name|list) [some|a few] {c}?",
    "give me [some ]examples of {c}.",
    "(some|a few) {c}[ please]",
    "which {c} do you know?",
    "do you know any {c}?",
)
ASK_ONE = (
    "name (a|one|any|an example of a) {c}.",
    "(give|tell) me (a|one) {c}.",
    "what is an example of (a|one) {c}?",
    "can you name (a|one) {c}?",
    "example of a {c}[ please|?]",
    "think of a {c}.",
    "(a|one) {c}[ please]",
    "I need a {c}.",
)
INLINE = (
    " separated by commas",
    ", separated by commas",
    ", comma separated",
    " comma separated",
    " on one line",
    " in one line",
    ", comma-separated",
    " as a comma separated list",
    " with commas between them",
)
BULLETS = (
    " as bullet points",
    " as a bullet list",
    " with bullets",
    " as a bulleted list",
    " using dashes",
)
SINGULAR = facts.phrases("lists", "singular")


def draw(rng: random.Random, items: Sequence[str], n: int) -> list[str]:
    """`n` different items, the first ones more likely, so that what is drawn is easy to learn."""
    left = list(items)
    out = []
    for _ in range(min(n, len(left))):
        out.append(left.pop(min(int(rng.expovariate(0.35)), len(left) - 1)))
    return out


def _count(rng: random.Random, most: int) -> tuple[int, str]:
    n = min(rng.choice((2, 3, 3, 3, 4, 5, 5, 6, 7, 10)), most)
    return n, rng.choice((str(n), str(n), NUMBERS[n]))


def _shaped(rng: random.Random, kind: str, user: str, items: Sequence[str], noun: str) -> Exchange:
    """The list as numbered lines, unless the user asks for another shape."""
    roll = rng.random()
    reply = numbered(items)
    if roll < 0.12:
        user = user.rstrip(".?") + one_of(rng, INLINE)
        reply = ", ".join(items)
    elif roll < 0.2:
        user = user.rstrip(".?") + one_of(rng, BULLETS)
        reply = "\n".join(f"- {capitalised(item)}" for item in items)
    fields = (((noun, "items", "list"), [without_article(i) for i in items]),)
    return Exchange(kind, user, reply, "", fields, Topic("list", noun, "", tuple(items)))


def things(rng: random.Random) -> Exchange:
    noun = rng.choice(list(facts.table("things")))
    items = facts.table("things")[noun]
    said = noun.replace("colours", rng.choice(("colours", "colors")))
    roll = rng.random()
    if roll < 0.15 and noun in SINGULAR:
        pick = draw(rng, items, 1)[0]
        user = one_of(rng, ASK_ONE, c=SINGULAR[noun])
        return Exchange(
            "list", user, capitalised(pick), capitalised(pick), (), Topic("list", noun, "", (pick,))
        )
    if roll < 0.3:
        return _shaped(rng, "list", one_of(rng, ASK_SOME, c=said), draw(rng, items, 3), noun)
    n, word = _count(rng, len(items))
    return _shaped(rng, "list", one_of(rng, ASK, n=word, c=said), draw(rng, items, n), noun)


def _known(names: "list[str] | tuple[str, ...]") -> list[str]:
    first = [c for c in KNOWN_FIRST if c in names]
    return first + [c for c in names if c not in first]


def _countries_of(rng: random.Random) -> tuple[str, list[str]]:
    """A phrase for a group of countries, and its members."""
    every = facts.countries()
    kind = rng.randrange(5)
    if kind <= 1:
        return rng.choice(("countries", "countries", "nations", "countries of the world")), _known(
            tuple(every)
        )
    if kind <= 3:
        place = rng.choice(CONTINENTS)
        ways = ["countries (in|of|on the continent of|located in|from) {p}", "countries in {p}"]
        if place in ADJECTIVE:
            ways += ["{a} (countries|countries|nations)"]
        said = one_of(rng, ways, p=place, a=ADJECTIVE.get(place, ""))
        return said, _known([c for c, row in every.items() if row["continent"] == place])
    value, ways = rng.choice(facts.phrases("lists", "groups"))
    return expand(rng, ways[1]), _known([c for c, row in every.items() if row[ways[0]] == value])


def countries(rng: random.Random) -> Exchange:
    said, pool = _countries_of(rng)
    n, word = _count(rng, len(pool))
    picks = draw(rng, pool, n)
    if rng.random() < 0.45:
        return _with_column(rng, said, picks, word)
    return _shaped(rng, "country_list", one_of(rng, ASK, n=word, c=said), picks, "countries")


def _with_column(rng: random.Random, said: str, picks: list[str], word: str) -> Exchange:
    column = rng.choice(("capital", "capital", "capital", "currency", "language", "continent"))
    plural = {
        "capital": "(capitals|capital cities|capitals)",
        "currency": "currencies",
        "language": "[main ]languages",
        "continent": "continents",
    }[column]
    ways = (
        f"{{c}} (and|with|together with|along with|plus) their {plural}",
        f"{{c}} with the {column} of each",
        f"{{c}} and (the|their) {plural}",
    )
    noun = one_of(rng, ways, c=said)
    user = one_of(rng, ASK, n=word, c=noun)
    rows = [facts.countries()[c][column] for c in picks]
    reply = "\n".join(
        f"{i}. {capitalised(c)} - {capitalised(v)}"
        for i, (c, v) in enumerate(zip(picks, rows, strict=True), 1)
    )
    topic = Topic("country_pairs", column, "", tuple(picks))
    return Exchange("country_list", user, reply, "", (), topic)


def cities(rng: random.Random) -> Exchange:
    roll = rng.random()
    if roll < 0.4:
        country = rng.choice([c for c in facts.countries() if len(_cities_in(c)) > 1])
        found = _cities_in(country)
        n, word = _count(rng, min(len(found), 5))
        said = one_of(
            rng,
            ("(cities|cities|towns|big cities|major cities|large cities) in {x}", "{d} cities"),
            x=spoken(rng, country),
            d=facts.countries()[country]["demonym"],
        )
        return _shaped(rng, "city_list", one_of(rng, ASK, n=word, c=said), found[:n], "cities")
    place = rng.choice((*CONTINENTS, "", "", ""))
    pool = [
        facts.countries()[c]["capital"]
        for c in _known(tuple(facts.countries()))
        if not place or facts.countries()[c]["continent"] == place
    ]
    said = one_of(
        rng,
        ("(capitals|capital cities) in {p}", "(capitals|capital cities) of {p}")
        if place
        else ("(capital cities|capitals|capitals of countries|world capitals)",),
        p=place,
    )
    n, word = _count(rng, 10)
    return _shaped(
        rng, "city_list", one_of(rng, ASK, n=word, c=said), draw(rng, pool, n), "capitals"
    )


def _cities_in(country: str) -> list[str]:
    return [name for name, row in facts.cities().items() if row["country"] == country]


def member(rng: random.Random) -> Exchange:
    """`Is a rose a flower?`, and picking the one of its kind."""
    plural = rng.choice([p for p in SINGULAR if p not in ("days of the week", "pets", "hobbies")])
    kind = SINGULAR[plural]
    item = rng.choice(facts.table("things")[plural])
    far = rng.choice(
        [
            p
            for p in (
                "tools",
                "sports",
                "clothes",
                "vehicles",
                "drinks",
                "shapes",
                "jobs",
                "months",
            )
            if p != plural
        ]
    )
    others = rng.sample(
        [t for t in facts.table("things")[far] if t not in facts.table("things")[plural]], 2
    )
    the_kind = ("an " if kind[0] in "aeio" else "a ") + kind
    if rng.random() < 0.5:
        shown = [item, *others[: rng.choice((1, 2))]]
        rng.shuffle(shown)
        options = ", ".join(shown[:-1]) + " or " + shown[-1]
        user = one_of(
            rng,
            (
                "which (of these|one|of them) is {k}: {o}?",
                "(which|what) is {k}, {o}?",
                "{o}: which is {k}?",
                "pick the {b}: {o}",
            ),
            k=the_kind,
            o=options,
            b=kind,
        )
        return Exchange("member", user, f"{capitalised(item)} is {the_kind}.", capitalised(item))
    right = rng.random() < 0.5
    thing = item if right else others[0]
    user = one_of(
        rng, ("is {t} {k}?", "is {t} {k} or not?", "would you call {t} {k}?"), t=thing, k=the_kind
    )
    reply = f"Yes, {thing} is {the_kind}." if right else f"No, {thing} is not {the_kind}."
    return Exchange("member", user, reply, "Yes" if right else "No")


def comparison(rng: random.Random) -> Exchange:
    row = rng.choice(facts.table("orders"))
    i, j = sorted(rng.sample(range(len(row["items"])), 2))
    a, b = row["items"][i], row["items"][j]
    word = rng.choice(row["compare"])
    first, second = rng.sample((a, b), 2)
    has = "has" if "people" in word or "population" in word or "inhabitants" in word else "is"
    noun = "" if row["noun"] == "one" else row["noun"]
    if rng.random() < 0.7:
        user = one_of(
            rng,
            (
                "(which|what) [{o} ]{h} {w}[:|,] {x} or {y}?",
                "{x} or {y}: which {h} {w}?",
                "{x} or {y}, (which|what) {h} {w}?",
                "(which|what) {h} {w}, {x} or {y}?",
                "compare {x} and {y}: which {h} {w}?",
                "between {x} and {y}, which {h} {w}?",
            ),
            o=noun or "one",
            h=has,
            w=word,
            x=first,
            y=second,
        )
        return Exchange(
            "comparison",
            user,
            f"{capitalised(a)} {has} {row['compare'][0]} than {b}.",
            capitalised(a),
        )
    verb = "does {x} have {w} than {y}?" if has == "has" else "is {x} {w} than {y}?"
    user = one_of(rng, (verb,), x=first, y=second, w=word)
    right = first == a
    reply = f"{'Yes' if right else 'No'}, {a} {has} {row['compare'][0]} than {b}."
    return Exchange("comparison", user, reply, "Yes" if right else "No")


def superlative(rng: random.Random) -> Exchange:
    row = rng.choice(facts.table("orders"))
    picks = [row["items"][i] for i in sorted(rng.sample(range(len(row["items"])), 3))]
    shown = rng.sample(picks, 3)
    has = "has" if row["most"][0] == "most people" else "is"
    user = one_of(
        rng,
        (
            "which [of these ]{h} the {w}: {o}?",
            "(which|what) {h} the {w}, {o}?",
            "{o}: which {h} the {w}?",
        ),
        h=has,
        w=rng.choice(row["most"]),
        o=f"{shown[0]}, {shown[1]} or {shown[2]}",
    )
    return Exchange(
        "comparison",
        user,
        f"{capitalised(picks[0])} {has} the {row['most'][0]}.",
        capitalised(picks[0]),
    )


def start(rng: random.Random) -> Exchange:
    makers = (things, countries, cities, member, comparison, superlative)
    return rng.choices(makers, (4, 4, 1.5, 1.2, 1.8, 0.8))[0](rng)


ORDINALS = ("first", "second", "third", "fourth", "fifth")


def follow_up(rng: random.Random, topic: Topic) -> Exchange | None:
    """One or two more of the list, or a question about one of its items."""
    if topic.relation == "country_pairs" or (topic.relation == "list" and topic.x == "countries"):
        return _about_item(rng, topic)
    if topic.relation != "list" or topic.x not in facts.table("things"):
        return None
    left = [i for i in facts.table("things")[topic.x] if i not in topic.items]
    if not left:
        return None
    n = min(rng.choice((1, 1, 2, 3)), len(left))
    extra = draw(rng, left, n)
    if n == 1:
        user = one_of(rng, facts.phrases("lists", "one_more"))
        reply = capitalised(extra[0])
    else:
        user = one_of(
            rng,
            (
                "{n} more[ please|.|?]",
                "(give me|add|list|name) {n} more[.]",
                "and {n} more?",
                "can you give me {n} more?",
            ),
            n=rng.choice((str(n), NUMBERS[n])),
        )
        reply = numbered(extra)
    return Exchange(
        "follow_up", user, reply, "", (), Topic("list", topic.x, "", (*topic.items, *extra))
    )


def _about_item(rng: random.Random, topic: Topic) -> Exchange:
    """`What is the currency of the second one?` after a list of countries."""
    i = rng.randrange(min(len(topic.items), 5))
    relation = rng.choice(facts.relations_of("country")[:4])
    which = ORDINALS[i] if rng.random() < 0.85 or i != len(topic.items) - 1 else "last"
    user = one_of(
        rng,
        (
            "what is {n} of the {o} (one|country)?",
            "what is the {o} one's {r}?",
            "and {n} of the {o} one?",
            "which {r} does the {o} (one|country) have?",
            "{n} of the {o} one?",
        ),
        n="the " + relation.name,
        o=which,
        r=relation.name,
    )
    x = topic.items[i]
    y = relation.values[x]
    reply = capitalised(relation.said(x))
    return Exchange("follow_up", user, reply, capitalised(y), (), Topic(relation.name, x, y))
