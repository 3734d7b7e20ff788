"""Which part of a JSON schema llguidance cannot express: it says what, but hardly ever where."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from sgjax.constrained.part import Part
from sgjax.constrained.schema_tree import Schema, children, is_local, plain_ref, rebuilt, target

MAX_TRIES = 300
MAX_TRIED_CHARACTERS = 32 << 20
"""Parts that are tried by themselves, and the text of all these tries. Past that the error speaks
of the smallest found so far."""

Path = tuple[str | int, ...]


def blame(part: Part, root: Schema, fault: str, fault_of: Callable[[str], str]) -> tuple[Part, str]:
    """The smallest part that has the fault by itself, and what is wrong with it.

    Args:
        fault: llguidance's message for the whole; `fault_of` gives it for a schema's text, or "".
    """
    if not isinstance(root, dict):
        return part, fault
    document = rebuilt(root, _moved)
    path: Path = ()
    schema: Schema = root
    seen: set[Path] = {path}
    tries = min(MAX_TRIES, MAX_TRIED_CHARACTERS // len(_alone(document, path)))
    found = True
    while found:
        found = False
        for inner_path, inner in _parts(path, schema, root):
            if inner_path in seen or isinstance(inner, bool) or not tries:
                continue
            tries -= 1
            said = fault_of(_alone(document, inner_path))
            if said and (said == fault or fault.startswith("Unsatisfiable")):
                seen.add(inner_path)
                path, schema, fault, found = inner_path, inner, said, True
                break
    return Part(part.param, (*part.path, *path)), fault


def _parts(path: Path, schema: Schema, root: Schema) -> Iterator[tuple[Path, Schema]]:
    for inner, value in children(schema, Part("", path)):
        if not {"$defs", "definitions"} & set(inner.path[len(path) : len(path) + 1]):
            yield inner.path, value
    ref = schema.get("$ref") if isinstance(schema, dict) else None
    found = target(root, str(ref)) if is_local(ref) else None
    if found is not None:
        yield found


def _moved(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema as it reads when its root has become `#/$defs/root`."""
    ref = schema.get("$ref")
    return schema | {"$ref": f"#/$defs/root{str(ref)[1:]}"} if is_local(ref) else schema


def _alone(document: Schema, path: Path) -> str:
    """The schema of one part, with the rest of the document for its references."""
    ref = plain_ref(f"#/$defs/root{quote(Part('', path).pointer)}")
    return json.dumps({"$defs": {"root": document}, "$ref": ref})
