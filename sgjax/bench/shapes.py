"""Shapes of published models, config.json each, for engines with random weights."""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sgjax.config_sources import shipped_configs
from sgjax.errors import ConfigError

_KIND = "shapes"


def shape_names() -> list[str]:
    return sorted(path.stem for path in shipped_configs(_KIND).glob("*.json"))


def read_shape(name: str) -> dict[str, Any]:
    """The config.json of a shape.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in shape_names():
        raise ConfigError(f"There is no shape {name!r}. Known: {', '.join(shape_names())}.")
    return json.loads((shipped_configs(_KIND) / f"{name}.json").read_text())


@contextlib.contextmanager
def shape_folder(name: str, *, has_tokenizer: bool = False) -> Iterator[Path]:
    """A model folder that holds the shape's config.json, and a tokenizer if one is wanted, for as
    long as it is needed."""
    config = read_shape(name)
    with tempfile.TemporaryDirectory(prefix=f"sgjax-{name}-") as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        if has_tokenizer:
            from sgjax.bench.words import save_tokenizer

            save_tokenizer(Path(folder), config["vocab_size"])
        yield Path(folder)
