"""Values that models write as Python has them."""

import ast
import json
from typing import Any

from sgjax_server.tools.json_text import loads

_NAMES = {"true": True, "false": False, "null": None}


def python_value(text: str) -> Any:
    """The value of a literal, if JSON can say it; else Ellipsis. JSON's names may stand in it."""
    try:
        tree = _Names().visit(ast.parse(text.strip(), mode="eval"))
        return loads(json.dumps(ast.literal_eval(tree), allow_nan=False))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ...


class _Names(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_NAMES[node.id]) if node.id in _NAMES else node
