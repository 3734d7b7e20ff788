"""The tables of what the demo model knows, read from `tables/*.json`."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

LISTS = ("ask", "there", "claims", "reverse_ask")
TABLES = Path(__file__).parent / "tables"

ALIASES = {
    "the United States": ("the US", "the USA", "America", "the United States of America", "USA"),
    "the United Kingdom": ("the UK", "Great Britain", "Britain", "UK"),
    "the Netherlands": ("Holland", "Netherlands"),
    "the Czech Republic": ("Czechia",),
    "the United Arab Emirates": ("the UAE", "UAE"),
    "the Democratic Republic of the Congo": ("the DR Congo", "the DRC"),
    "Myanmar": ("Burma",),
    "Timor-Leste": ("East Timor",),
    "Ivory Coast": ("Côte d'Ivoire", "the Ivory Coast"),
    "Turkey": ("Türkiye",),
    "Eswatini": ("Swaziland",),
    "Washington, D.C.": ("Washington", "Washington DC", "Washington D.C."),
    "New York": ("New York City", "NYC"),
    "New Delhi": ("Delhi",),
    "Kraków": ("Krakow",),
    "São Paulo": ("Sao Paulo",),
    "Brasília": ("Brasilia",),
    "Bogotá": ("Bogota",),
    "Cancún": ("Cancun",),
    "the Great Wall": ("the Great Wall of China",),
    "Hagia Sophia": ("the Hagia Sophia",),
}

# Names that are right in a question but too ambiguous to ask about the other way round.
AMBIGUOUS_LANDMARKS = {"the Old Town", "the Royal Palace", "the Corniche", "the Fish Market"}


@dataclasses.dataclass(frozen=True)
class Relation:
    """One kind of fact, such as the capital of a country, and the ways of asking for it.

    `noun`, `its`, `attr`, `ask`, `there`, `claims` and `reverse_ask` are templates of `grammar`.
    """

    name: str
    subject: str
    noun: str
    its: str
    attr: str
    ask: tuple[str, ...]
    reply: str
    keys: tuple[tuple[str, ...], tuple[str, ...]]
    pairs: tuple[tuple[str, str], ...]
    weight: float
    there: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    reverse_ask: tuple[str, ...] = ()
    reverse_reply: str = ""

    @functools.cached_property
    def values(self) -> dict[str, str]:
        return dict(self.pairs)

    def said(self, x: str, y: str = "") -> str:
        """The fact in a sentence; with `y` given, the same claim about that other value."""
        country = cities()[self.values[x]]["country"] if self.name == "landmark" and not y else ""
        where = f", {country}" if country and country != self.values[x] else ""
        text = self.reply.replace("{x}", x).replace("{y}", y or self.values[x])
        return text.replace("{c}", where).replace("..", ".")

    @functools.cached_property
    def answers(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.values.values())))


@functools.cache
def table(name: str) -> Any:
    """The JSON table of that name; it is shared, so do not change it."""
    return json.loads((TABLES / f"{name}.json").read_text(encoding="utf-8"))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


@functools.cache
def phrases(skill: str, name: str) -> Any:
    """The templates of a skill under that name: a tuple, or tuples under keys."""
    found = table("phrases")[skill][name]
    if isinstance(found, dict):
        return {key: _frozen(value) for key, value in found.items()}
    return _frozen(found)


@functools.cache
def countries() -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in table("countries")}


@functools.cache
def cities() -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in table("cities")}


@functools.cache
def capitals() -> dict[str, str]:
    """Capital city to its country."""
    return {row["capital"]: name for name, row in countries().items()}


@functools.cache
def landmarks() -> dict[str, str]:
    """Landmark to its city, for landmarks that only one city has."""
    found: dict[str, list[str]] = {}
    for city, row in cities().items():
        for sight in row["attractions"]:
            found.setdefault(sight, []).append(city)
    unique = {sight: of[0] for sight, of in found.items() if len(of) == 1}
    return {sight: city for sight, city in unique.items() if sight not in AMBIGUOUS_LANDMARKS}


def _derived_pairs(table_name: str, column: str) -> tuple[tuple[str, str], ...]:
    if table_name == "countries":
        return tuple((name, row[column]) for name, row in countries().items())
    if table_name == "landmarks":
        return tuple(landmarks().items())
    extra = {city: country for city, country in capitals().items() if city not in cities()}
    return tuple(({city: row["country"] for city, row in cities().items()} | extra).items())


def _relation(row: dict[str, Any]) -> Relation:
    if "table" in row:
        pairs = _derived_pairs(row["table"], row["column"])
    else:
        pairs = tuple(tuple(pair.split("=", 1)) for pair in row["pairs"])
    kept = {k: v for k, v in row.items() if k not in ("table", "column", "pairs")}
    lists = {k: tuple(v) for k, v in kept.items() if k in LISTS}
    keys = tuple(tuple(names) for names in row["keys"])
    return Relation(**{**kept, **lists, "keys": keys, "pairs": pairs})


@functools.cache
def relations() -> dict[str, Relation]:
    return {row["name"]: _relation(row) for row in table("relations")}


@functools.cache
def relations_of(subject: str) -> tuple[Relation, ...]:
    """The relations that can be asked of that kind of subject."""
    return tuple(r for r in relations().values() if r.subject == subject)
