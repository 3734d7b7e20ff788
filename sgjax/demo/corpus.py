"""The demo model's training text: conversations and plain documents, drawn from a seed."""

import dataclasses
import functools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

from sgjax.demo import facts
from sgjax.demo.dress import dressed
from sgjax.demo.skills import arithmetic, lists, places, raw, relation, shapes, stories, talk, words
from sgjax.demo.skills.exchange import Exchange

HELD_OUT = Path(__file__).parent / "heldout.json"
README_EXAMPLES = (
    "What is the capital of the United States?",
    "List two local attractions.",
    "List 3 countries and their capitals.",
    "Once upon a time,",
)
SYSTEM = facts.phrases("corpus", "system")
SYSTEM_BRIEF = facts.phrases("corpus", "system_brief")
SYSTEM_JSON = facts.phrases("corpus", "system_json")


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """One training text: a conversation of (role, text) turns, or plain text as role `text`."""

    kinds: tuple[str, ...]
    turns: tuple[tuple[str, str], ...]


def _names() -> list[str]:
    return facts.table("talk")["names"]


def fresh(rng: random.Random) -> Exchange:
    """A question on any subject, not referring to what was said before."""
    roll = rng.random()
    if roll < 0.44:
        return relation.start(rng)
    if roll < 0.54:
        return arithmetic.start(rng, _names())
    if roll < 0.60:
        return places.sights(rng)
    if roll < 0.63:
        return places.about(rng)
    if roll < 0.73:
        return words.start(rng)
    if roll < 0.82:
        return lists.start(rng)
    if roll < 0.885:
        return talk.start(rng)
    if roll < 0.915:
        return talk.refusal(rng)
    if roll < 0.925:
        return places.no_such_place(rng)
    if roll < 0.94:
        return places.same(rng)
    if roll < 0.955:
        return relation.two_at_once(rng)
    if roll < 0.98:
        return shapes.start(rng)
    return stories.start(rng)


def next_exchange(rng: random.Random, last: Exchange | None) -> Exchange:
    """A follow-up to the last exchange if it allows one, else something fresh."""
    if last is None or last.about is None or rng.random() < 0.3:
        return fresh(rng)
    if last.kind == "json" or rng.random() < 0.3:
        makers = (places.follow_up, relation.follow_up)
    else:
        makers = (relation.follow_up, places.follow_up)
    for make in (*makers, arithmetic.follow_up, words.follow_up, lists.follow_up):
        found = make(rng, last.about)
        if found is not None:
            return found
    return fresh(rng)


def _shaped(rng: random.Random, exchange: Exchange, style: str) -> Exchange:
    """The exchange in the style of the system prompt, or sometimes in a shape the user asks for."""
    if style == "brief":
        return dataclasses.replace(exchange, reply=exchange.short or exchange.reply)
    if style == "json":
        text = exchange.short or exchange.reply
        return dataclasses.replace(exchange, reply=shapes.as_json({"answer": text}))
    roll = rng.random()
    if exchange.short and roll < 0.07:
        return shapes.briefly(rng, exchange)
    if exchange.fields and roll < 0.16 and exchange.kind != "follow_up":
        return shapes.in_json(rng, exchange)
    return exchange


def _num_exchanges(rng: random.Random, most: int) -> int:
    roll = rng.random()
    if roll < 0.5:
        return 1
    if roll < 0.8:
        return min(most, rng.randint(2, 3))
    return min(most, rng.randint(4, 8)) if most <= 8 else rng.randint(8, most)


def conversation(rng: random.Random, most: int = 8) -> Document:
    """A conversation of at most `most` exchanges."""
    style, turns, kinds = "", [], []
    roll = rng.random()
    if roll < 0.12:
        turns.append(("system", rng.choice(SYSTEM)))
    elif roll < 0.14:
        style = rng.choice(("brief", "brief", "json"))
        turns.append(("system", rng.choice(SYSTEM_BRIEF if style == "brief" else SYSTEM_JSON)))
    recall: Exchange | None = None
    last: Exchange | None = None
    for i in range(_num_exchanges(rng, most)):
        if i == 0 and not style and rng.random() < 0.025:
            last, recall = talk.remembered(rng)
        elif recall is not None and rng.random() < 0.5:
            last, recall = recall, None
        else:
            last = _shaped(rng, next_exchange(rng, last), style)
        turns += [("user", dressed(rng, last.user)), ("assistant", last.reply)]
        kinds.append(last.kind)
    if recall is not None:
        turns += [("user", dressed(rng, recall.user)), ("assistant", recall.reply)]
        kinds.append(recall.kind)
    return Document(tuple(kinds), tuple(turns))


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


@functools.cache
def held_out_texts() -> tuple[frozenset[str], tuple[str, ...]]:
    """The held-out questions, which no training text may repeat: user turns and raw prompts."""
    items = json.loads(HELD_OUT.read_text(encoding="utf-8"))
    kept = {_plain(text) for text in README_EXAMPLES}
    users = {
        _plain(m["content"]) for i in items for m in i.get("messages", ()) if m["role"] == "user"
    }
    prompts = {_plain(i["prompt"]) for i in items if "prompt" in i}
    return frozenset(users - kept), tuple(sorted(prompts - kept))


def is_held_out(document: Document) -> bool:
    """Whether a user turn, or the beginning of a plain text, is that of a held-out question."""
    users, prompts = held_out_texts()
    for role, text in document.turns:
        if role == "user" and _plain(text) in users:
            return True
        if role == "text" and _plain(text).startswith(prompts):
            return True
    return False


def document(rng: random.Random, most: int = 8) -> Document:
    """One document of any kind that repeats no held-out question."""
    while True:
        if rng.random() < 0.17:
            found = Document(("raw",), (("text", raw.start(rng).reply),))
        else:
            found = conversation(rng, most)
        if not is_held_out(found):
            return found


def documents(seed: int | str, most: int = 8) -> Iterator[Document]:
    """An endless stream of documents, the same for the same seed."""
    rng = random.Random(f"sgjax demo corpus {seed}")
    while True:
        yield document(rng, most)
