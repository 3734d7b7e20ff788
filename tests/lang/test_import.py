"""What `import sgjax` costs: programs of the language are often short scripts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import sgjax

HEAVY = ("jax", "numpy", "transformers", "tokenizers", "openai", "anthropic", "litellm", "uvloop")
SCRIPT = """
import json, sys
import sgjax as sgl

@sgl.function
def chat(s, question):
    s += sgl.user(question) + sgl.assistant(sgl.gen("answer", max_tokens=8))

names = [name for name in dir(sgl) if name != "Engine"]
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """All modules of a process that imported the package and wrote a program."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("name", HEAVY)
def test_a_program_is_written_without(loaded: set[str], name: str):
    assert name not in loaded


def test_the_language_itself_is_there(loaded: set[str]):
    assert {"sgjax", "sgjax.lang.api", "sgjax.lang.function"} <= loaded


def test_type_checkers_read_the_types_of_an_installed_package():
    assert (Path(sgjax.__file__).parent / "py.typed").is_file()
