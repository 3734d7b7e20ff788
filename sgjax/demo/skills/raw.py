"""Plain text without a chat template, for raw completions."""

import random

from sgjax.demo import facts
from sgjax.demo.facts import Relation
from sgjax.demo.grammar import capitalised, expand, joined, one_of
from sgjax.demo.skills import arithmetic, relation, stories
from sgjax.demo.skills.exchange import Exchange
from sgjax.demo.skills.places import city_portrait, country_portrait, numbered

FAMOUS = facts.phrases("raw", "famous")
FACT = facts.phrases("raw", "fact")


def sentence(rng: random.Random, found: Relation, x: str) -> str:
    y = found.values[x]
    country = facts.countries().get(x)
    slots = {"x": x, "y": y, "d": country["demonym"] if country else x}
    if found.name in FACT and rng.random() < 0.75:
        return capitalised(one_of(rng, FACT[found.name], **slots)).replace("..", ".")
    if found.name not in FACT and rng.random() < 0.4 and "{y}" in found.reply:
        noun = expand(rng, found.noun, **slots)
        return capitalised(f"{noun} is {y}.")
    return capitalised(found.said(x))


def statements(rng: random.Random) -> str:
    """Some sentences of one relation, or about one subject, or of any kind."""
    n = rng.choice((1, 1, 1, 2, 3))
    found, x = relation.any_relation(rng)
    out = [sentence(rng, found, x)]
    mode = rng.randrange(3)
    for _ in range(n - 1):
        if mode == 0:
            out.append(sentence(rng, found, rng.choice(found.pairs)[0]))
        elif mode == 1:
            same = rng.choice(facts.relations_of(found.subject))
            out.append(sentence(rng, same, x if x in same.values else rng.choice(same.pairs)[0]))
        else:
            out.append(sentence(rng, *relation.any_relation(rng)))
    return " ".join(out)


def question_and_answer(rng: random.Random) -> str:
    """Lines such as `Q: ...` and `A: ...`."""
    marks = rng.choice(
        (
            ("Q: ", "\nA: "),
            ("Question: ", "\nAnswer: "),
            ("User: ", "\nAssistant: "),
            ("", "\n"),
            ("", " "),
            ("Human: ", "\nAI: "),
            ("Q: ", " A: "),
        )
    )
    lines = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        found, x = relation.any_relation(rng)
        exchange = relation.answer(found, x, capitalised(relation.question(rng, found, x)))
        reply = exchange.short if rng.random() < 0.3 else exchange.reply
        lines.append(f"{marks[0]}{exchange.user}{marks[1]}{reply}")
    return rng.choice(("\n", "\n\n")).join(lines)


def pattern(rng: random.Random) -> str:
    """A few-shot pattern such as `France: Paris`."""
    found, _ = relation.any_relation(rng)
    form = rng.choice(
        ("{x}: {y}", "{x} -> {y}", "{x} = {y}", "{x} - {y}", "{x} => {y}", "{x}, {y}")
    )
    picks = rng.sample(found.pairs, min(len(found.pairs), rng.choice((2, 3, 4, 6))))
    end = rng.choice(("\n", "\n", ", "))
    return end.join(
        form.replace("{x}", capitalised(x)).replace("{y}", capitalised(y)) for x, y in picks
    )


def definitions(rng: random.Random) -> str:
    rows = rng.sample(facts.table("definitions"), rng.choice((1, 1, 2)))
    return " ".join(
        capitalised(f"{r['article']} {r['term']}".strip()) + f" is {r['meaning']}." for r in rows
    )


def sums(rng: random.Random) -> str:
    lines = []
    form = rng.choice(
        (
            "{a} {o} {b} = {c}",
            "{a}{o}{b}={c}",
            "{a} {o} {b} is {c}.",
            "{A} {w} {b} (is|equals|makes) {c}.",
        )
    )
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        op = rng.choice("++--**/")
        a, b = arithmetic.operands(rng, op)
        word = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}[op]
        sign = rng.choice((op, arithmetic.SIGNS[op]))
        lines.append(
            expand(
                rng,
                form,
                a=str(a),
                A=str(a),
                b=str(b),
                o=sign,
                w=word,
                c=str(arithmetic.result(a, op, b)),
            )
        )
    return rng.choice(("\n", "\n", " ", ", ")).join(lines)


def collection(rng: random.Random) -> str:
    noun = rng.choice(list(facts.table("things")))
    items = facts.table("things")[noun]
    picks = items[: rng.randint(3, max(3, min(7, len(items))))]
    if rng.random() < 0.4:
        head = one_of(
            rng,
            ("Here are some {c}:", "{C}:", "A list of {c}:", "Some {c}:", "List of {c}:"),
            c=noun,
            C=capitalised(noun),
        )
        return f"{head}\n{numbered(picks)}"
    return one_of(
        rng,
        (
            "Some {c} are {i}.",
            "Examples of {c} are {i}.",
            "{C}: {i}",
            "Well-known {c} include {i}.",
            "I know these {c}: {i}.",
        ),
        c=noun,
        C=capitalised(noun),
        i=joined(picks),
    )


def introduction(rng: random.Random) -> str:
    name = rng.choice(facts.table("talk")["names"])
    city = rng.choice(list(facts.cities()))
    country, job = facts.cities()[city]["country"], rng.choice(facts.table("things")["jobs"])
    head = one_of(
        rng,
        (
            "Hello, my name is {n}",
            "Hello, my name is {n}",
            "Hi, my name is {n}",
            "My name is {n}",
            "Hello! I am {n}",
            "I am {n}",
        ),
        n=name,
    )
    hobby = rng.choice(facts.table("things")["hobbies"])
    article = "an" if job[0] in "aeio" else "a"
    return (
        f"{head} and I live in {city}, in {country}. I work as {article} {job} and I like {hobby}."
    )


def places(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return capitalised(country_portrait(rng.choice(list(facts.countries()))))
    city = rng.choice(list(facts.cities()))
    if rng.random() < 0.5:
        sights = joined(facts.cities()[city]["attractions"][:3])
        return one_of(
            rng,
            (
                "In {c} you can see {s}.",
                "Famous attractions in {c} are {s}.",
                "{c} is (famous|known) for {s}.",
                "When you visit {c}, do not miss {s}.",
                "Tourists in {c} visit {s}.",
            ),
            c=city,
            s=sights,
        )
    return city_portrait(city)


def general(rng: random.Random) -> str:
    rows = rng.sample(facts.table("questions"), rng.choice((1, 2, 3)))
    return " ".join(row["reply"] for row in rows)


def sequence(rng: random.Random) -> str:
    """Days, months, letters or numbers in their order, from any place."""
    things = facts.table("things")
    letters = [chr(ord("A") + i) for i in range(26)]
    numbers = [str(i) for i in range(1, 31)]
    words = [arithmetic.in_words(i) for i in range(1, 21)]
    pools = (
        things["days of the week"],
        things["months"],
        things["planets"],
        letters,
        numbers,
        words,
    )
    pool = rng.choice(pools)
    first = rng.choice((0, rng.randrange(len(pool) - 2)))
    return ", ".join(pool[first : first + rng.choice((7, 12, 26))])


def story(rng: random.Random) -> str:
    if rng.random() < 0.12:
        return stories.tale(rng).replace("there was", "There once was", 1)
    return f"{stories.opening(rng)} {stories.tale(rng)}"


def start(rng: random.Random) -> Exchange:
    """A document; it is the reply of an exchange that nobody asked for."""
    makers = (
        statements,
        question_and_answer,
        pattern,
        definitions,
        sums,
        collection,
        introduction,
        places,
        general,
        sequence,
        story,
    )
    weights = (8, 2, 1.5, 1.5, 1.5, 1, 0.7, 1.5, 0.8, 0.6, 2.5)
    text = rng.choice(FAMOUS) if rng.random() < 0.06 else rng.choices(makers, weights)[0](rng)
    return Exchange("raw", "", text)
