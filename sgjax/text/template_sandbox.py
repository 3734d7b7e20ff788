"""Jinja templates of checkpoints, rendered in a sandbox that bounds time and size.

The environment is the one that transformers renders chat templates in (the same filters, functions
and whitespace), so that templates written for it say the same here. On top of it a compiled
template is metered: every turn of a loop and every call of a macro looks at the clock, every text
that `~`, `+` or `*` makes is measured, and the output is counted while it comes.

A template may still waste memory through filters (`center(10 ** 9)`): it comes with the checkpoint
that the operator chose, never with a request.
"""

import datetime
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.sandbox
from jinja2 import nodes
from jinja2.visitor import NodeTransformer

MAX_TEMPLATE_CHARS = 1 << 20
MAX_OUTPUT_CHARS = 1 << 26
MAX_SECONDS = 5.0
_MAX_INT_BITS = 4096

_ASKS_FOR_NONE = re.compile(r"""content(['"]\s*\])?\s+is\s+(not\s+)?none""")

_TICK, _BOUNDED = "sgjax_tick", "sgjax_bounded"

TEMPLATE_FAULTS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a template raises when it meets data that it was not written for."""


class Refused(jinja2.TemplateError):
    """The template called raise_exception; the message is the template's."""


class OverBudget(jinja2.TemplateError):
    """The template takes too long, or makes too much."""


class SandboxedTemplate:
    """A compiled template. Threads may share it."""

    def __init__(self, source: str):
        """Raises jinja2.TemplateError or RecursionError if the source cannot be compiled."""
        if len(source) > MAX_TEMPLATE_CHARS:
            raise jinja2.TemplateSyntaxError(
                f"it has {len(source)} characters, and at most {MAX_TEMPLATE_CHARS} are read", 1
            )
        environment = _environment()
        tree = environment.parse(source)
        self.variables = frozenset(jinja2.meta.find_undeclared_variables(tree))
        """The names that it reads and does not set."""
        self.asks_for_none = bool(_ASKS_FOR_NONE.search(source))
        """Whether it tells tool calls by a content that is none (DeepSeek's do), and not ""."""
        metered = _Metering().visit(tree)
        nodes.Node.set_environment(metered, environment)
        self._template = environment.from_string(metered)

    def render(self, variables: Mapping[str, Any]) -> str:
        """Raises Refused, OverBudget, or another of TEMPLATE_FAULTS."""
        tick = _clock(MAX_SECONDS)
        parts, num_chars = [], 0
        for part in self._template.generate({**variables, _TICK: tick, _BOUNDED: _bounded}):
            tick()
            num_chars += len(part)
            if num_chars > MAX_OUTPUT_CHARS:
                raise OverBudget(f"its output is longer than {MAX_OUTPUT_CHARS} characters")
            parts.append(part)
        return "".join(parts)


def _clock(max_seconds: float) -> Callable[[], None]:
    deadline = time.monotonic() + max_seconds

    def tick() -> None:
        if time.monotonic() > deadline:
            raise OverBudget(f"it was not done after {max_seconds:g} s")

    return tick


def _bounded(value: Any) -> Any:
    """The value, if its size is sane."""
    if isinstance(value, str | list | tuple) and len(value) > MAX_OUTPUT_CHARS:
        raise OverBudget(f"it makes a value longer than {MAX_OUTPUT_CHARS}")
    if isinstance(value, int) and value.bit_length() > _MAX_INT_BITS:
        raise OverBudget(f"it makes an integer of more than {_MAX_INT_BITS} bits")
    return value


class _Metering(NodeTransformer):
    """Puts a look at the clock into loops and macros, and a measure around concatenations."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        node.body.insert(0, nodes.ExprStmt(_call(_TICK)))
        self.generic_visit(node)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:
        node.body.insert(0, nodes.ExprStmt(_call(_TICK)))
        self.generic_visit(node)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:
        self.generic_visit(node)
        return _call(_BOUNDED, node)


def _call(name: str, *arguments: nodes.Expr) -> nodes.Call:
    return nodes.Call(nodes.Name(name, "load"), list(arguments), [], None, None)


class _Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("+", "*", "**"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            _check_product(left, right)
        elif operator == "**" and isinstance(right, int) and abs(right) > _MAX_INT_BITS:
            raise OverBudget(f"it raises to the power of {right}")
        return _bounded(super().call_binop(context, operator, left, right))


def _check_product(left: Any, right: Any) -> None:
    for sequence, times in ((left, right), (right, left)):
        is_repeated = isinstance(sequence, str | list | tuple) and isinstance(times, int)
        if is_repeated and len(sequence) * times > MAX_OUTPUT_CHARS:
            raise OverBudget(f"it repeats a value {times} times")


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks what an assistant said, for training; here it only groups."""

    tags: ClassVar[set[str]] = {"generation"}

    def parse(self, parser: Any) -> nodes.Node:
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=lineno)


def _environment() -> jinja2.Environment:
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON for a prompt: unlike Jinja's own filter it escapes nothing for HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _refuse(message: str) -> None:
    raise Refused(message)


def _strftime_now(format: str) -> str:
    return datetime.datetime.now().strftime(format)
