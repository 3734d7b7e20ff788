"""The formats that a structural tag is made of, written as Lark."""

from collections.abc import Callable, Mapping
from typing import Any

from sgjax.constrained.json_options import JsonWhitespace
from sgjax.constrained.json_schema import prepared
from sgjax.constrained.lark import delimited, quoted, split_at_tokens
from sgjax.constrained.part import Part
from sgjax.constrained.regex import regex_grammar

MAX_TAGS = 256
_WriteTag = Callable[[Part, dict[str, Any], str], str]
_ANY_TEXT = "/(?s:.)*/"


class TagFormats:
    """Writes formats; the rules that they need gather in it."""

    def __init__(self, whitespace: JsonWhitespace, special_tokens: Mapping[str, int]):
        self._whitespace: JsonWhitespace = whitespace
        self._tokens = special_tokens
        self._rules: list[str] = []
        self._writers: dict[str, Callable[..., str]] = {
            "any_text": self._any_text,
            "const_string": self._const_string,
            "json_schema": self._json_schema,
            "or": self._or,
            "regex": self._regex,
            "sequence": self._sequence,
            "tag": self._tag,
            "tags_with_separator": self._tags_with_separator,
            "triggered_tags": self._triggered_tags,
        }

    def lark(self, start: str) -> str:
        return "\n".join(["%llguidance {}", f"start: {start}", *self._rules, ""])

    def write(self, part: Part, value: Any, *, is_last: bool) -> str:
        """A format as an expression. `is_last`: nothing comes after it, so that free text may."""
        kind = _object(part, value).get("type")
        writer = self._writers.get(kind) if isinstance(kind, str) else None
        if writer is None:
            raise (part / "type").refuse(
                f"the format {str(kind)[:80]!r} is not supported. Those that are: "
                f"{', '.join(self._writers)}."
            )
        return self._rule(writer(part, value, is_last))

    def write_structures(self, part: Part, value: dict[str, Any]) -> str:
        """The older form: `begin`, `schema` and `end` of each, and their triggers."""

        def write(place: Part, each: dict[str, Any], skip: str) -> str:
            schema = prepared(place / "schema", each.get("schema", {}), self._whitespace)
            end = self._text(_string(place, each, "end"))
            return f"{self._text(each['begin'][len(skip) :])} %json {schema} {end}"

        structures, triggers = _list(part, value, "structures"), _triggers(part, value)
        block = self._triggered(part / "structures", structures, triggers, write)
        return f"{block}* {self._rest(triggers)}"

    def _rule(self, expression: str, attribute: str = "") -> str:
        name = f"r{len(self._rules)}"
        self._rules.append(f"{name}{attribute}: {expression}")
        return name

    def _text(self, text: str) -> str:
        return split_at_tokens(text, self._tokens)

    def _before(self, end: str) -> str:
        """Any text up to the first `end`, and that itself."""
        if end in self._tokens:
            return f"{_ANY_TEXT} {self._text(end)}"
        return self._rule(f"{_ANY_TEXT} {quoted(end)}", "[lazy]")

    def _any_text(self, part: Part, value: dict[str, Any], is_last: bool) -> str:
        if value.get("excludes"):
            raise (part / "excludes").refuse("this is not supported. Leave it out.")
        if not is_last:
            raise part.refuse("free text may only stand in a tag with an end, or at the very end.")
        return _ANY_TEXT

    def _const_string(self, part: Part, value: dict[str, Any], is_last: bool) -> str:
        return self._text(_string(part, value, "value")) or '""'

    def _json_schema(self, part: Part, value: dict[str, Any], is_last: bool) -> str:
        if value.get("style", "json") != "json":
            raise (part / "style").refuse("only 'json' is supported.")
        if "json_schema" not in value:
            raise part.refuse("json_schema is missing.")
        schema = prepared(part / "json_schema", value["json_schema"], self._whitespace)
        return f"%json {schema}"

    def _regex(self, part: Part, value: dict[str, Any], is_last: bool) -> str:
        pattern = _string(part, value, "pattern")
        regex_grammar(pattern, part / "pattern")
        return delimited(pattern)

    def _sequence(self, part: Part, value: dict[str, Any], is_last: bool) -> str:
        items = _list(part, value, "elements")
        last = len(items) - 1
        place = part / "elements"
        return " ".join(
            self.write(place / index, each, is_last=is_last and index == last)
            for index, each in enumerate(items)
        )

    def _or(self, part: Part, value: dict[str, Any], is_last: bool) -> str:
        items = _list(part, value, "elements")
        place = part / "elements"
        written = [self.write(place / i, each, is_last=is_last) for i, each in enumerate(items)]
        return " | ".join(written)

    def _tag(self, part: Part, value: dict[str, Any], is_last: bool, skip: str = "") -> str:
        """A tag; of its begin, `skip` is written already."""
        begin, end = _string(part, value, "begin"), _string(part, value, "end")
        content = _object(part / "content", value.get("content"))
        if content.get("type") == "any_text" and end and not content.get("excludes"):
            inner = self._before(end)
        else:
            inner = self.write(part / "content", content, is_last=is_last and not end)
            inner = f"{inner} {self._text(end)}"
        return f"{self._text(begin[len(skip) :])} {inner}"

    def _tags_with_separator(self, part: Part, value: dict[str, Any], is_last: bool) -> str:
        place = part / "tags"
        tags = [
            self._rule(self._tag(place / index, _object(place / index, each), False))
            for index, each in enumerate(_list(part, value, "tags"))
        ]
        tag = self._rule(" | ".join(tags))
        separator = self._text(_string(part, value, "separator"))
        written = tag if value.get("stop_after_first") else f"{tag} ({separator} {tag})*"
        return written if value.get("at_least_one") else f"({written})?"

    def _triggered_tags(self, part: Part, value: dict[str, Any], is_last: bool) -> str:
        """Free text, in which a trigger begins one of the tags that begin with it."""
        if not is_last:
            raise part.refuse("free text with tags may only stand at the very end.")
        if value.get("excludes"):
            raise (part / "excludes").refuse("this is not supported. Leave it out.")
        triggers = _triggers(part, value)

        def write(place: Part, each: dict[str, Any], skip: str) -> str:
            return self._tag(place, each, False, skip)

        block = self._triggered(part / "tags", _list(part, value, "tags"), triggers, write)
        if value.get("stop_after_first"):
            return block if value.get("at_least_one") else f"{block} | {self._rest(triggers)}"
        return f"{block}{'+' if value.get('at_least_one') else '*'} {self._rest(triggers)}"

    def _triggered(self, part: Part, tags: list[Any], triggers: list[str], write: _WriteTag) -> str:
        """Any text up to a trigger, and one of the tags that begin with it."""
        written: dict[str, list[str]] = {}
        for index, each in enumerate(tags):
            place = part / index
            begin = _string(place, _object(place, each), "begin")
            found = [trigger for trigger in triggers if begin.startswith(trigger)]
            if not found:
                raise (place / "begin").refuse(f"{begin!r} begins with no trigger: {triggers}.")
            written.setdefault(found[0], []).append(self._rule(write(place, each, found[0])))
        blocks = [
            f"{self._before(trigger)} {self._rule(' | '.join(tags_of))}"
            for trigger, tags_of in written.items()
        ]
        return self._rule(" | ".join(blocks))

    def _rest(self, triggers: list[str]) -> str:
        """Text without a trigger; special tokens are no text anyway."""
        written = [quoted(trigger) for trigger in triggers if trigger not in self._tokens]
        if not written:
            return _ANY_TEXT
        name = f"REST{len(self._rules)}"
        any_trigger = " | ".join(written)
        self._rules.append(f"{name}: {_ANY_TEXT} & ~({_ANY_TEXT} ({any_trigger}) {_ANY_TEXT})")
        return name


def _triggers(part: Part, value: dict[str, Any]) -> list[str]:
    triggers = _list(part, value, "triggers")
    place = part / "triggers"
    for index, each in enumerate(triggers):
        if not isinstance(each, str) or not each:
            raise (place / index).refuse("a trigger is a string, and not empty.")
        for other in triggers[:index]:
            if each in other or other in each:
                raise (place / index).refuse(
                    f"{each!r} and {other!r} cannot both be triggers: one is within the other."
                )
    return triggers


def _object(part: Part, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise part.refuse(f"this must be an object, not {type(value).__name__}.")
    return value


def _list(part: Part, value: dict[str, Any], key: str) -> list[Any]:
    found = value.get(key)
    if not isinstance(found, list) or not 0 < len(found) <= MAX_TAGS:
        raise (part / key).refuse(f"this must be a list with 1 to {MAX_TAGS} entries.")
    return found


def _string(part: Part, value: dict[str, Any], key: str) -> str:
    found = value.get(key)
    if not isinstance(found, str):
        raise (part / key).refuse(f"this must be a string, not {type(found).__name__}.")
    return found
