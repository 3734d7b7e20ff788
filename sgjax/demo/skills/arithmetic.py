"""Small sums, asked in digits, in words and as little stories, with follow-ups on the result."""

import random

from sgjax.demo import facts
from sgjax.demo.grammar import expand, one_of
from sgjax.demo.skills.exchange import Exchange, Topic, ask_for
from sgjax.demo.skills.places import NUMBERS

TEENS = facts.phrases("arithmetic", "teens")
TENS = facts.phrases("arithmetic", "tens")
NOUNS = facts.phrases("arithmetic", "nouns")
ASKS = facts.phrases("arithmetic", "asks")
FRAMES = facts.phrases("arithmetic", "frames")
THINGS = facts.phrases("arithmetic", "things")
STORIES = facts.phrases("arithmetic", "stories")
AFTER = facts.phrases("arithmetic", "after")
RESULT_NAMES = {"+": "sum", "-": "difference", "*": "product", "/": "quotient"}
SIGNS = {"+": "+", "-": "-", "*": "\u00d7", "/": "÷"}


def in_words(n: int) -> str:
    """A number below one hundred in words."""
    if n <= 10:
        return NUMBERS[n]
    if n < 20:
        return TEENS[n - 11]
    tens, ones = TENS[n // 10 - 2], n % 10
    return f"{tens}-{NUMBERS[ones]}" if ones else tens


def result(a: int, op: str, b: int) -> int:
    return {"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0}[op]


def operands(rng: random.Random, op: str) -> tuple[int, int]:
    """Two operands whose result is small; a quotient is always whole."""
    if op in "+-":
        top = rng.choice((10, 20, 50, 100, 100, 100, 300, 1000))
        a, b = rng.randint(0, top), rng.randint(0, top)
        return (max(a, b), min(a, b)) if op == "-" and rng.random() < 0.93 else (a, b)
    a, b = rng.randint(1, 12), rng.randint(1, 12)
    if rng.random() < 0.25:
        a = rng.choice((15, 20, 25, 30, 40, 50, 100, rng.randint(12, 30), rng.randint(12, 99)))
        b = rng.randint(2, 10)
    if op == "/":
        return a * b, b
    return (a, b) if rng.random() < 0.5 else (b, a)


def _spell(rng: random.Random, a: int, b: int) -> tuple[str, str]:
    if 0 <= a < 100 and 0 <= b < 100 and rng.random() < 0.2:
        return in_words(a), in_words(b)
    return str(a), str(b)


def _exchange(
    a: int, op: str, b: int, user: str, reply: str = "", kind: str = "arithmetic"
) -> Exchange:
    c = result(a, op, b)
    names = ("result", "result", "answer", "value", RESULT_NAMES[op])
    fields = ((("expression", "question"), f"{a} {SIGNS[op]} {b}"), (names, c))
    reply = reply or f"{a} {SIGNS[op]} {b} = {c}"
    return Exchange(kind, user, reply, str(c), fields, Topic("number", str(c), op))


def calculation(rng: random.Random) -> Exchange:
    op = rng.choice("+++--**/")
    a, b = operands(rng, op)
    x, y = _spell(rng, a, b)
    noun = rng.choice(NOUNS[op])
    if x != str(a):
        noun = next(
            n
            for n in rng.sample(NOUNS[op], len(NOUNS[op]))
            if not set(n) & set("+*/÷\u00d7") and " - " not in n and "-" not in n and "x" not in n
        )
    noun = expand(rng, noun, a=x, b=y)
    roll = rng.random()
    if roll < 0.2:
        user = ask_for(rng, noun)
    elif roll < 0.4:
        user = one_of(rng, ASKS[op], a=x, b=y, n=noun)
    else:
        user = one_of(rng, FRAMES, n=noun)
    return _exchange(a, op, b, user)


def word_problem(rng: random.Random, names: list[str]) -> Exchange:
    op = rng.choice("++--*/")
    a, b = rng.randint(2, 12), rng.randint(2, 12)
    if op in "+-":
        a, b = rng.randint(2, 50), rng.randint(1, 30)
        a, b = max(a, b), min(a, b)
    if op == "/":
        a *= b
    x, y = _spell(rng, a, b)
    thing = rng.choice(THINGS)
    user = one_of(rng, STORIES[op], a=x, b=y, t=thing, p=rng.choice(names))
    sentence = f"{a} {SIGNS[op]} {b} = {result(a, op, b)}, so the answer is {result(a, op, b)}."
    return _exchange(a, op, b, user, sentence, "word_problem")


def three_terms(rng: random.Random) -> Exchange:
    a, b, c = (rng.randint(1, 30) for _ in range(3))
    text, total = f"{a} + {b} + {c}", a + b + c
    if rng.random() < 0.25 and a + b > c:
        text, total = f"{a} + {b} - {c}", a + b - c
    shown = text.replace("+", "plus").replace("-", "minus") if rng.random() < 0.3 else text
    if "-" not in text and rng.random() < 0.35:
        shown = expand(
            rng,
            "(the sum of|the total of|adding|the sum of the numbers) {l}",
            l=f"{a}, {b} and {c}",
        )
    return Exchange(
        "arithmetic",
        one_of(rng, FRAMES, n=shown),
        f"{text} = {total}",
        str(total),
        (),
        Topic("number", str(total), "+"),
    )


def special(rng: random.Random) -> Exchange:
    """Halves, doubles, squares, roots and percentages."""
    n = (
        rng.randint(1, 12)
        if rng.random() < 0.5
        else rng.choice((15, 20, 25, 30, 40, 50, 60, 80, 100, 200))
    )
    kind = rng.randrange(5)
    if kind == 0:
        n, noun, c = n * 2, "half of {n}|half of {n}|one half of {n}|50% of {n}", n
    elif kind == 1:
        noun, c = "double {n}|twice {n}|two times {n}|the double of {n}", n * 2
    elif kind == 2:
        n = rng.randint(1, 12)
        noun, c = "the square of {n}|{n} squared|{n} to the power of 2", n * n
    elif kind == 3:
        n = rng.randint(1, 12)
        n, noun, c = n * n, "the square root of {n}|the root of {n}|square root of {n}", n
    else:
        p = rng.choice((10, 20, 25, 30, 50))
        n = rng.choice((20, 40, 60, 80, 100, 120, 200, 300, 400, 1000))
        noun, c = f"{p}% of {{n}}|{p} percent of {{n}}", n * p // 100
    said = expand(rng, f"({noun})", n=str(n))
    user = one_of(rng, FRAMES, n=said) if rng.random() < 0.5 else ask_for(rng, said)
    label = expand(rng, "(" + noun.split("|")[0] + ")", n=str(n))
    reply = f"{label[0].upper()}{label[1:]} is {c}."
    fields = ((("result", "answer"), c),)
    return Exchange("arithmetic", user, reply, str(c), fields, Topic("number", str(c), "*"))


def numbers(rng: random.Random) -> Exchange:
    """Comparing, counting, continuing and sorting small numbers."""
    kind = rng.randrange(6)
    a, b = rng.sample(range(1, rng.choice((20, 100, 1000))), 2)
    big, small = max(a, b), min(a, b)
    if kind == 0:
        user = one_of(
            rng,
            (
                "(which|what) [number ]is (larger|bigger|greater|higher)[:|,] {a} or {b}?",
                "is {a} (larger|bigger|greater|more) than {b}, or the other way round?",
                "the (larger|bigger|greater) of {a} and {b}?",
            ),
            a=str(a),
            b=str(b),
        )
        return Exchange(
            "numbers",
            user,
            f"{big} is larger than {small}.",
            str(big),
            ((("larger", "answer"), big),),
        )
    if kind == 1:
        user = one_of(
            rng,
            (
                "(which|what) [number ]is (smaller|less|lower)[:|,] {a} or {b}?",
                "the smaller of {a} and {b}?",
            ),
            a=str(a),
            b=str(b),
        )
        return Exchange(
            "numbers",
            user,
            f"{small} is smaller than {big}.",
            str(small),
            ((("smaller", "answer"), small),),
        )
    if kind == 2:
        user = one_of(
            rng,
            (
                "is {a} (odd or even|even or odd)?",
                "is {a} an (odd or even|even or odd) number?",
                "{a}: (odd or even|even or odd)?",
            ),
            a=str(a),
        )
        word = "odd" if a % 2 else "even"
        return Exchange(
            "numbers", user, f"{a} is {word}.", word.capitalize(), ((("parity", "answer"), word),)
        )
    if kind == 3:
        first, last = rng.choice(
            ((1, rng.randint(3, 12)), (rng.randint(2, 10), rng.randint(12, 16)))
        )
        user = one_of(
            rng,
            (
                "count (from {a} to {b}|to {b} from {a}).",
                "(list|write|say|give me) the numbers from {a} to {b}.",
                "can you count from {a} to {b}?",
                "numbers from {a} to {b}",
            ),
            a=str(first),
            b=str(last),
        )
        if first == 1 and rng.random() < 0.3:
            user = one_of(rng, ("count [up ]to {b}.", "can you count to {b}?"), b=str(last))
        return Exchange("numbers", user, ", ".join(map(str, range(first, last + 1))))
    if kind == 4:
        step, first = rng.choice((1, 2, 2, 3, 5, 10)), rng.randint(1, 20)
        shown = [first + i * step for i in range(rng.choice((3, 4)))]
        listed = ", ".join(map(str, shown))
        user = one_of(
            rng,
            (
                "what (comes next|is next|number comes next)[ in the (series|sequence)|]: {s}?",
                "{s}, ...?",
                "continue: {s}",
                "which number (comes after|follows) {s}?",
                "what number follows {s}?",
            ),
            s=listed,
        )
        return Exchange(
            "numbers", user, f"The next number is {shown[-1] + step}.", str(shown[-1] + step)
        )
    after = rng.random() < 0.5
    user = one_of(rng, ("(which|what) number comes (right |)(after|before) {a}?",), a=str(a))
    after = "after" in user
    c = a + 1 if after else a - 1
    return Exchange(
        "numbers", user, f"The number {'after' if after else 'before'} {a} is {c}.", str(c)
    )


def start(rng: random.Random, names: list[str]) -> Exchange:
    roll = rng.random()
    if roll < 0.62:
        return calculation(rng)
    if roll < 0.76:
        return word_problem(rng, names)
    if roll < 0.82:
        return three_terms(rng)
    return special(rng) if roll < 0.9 else numbers(rng)


def follow_up(rng: random.Random, topic: Topic) -> Exchange | None:
    """Goes on with the last result, or asks a like question."""
    if topic.relation != "number" or not topic.x.isdigit():
        return None
    a = int(topic.x)
    if rng.random() < 0.6:
        op, ways = rng.choice(AFTER)
        b = rng.randint(1, 10) if op == "*" else rng.randint(1, 20)
        if (op == "*" and a > 50) or (op == "-" and b > a):
            op, ways = AFTER[0]
        return _exchange(a, op, b, one_of(rng, ways, b=_spell(rng, b, b)[0]), "", "follow_up")
    if rng.random() < 0.4 and a < 200:
        user = one_of(
            rng, ("(and |now |)double (it|that)[.|?]", "and twice (that|as much)?", "times two?")
        )
        return _exchange(a, "*", 2, user, "", "follow_up")
    op = rng.choice("++-*")
    x, y = operands(rng, op)
    noun = expand(rng, rng.choice(NOUNS[op][:3]), a=str(x), b=str(y))
    user = one_of(rng, ("and {n}?", "what about {n}?", "{n}?", "now {n}", "and {n}"), n=noun)
    return _exchange(x, op, y, user, "", "follow_up")
