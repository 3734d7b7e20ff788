"""The language's pages: their Python runs on the built-in model, and prints what they say.

A page's blocks are one script. A block behind `<!-- compiled only: why -->` needs what a test has
not (a key, a server); it is compiled. A block `text` behind one that prints is its output.
"""

import dataclasses
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "language"
PAGES = sorted(FOLDER.glob("*.md"))
BLOCK = re.compile(r"(<!-- compiled only: [^>]+ -->\n+)?^```(\w+)\n(.*?)^```$", re.M | re.S)


@dataclasses.dataclass(frozen=True)
class Block:
    """A piece of code, or what one prints."""

    kind: str
    text: str
    runs: bool


def blocks(page: Path) -> Iterator[Block]:
    for mark, kind, text in BLOCK.findall(page.read_text()):
        yield Block(kind, text, runs=not mark)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_s_code_runs_and_prints_what_it_says(page, one_engine, tmp_path, capsys):
    found = list(blocks(page))
    assert found or page.stem == "index", "a page shows code"
    script = tmp_path / f"{page.stem}.py"
    script.write_text("".join(b.text for b in found if b.kind == "python" and b.runs))
    runpy.run_path(str(script))
    assert capsys.readouterr().out == "".join(b.text for b in found if b.kind == "text")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_not_run_compiles(page):
    for block in blocks(page):
        if block.kind == "python":
            compile(block.text, str(page), "exec")


def test_a_block_that_is_not_marked_is_run():
    assert [block.runs for block in blocks(FOLDER / "backends.md")].count(False) >= 1
    assert all(block.runs for block in blocks(FOLDER / "index.md"))
