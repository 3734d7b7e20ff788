"""Writes docs/models.md from the families themselves: `make docs`."""

import ast
import re
import sys
from collections import defaultdict
from pathlib import Path

from sgjax import models
from sgjax.models import FAMILIES

_HEAD = """\
# Models

<!-- Made by `make docs` from sgjax/models; a test checks that it is current. -->

What `architectures` in a checkpoint's config.json may say. Each family is one file in
`sgjax/models` and is compared with transformers' logits, on one device and on two, however a text
is cut into steps. A key of config.json that its family does not know is an error that names it, and
so is a value that is not computed here: nothing is served that would be computed in another way.

Weights are safetensors, of float32, float16 or bfloat16; quantised checkpoints, images and adapters
are still to come. Code of checkpoints is never run, which concerns a few
[tokenizers](tokenizers.md). `sgjax inspect MODEL` says what a checkpoint is and whether it
fits, without loading it.
"""
_TAIL = """\

## Vectors of texts

A family that generates gives embeddings too: as `…Model` and with `--is-embedding` in place of
`…ForCausalLM` (so e5-mistral, gte-Qwen2 and Qwen3-Embedding do), and scores of labels as
`…ForSequenceClassification` or SGLang's `…ForClassification` ([embeddings](embeddings.md)).
"""


def page() -> str:
    """The whole of docs/models.md."""
    architectures = defaultdict(list)
    for architecture, file in FAMILIES.items():
        architectures[file].append(architecture)
    rows = [_row(file, names) for file, names in sorted(architectures.items())]
    table = "\n".join(["| family | architectures | |", "| --- | --- | --- |", *rows])
    return f"{_HEAD}\n{table}\n{_TAIL}"


def _row(file: str, architectures: list[str]) -> str:
    source = Path(models.__file__).with_name(f"{file}.py").read_text(encoding="utf-8")
    doc = " ".join((ast.get_docstring(ast.parse(source)) or "").split())
    what = re.split(r"[,;]? ?https?://", doc)[0].strip()
    family, _, rest = what.partition(": ")
    links = " ".join(f"[{i}]({url})" for i, url in enumerate(_links(doc), start=1))
    names = ", ".join(f"`{name}`" for name in sorted(architectures))
    return f"| **{family.rstrip('.')}** {links} | {names} | {rest.replace('|', '/')} |"


def _links(doc: str) -> list[str]:
    return [url.rstrip(".,;") for url in re.findall(r"https?://\S+", doc)]


if __name__ == "__main__":
    sys.stdout.write(page())
