"""Asks for an answer in another shape: in one word, or as JSON with named keys."""

import dataclasses
import json
import random

from sgjax.demo import facts
from sgjax.demo.grammar import capitalised, expand, joined, one_of, without_article
from sgjax.demo.skills.exchange import Exchange, Value
from sgjax.demo.skills.relation import spoken

BRIEF = facts.phrases("shapes", "brief")
AS_JSON = facts.phrases("shapes", "as_json")
PLAIN_JSON = facts.phrases("shapes", "plain_json")
RECORD = facts.phrases("shapes", "record")


def keys_text(rng: random.Random, keys: list[str]) -> str:
    quote = rng.choice(("", "", "'", '"', "`"))
    quoted = [f"{quote}{key}{quote}" for key in keys]
    return joined(quoted) if rng.random() < 0.7 else ", ".join(quoted)


def empty_json(rng: random.Random, keys: list[str]) -> str:
    gap = rng.choice(("", "...", "?"))
    return json.dumps(dict.fromkeys(keys, gap))


def as_json(record: dict[str, Value]) -> str:
    return json.dumps(record, ensure_ascii=False)


def sentence_end(question: str) -> str:
    return question if question[-1:] in ".?!" else question + "."


def briefly(rng: random.Random, exchange: Exchange) -> Exchange:
    user = one_of(rng, BRIEF, q=sentence_end(exchange.user))
    return dataclasses.replace(exchange, user=user, reply=exchange.short, fields=())


def in_json(rng: random.Random, exchange: Exchange) -> Exchange:
    """The exchange with its answer as JSON, with some of its fields under the asked names."""
    fields = exchange.fields
    if len(fields) > 1 and rng.random() < 0.4:
        fields = fields[-1:] if rng.random() < 0.75 else fields[::-1]
    named = rng.random() < 0.88
    record = {(rng.choice(keys) if named else keys[0]): value for keys, value in fields}
    if named and len(record) == 1 and rng.random() < 0.3:
        record = {"answer": next(iter(record.values()))}
    keys = list(record)
    q = sentence_end(exchange.user)
    if named:
        user = one_of(rng, AS_JSON, q=q, k=keys_text(rng, keys), e=empty_json(rng, keys))
    else:
        user = one_of(rng, PLAIN_JSON, q=q)
    return dataclasses.replace(exchange, kind="json", user=user, reply=as_json(record), short="")


KEYS = {
    "name": ("name", "country", "country", "country_name"),
    "capital": ("capital", "capital", "capital_city"),
    "continent": ("continent", "continent", "region"),
    "currency": ("currency", "currency", "money"),
    "language": ("language", "language", "main_language", "official_language"),
    "demonym": ("demonym", "nationality"),
}


def record(rng: random.Random) -> Exchange:
    """A JSON object about a country or a city with the keys that the user names."""
    if rng.random() < 0.75:
        name = rng.choice(list(facts.countries()))
        row = facts.countries()[name]
        columns = rng.sample(list(KEYS), rng.choice((1, 2, 2, 3, 3, 4)))
        if rng.random() < 0.6:
            columns.sort(key=list(KEYS).index)
        values: dict[str, Value] = {rng.choice(KEYS[c]): without_article(row[c]) for c in columns}
    else:
        name = rng.choice(list(facts.cities()))
        row = facts.cities()[name]
        some = [without_article(s) for s in row["attractions"][: rng.choice((2, 3))]]
        every: dict[str, Value] = {
            "city": name,
            "name": name,
            "country": without_article(row["country"]),
            "attractions": some,
            "landmark": some[0],
        }
        every["continent"] = facts.countries()[row["country"]]["continent"]
        columns = rng.sample(list(every), rng.choice((2, 2, 3)))
        values = {c: every[c] for c in columns}
    keys = list(values)
    user = one_of(rng, RECORD, x=spoken(rng, name), k=keys_text(rng, keys), e=empty_json(rng, keys))
    return Exchange("json", user, as_json(values))


def listed(rng: random.Random) -> Exchange:
    """A list as a JSON array or under one key."""
    noun = rng.choice(list(facts.table("things")))
    items = [without_article(i) for i in facts.table("things")[noun]]
    n = min(rng.choice((2, 3, 3, 4, 5)), len(items))
    key = rng.choice((noun.split()[-1], "items", "list", "answer"))
    if rng.random() < 0.5:
        user = one_of(
            rng,
            (
                "(list|name|give me) {n} {c} as a JSON (array|list).",
                "(a|give me a) JSON (array|list) (of|with) {n} {c}[ please].",
            ),
            n=str(n),
            c=noun,
        )
        return Exchange("json", user, json.dumps(items[:n], ensure_ascii=False))
    user = one_of(
        rng,
        (
            "(list|name|give me) {n} {c} (as|in) [a ]JSON[ object] (with|under) the key {k}.",
            "JSON with [the ]key {k}: {n} {c}",
            "(give|return|write) [me ]a JSON object with [the ]key {k}, a list of {n} {c}.",
        ),
        n=str(n),
        c=noun,
        k=keys_text(rng, [key]),
    )
    return Exchange("json", user, as_json({key: items[:n]}))


def extraction(rng: random.Random) -> Exchange:
    """Values found in a sentence that the user gives."""
    talk, things = facts.table("talk"), facts.table("things")
    values: dict[str, Value] = {
        "name": rng.choice(talk["names"]),
        "age": rng.randint(3, 95),
        "city": rng.choice(list(facts.cities())),
        "job": rng.choice(things["jobs"]),
        "animal": rng.choice(things["pets"]),
        "colour": rng.choice(things["colours"]),
    }
    cases = (
        ("{name} is {age} years old[ and lives in {city}].", ("name", "age")),
        ("{name} is {age} years old and lives in {city}.", ("name", "age", "city")),
        ("{name} lives in {city} and works as a {job}.", ("name", "city", "job")),
        ("my name is {name} and I am {age}.", ("name", "age")),
        ("{name}, a {age}-year-old {job}, comes from {city}.", ("name", "age", "job", "city")),
        ("{name} has a {colour} {animal}.", ("name", "colour", "animal")),
        ("I am {name} from {city}.", ("name", "city")),
    )
    text, names = rng.choice(cases)
    keys = list(names) if rng.random() < 0.7 else rng.sample(names, rng.randint(1, len(names)))
    said = capitalised(expand(rng, text, **{k: str(v) for k, v in values.items()}))
    ways = (
        "(extract|find|get) [the ]{k} (from|in) (this|the) (sentence|text)"
        "[ as JSON| and answer in JSON]: {s}",
        "(extract|pull out) {k} as JSON: {s}",
        "{s} (give me|return|write) JSON with [the ](keys|fields) {k}.",
        "(turn|convert) this (sentence |text |)into JSON with [the ](keys|fields) {k}: {s}",
    )
    user = one_of(rng, ways, k=keys_text(rng, keys), s=said)
    return Exchange("json", user, as_json({k: values[k] for k in keys}))


def start(rng: random.Random) -> Exchange:
    return rng.choices((record, listed, extraction), (5, 1.5, 1.5))[0](rng)
