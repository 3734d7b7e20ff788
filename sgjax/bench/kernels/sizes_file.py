"""The files that block sizes are kept in, and those with the sizes to try."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from sgjax.bench.kernels.tune import Candidates
from sgjax.config_sources import shipped_configs
from sgjax.errors import ConfigError


def read_candidates(op: str) -> dict[str, Candidates]:
    """The values to try, by kernel and field."""
    return json.loads((shipped_configs("bench/kernels") / f"{op}.json").read_text())


def sizes_path(kind: str) -> Path:
    """Where the sizes of a device kind are read from."""
    return shipped_configs("kernels") / f"{kind.lower().replace(' ', '-')}.json"


def write_sizes(path: Path, op: str, kernel: str, shape_class: int, sizes: Any) -> None:
    """Puts one entry into a file; all others stay.

    Raises:
        ConfigError: the file cannot be written, or holds something else.
    """
    try:
        known = json.loads(path.read_text()) if path.exists() else {}
        entries = known.setdefault(op, {}).setdefault(kernel, {})
        entries[str(shape_class)] = dataclasses.asdict(sizes)
        known[op][kernel] = dict(sorted(entries.items(), key=lambda entry: int(entry[0])))
        path.write_text(_text(known))
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"Block sizes cannot be written to {path}: {error}.") from None


def _text(ops: dict[str, dict[str, dict[str, Any]]]) -> str:
    """JSON with a line for each entry."""
    lines = []
    for op, kernels in ops.items():
        inner = [
            f"    {json.dumps(kernel)}: {{\n"
            + ",\n".join(f"      {json.dumps(key)}: {json.dumps(e)}" for key, e in entries.items())
            + "\n    }"
            for kernel, entries in kernels.items()
        ]
        lines.append(f"  {json.dumps(op)}: {{\n" + ",\n".join(inner) + "\n  }")
    return "{\n" + ",\n".join(lines) + "\n}\n"
