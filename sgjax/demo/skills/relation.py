"""Questions about the relations of `facts`: capitals, currencies, opposites and so on."""

import random

from sgjax.demo import facts
from sgjax.demo.facts import Relation
from sgjax.demo.grammar import capitalised, expand, joined, one_of, without_accents, without_article
from sgjax.demo.skills.exchange import Exchange, Topic, Value, ask_for, follow

TRUE_OR_FALSE = facts.phrases("relation", "true_or_false")


def spoken(rng: random.Random, name: str) -> str:
    """A name as a user may write it: an alias, without accents, without its article."""
    if name in facts.ALIASES and rng.random() < 0.5:
        name = rng.choice(facts.ALIASES[name])
    if rng.random() < 0.3:
        name = without_accents(name)
    if name.startswith("the ") and rng.random() < 0.15:
        name = without_article(name)
    return name


def _slots(rng: random.Random, relation: Relation, x: str) -> dict[str, str]:
    country = facts.countries().get(x)
    return {"x": spoken(rng, x), "d": country["demonym"] if country else x}


def json_value(text: str) -> Value:
    return int(text) if text.isdigit() else without_article(text)


def answer(relation: Relation, x: str, user: str, kind: str = "") -> Exchange:
    y = relation.values[x]
    reply = capitalised(relation.said(x))
    fields = ((relation.keys[0], json_value(x)), (relation.keys[1], json_value(y)))
    topic = Topic(relation.name, x, y)
    short = capitalised(y)
    return Exchange(kind or relation.name, user, reply, short, fields, topic)


def question(rng: random.Random, relation: Relation, x: str) -> str:
    if rng.random() < 0.5:
        noun = expand(rng, relation.noun, **_slots(rng, relation, x))
        return ask_for(rng, noun)
    return one_of(rng, relation.ask, **_slots(rng, relation, x))


def about_it(rng: random.Random, relation: Relation) -> str:
    """The question with a pronoun in place of the subject: `what is its currency?`."""
    roll = rng.random()
    if relation.there and roll < 0.45:
        return one_of(rng, relation.there)
    if roll < 0.75:
        return ask_for(rng, expand(rng, relation.its))
    attr = expand(rng, relation.attr)
    return one_of(rng, ("and {a}?", "(what|how) about {a}?", "{a}?", "and {a} [there]?"), a=attr)


def _wrong(rng: random.Random, relation: Relation, y: str) -> str:
    while (other := rng.choice(relation.answers)) == y:
        pass
    return other


def _statement(relation: Relation, x: str, y: str) -> str:
    return relation.said(x, y).rstrip(".")


def _lower_the(text: str) -> str:
    """Lower-cases an opening article, as after `Yes, `."""
    for word in ("The ", "A ", "People "):
        if text.startswith(word):
            return text[0].lower() + text[1:]
    return text


def yes_or_no(rng: random.Random, relation: Relation, x: str) -> Exchange:
    y = relation.values[x]
    is_true = rng.random() < 0.5
    claimed = y if is_true else _wrong(rng, relation, y)
    full = _lower_the(relation.said(x))
    roll = rng.random()
    if relation.claims and roll < 0.5:
        user = one_of(rng, relation.claims, y=spoken(rng, claimed), **_slots(rng, relation, x))
        judged_by_truth = False
    elif roll < 0.7:
        noun = expand(rng, relation.noun, **_slots(rng, relation, x))
        user = one_of(rng, ("is {y} {n}?", "is {n} {y}?", "{n} is {y}, right?"), y=claimed, n=noun)
        judged_by_truth = False
    else:
        template = rng.choice(TRUE_OR_FALSE)
        user = expand(rng, template, s=_statement(relation, x, claimed))
        judged_by_truth = template.startswith("true")
    words = ("True", "False") if judged_by_truth else ("Yes", "No")
    word = words[0] if is_true else words[1]
    topic = Topic(relation.name, x, y)
    fields = ((("answer", "correct", "result"), is_true),)
    return Exchange("yes_no", user, f"{word}, {full}", word, fields, topic)


def pick_one(rng: random.Random, relation: Relation, x: str) -> Exchange:
    y = relation.values[x]
    options = {y}
    while len(options) < min(rng.choice((2, 3, 3, 4)), len(relation.answers)):
        options.add(rng.choice(relation.answers))
    shown = sorted(options)
    rng.shuffle(shown)
    listed = ", ".join(shown[:-1]) + " or " + shown[-1]
    asked = question(rng, relation, x).rstrip(".?")
    user = one_of(rng, ("{q}: {o}?", "{q} - {o}?", "{o}: {q}?", "{q}? {o}?"), q=asked, o=listed)
    return answer(relation, x, user, "choice")


def inverse(rng: random.Random, relation: Relation, x: str) -> Exchange:
    y = relation.values[x]
    user = one_of(rng, relation.reverse_ask, y=spoken(rng, y))
    reply = capitalised(relation.reverse_reply.replace("{x}", x).replace("{y}", y))
    fields = ((relation.keys[1], without_article(y)), (relation.keys[0], without_article(x)))
    return Exchange("inverse", user, reply, capitalised(x), fields, Topic("inverse", x, y))


def blank(rng: random.Random, relation: Relation, x: str) -> Exchange:
    text = relation.reply.replace("{x}", spoken(rng, x)).replace("{c}", "")
    cut = text.split("{y}")[0] if rng.random() < 0.5 else ""
    gap = rng.choice(("___", "...", "____", "[blank]", "?"))
    sentence = cut.strip() or text.replace("{y}", gap)
    ways = (
        "(complete|finish|continue) [the|this] sentence: {s}",
        "fill in the (blank|gap|missing word): {s}",
        "(complete|finish): {s}",
        "{s}",
        "what is missing here? {s}",
    )
    return answer(relation, x, one_of(rng, ways, s=sentence), "blank")


def any_relation(rng: random.Random) -> tuple[Relation, str]:
    table = tuple(facts.relations().values())
    relation = rng.choices(table, [r.weight for r in table])[0]
    return relation, rng.choice(relation.pairs)[0]


def start(rng: random.Random) -> Exchange:
    relation, x = any_relation(rng)
    roll = rng.random()
    if roll < 0.7:
        return answer(relation, x, question(rng, relation, x))
    if roll < 0.78:
        return yes_or_no(rng, relation, x)
    if roll < 0.85:
        return pick_one(rng, relation, x)
    if relation.reverse_ask and roll < 0.97:
        return inverse(rng, relation, x)
    if roll < 0.92:
        return blank(rng, relation, x)
    return answer(relation, x, question(rng, relation, x))


def two_at_once(rng: random.Random) -> Exchange:
    """One question for two facts of a country, or for one fact of two countries."""
    known = facts.relations_of("country")
    if rng.random() < 0.5:
        x = rng.choice(known[0].pairs)[0]
        pair = rng.sample(known[:4], 2)
        wanted = joined([expand(rng, r.attr) for r in pair])
        user = ask_for(rng, one_of(rng, ("{w} of {x}", "{x}'s {w}"), w=wanted, x=spoken(rng, x)))
        found = [answer(r, x, "") for r in pair]
    else:
        relation = known[rng.randrange(4)]
        names = rng.sample([x for x, _ in relation.pairs], 2)
        noun = expand(rng, relation.noun, x=joined([spoken(rng, n) for n in names]), d="local")
        user = ask_for(rng, noun)
        found = [answer(relation, x, "") for x in names]
    fields = tuple((e.fields[1][0], e.fields[1][1]) for e in found)
    distinct = fields if fields[0][0] != fields[1][0] else ()
    return Exchange(
        "two_facts", user, " ".join(e.reply for e in found), "", distinct, found[1].about
    )


def follow_up(rng: random.Random, topic: Topic) -> Exchange | None:
    """The next question on the topic, asked as people do, without repeating it."""
    if topic.relation == "inverse":
        return _of_same(rng, "country", topic.x, "capital")
    relation = facts.relations().get(topic.relation)
    if relation is None:
        return None
    if rng.random() < 0.5:
        x = rng.choice(relation.pairs)[0]
        return answer(relation, x, follow(rng, spoken(rng, x)), "follow_up")
    if relation.name == "capital" and rng.random() < 0.15:
        return _of_same(rng, "country", topic.x, "capital")
    if relation.name in ("city_country", "landmark") and rng.random() < 0.5:
        return _of_answer(rng, relation, topic)
    return _of_same(rng, relation.subject, topic.x, relation.name)


def _of_same(rng: random.Random, subject: str, x: str, asked: str) -> Exchange | None:
    others = [r for r in facts.relations_of(subject) if r.name != asked and x in r.values]
    if not others:
        return None
    relation = rng.choices(others, [r.weight for r in others])[0]
    return answer(relation, x, about_it(rng, relation), "follow_up")


def _of_answer(rng: random.Random, relation: Relation, topic: Topic) -> Exchange:
    """From a city to its country, or from there to the country's facts."""
    if relation.name == "landmark":
        found = facts.relations()["city_country"]
    else:
        found = rng.choice(facts.relations_of("country")[:4])
    return answer(found, topic.y, about_it(rng, found), "follow_up")
