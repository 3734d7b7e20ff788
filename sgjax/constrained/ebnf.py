"""Grammars, in EBNF or in Lark, as a grammar of llguidance."""

import itertools
import json
import re

from sgjax.constrained.ebnf_syntax import (
    CharClass,
    Either,
    Node,
    Repeat,
    Rule,
    Sequence,
    Text,
    parse,
)
from sgjax.constrained.json_options import JsonWhitespace
from sgjax.constrained.json_schema import prepared
from sgjax.constrained.lark import quoted
from sgjax.constrained.part import Part, check_values, too_deep

_IS_LARK = re.compile(r"(?m)^\s*(?:%llguidance\b|start\s*(?:\[[^\]\n]*\])?\s*:(?!:))")
_LARK_TOKENS = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/(?:[^/\\\n]|\\.)+/|#[^\n]*|%json\b\s*')


def ebnf_grammar(text: str, whitespace: JsonWhitespace) -> str:
    """The grammar of the field `ebnf`: Lark has a rule `start:`, EBNF a rule `root ::=`.

    Raises:
        InvalidRequest: the syntax is wrong, a rule is missing, or nothing finite matches.
    """
    from llguidance import LLMatcher

    part = Part("ebnf")
    lark = lark_of(part, text, whitespace)
    grammar = LLMatcher.grammar_from_lark(lark)
    if fault := LLMatcher.validate_grammar(grammar):
        raise part.refuse(" ".join(fault.split())[:300].rstrip(".") + ".")
    return grammar


def lark_of(part: Part, text: str, whitespace: JsonWhitespace) -> str:
    """A grammar in llguidance's Lark, whichever it is in. What is in Lark is not looked through."""
    if _IS_LARK.search(text):
        return _with_prepared_json(part, text, whitespace)
    return _Writer(part, parse(part, text)).lark()


def _with_prepared_json(part: Part, text: str, whitespace: JsonWhitespace) -> str:
    """Lark whose embedded schemas (`%json {...}`) are as `json_schema` would have them."""
    out, at = [], 0
    while match := _LARK_TOKENS.search(text, at):
        out.append(text[at : match.end()])
        at = match.end()
        if match[0].startswith("%json"):
            try:
                schema, at = json.JSONDecoder().raw_decode(text, at)
            except RecursionError:
                raise too_deep(part / "%json") from None
            except ValueError as error:
                raise (part / "%json").refuse(f"this is not valid JSON: {error}.") from None
            check_values(part / "%json", schema)
            out.append(prepared(part / "%json", schema, whitespace))
    return "".join([*out, text[at:]])


class _Writer:
    """Writes EBNF as Lark.

    What does not recur becomes a terminal, as long as can be: a terminal is a regular language and
    matched exactly, while a rule is cut into terminals, each of which takes as much as it can.
    """

    def __init__(self, part: Part, rules: dict[str, Node]):
        self._rules = rules
        self._lines: list[str] = []
        if "root" not in rules:
            raise part.refuse("there is no rule named root, where a grammar begins.")
        refs = {name: set(_names(node)) for name, node in rules.items()}
        for name, wanted in refs.items():
            if missing := sorted(wanted - set(rules)):
                raise part.refuse(f"the rule {name!r} names {missing[0]!r}, which is not defined.")
        if not _can_end(rules):
            raise part.refuse(
                "nothing finite matches root: it always needs itself. Give it another alternative."
            )
        self._plain = _plain(refs)
        self._ids = {name: index for index, name in enumerate(rules)}

    def lark(self) -> str:
        for name, node in self._rules.items():
            if name in self._plain:
                self._lines.append(f"{self._name(name)}: {self._terminal(node)}")
            else:
                self._lines.append(f"{self._name(name)}: {self._rule(node)}")
        return "\n".join([f"start: {self._name('root')}", *self._lines, ""])

    def _name(self, rule: str) -> str:
        return f"{'T' if rule in self._plain else 'r'}{self._ids[rule]}"

    def _is_plain(self, node: Node) -> bool:
        return all(name in self._plain for name in _names(node))

    def _terminal(self, node: Node) -> str:
        match node:
            case Text(value):
                return quoted(value)
            case CharClass(regex):
                return f"/{regex}/"
            case Rule(name):
                return self._name(name)
            case Repeat(item, least, most):
                return f"({self._terminal(item)}){_times(least, most)}"
            case Sequence(items):
                return " ".join(map(self._grouped, items)) or '""'
            case Either(items):
                return " | ".join(map(self._grouped, items))

    def _grouped(self, node: Node) -> str:
        written = self._terminal(node)
        return f"({written})" if isinstance(node, Sequence | Either) else written

    def _rule(self, node: Node) -> str:
        if self._is_plain(node):
            return self._named_terminal(node)
        match node:
            case Rule(name):
                return self._name(name)
            case Repeat(item, least, most):
                return f"({self._rule(item)}){_times(least, most)}"
            case Either(items):
                return "(" + " | ".join(map(self._rule, items)) + ")"
            case Sequence(items):
                return " ".join(map(self._rule, self._runs(items)))
        raise AssertionError("texts and classes are plain")

    def _runs(self, items: tuple[Node, ...]) -> list[Node]:
        """The items, with those side by side that do not recur joined to one."""
        out: list[Node] = []
        for is_plain, run in itertools.groupby(items, self._is_plain):
            found = tuple(run)
            out += [Sequence(found)] if is_plain and len(found) > 1 else found
        return out

    def _named_terminal(self, node: Node) -> str:
        if isinstance(node, Rule):
            return self._name(node.name)
        name = f"X{len(self._lines)}"
        self._lines.append(f"{name}: {self._terminal(node)}")
        return name


def _times(least: int, most: int | None) -> str:
    marks = {(0, None): "*", (1, None): "+", (0, 1): "?"}
    return marks.get((least, most)) or f"{{{least},{'' if most is None else most}}}"


def _names(node: Node) -> list[str]:
    out, stack = [], [node]
    while stack:
        each = stack.pop()
        if isinstance(each, Rule):
            out.append(each.name)
        elif isinstance(each, Repeat):
            stack.append(each.item)
        elif isinstance(each, Sequence | Either):
            stack += each.items
    return out


def _plain(refs: dict[str, set[str]]) -> set[str]:
    """The rules that reach no rule that recurs."""
    users: dict[str, list[str]] = {name: [] for name in refs}
    for name, wanted in refs.items():
        for each in wanted:
            users[each].append(name)
    left = {name: len(wanted) for name, wanted in refs.items()}
    plain, ready = set(), [name for name, count in left.items() if not count]
    while ready:
        found = ready.pop()
        plain.add(found)
        for name in users[found]:
            left[name] -= 1
            if not left[name]:
                ready.append(name)
    return plain


_MAX_ROUNDS = 64
"""After so many the rest is taken to end: no grammar that anybody means takes as long."""


def _can_end(rules: dict[str, Node]) -> bool:
    ending: set[str] = set()
    order = list(rules)
    for _ in range(_MAX_ROUNDS):
        order.reverse()
        before = len(ending)
        for name in order:
            if name not in ending and _ends(rules[name], ending):
                ending.add(name)
        if "root" in ending or len(ending) == before:
            return "root" in ending
    return True


def _ends(node: Node, ending: set[str]) -> bool:
    match node:
        case Rule(name):
            return name in ending
        case Repeat(item, least, _):
            return least == 0 or _ends(item, ending)
        case Sequence(items):
            return all(_ends(item, ending) for item in items)
        case Either(items):
            return any(_ends(item, ending) for item in items)
    return True
