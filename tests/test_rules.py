"""Rules that hold for every source file: what must never stand there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [path for folder in ("sgjax", "server") for path in (ROOT / folder).rglob("*.py")]
TESTS = list((ROOT / "tests").rglob("*.py"))

UNSAFE_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_NAMES = {"eval", "exec"}
UNSAFE_CALLS = {
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "torch.load",
    "os.system",
    "jinja2.Environment",
    "multiprocessing.Process",
    "multiprocessing.Queue",
}
UNSAFE_ARGUMENTS = {"shell", "trust_remote_code", "allow_pickle"}
"""Keyword arguments that must not be True."""


def offences(source: str) -> Iterator[str]:
    """What a source file does that no file of the project may do."""
    for node in ast.walk(ast.parse(source)):
        for what in _offences_of(node):
            yield f"line {node.lineno}: {what}"


def _offences_of(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names if _root(alias.name) in UNSAFE_MODULES)
        case ast.ImportFrom(module=str(module), names=names):
            full = [module, *(f"{module}.{alias.name}" for alias in names)]
            yield from (n for n in full if _root(n) in UNSAFE_MODULES or n in UNSAFE_CALLS)
        case ast.Call(func=func, keywords=keywords):
            name = ast.unparse(func)
            if name in UNSAFE_NAMES | UNSAFE_CALLS:
                yield name
            for keyword in keywords:
                if keyword.arg in UNSAFE_ARGUMENTS and _is_true(keyword.value):
                    yield f"{keyword.arg}=True"


def _root(module: str) -> str:
    return module.split(".")[0]


def _is_true(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source_runs_no_foreign_code(path: Path):
    assert list(offences(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from dill import loads",
        "from yaml import load, unsafe_load",
        "value = eval(text)",
        "yaml.load(text, Loader)",
        "torch.load(path)",
        "subprocess.run(line, shell=True)",
        "AutoTokenizer.from_pretrained(path, trust_remote_code=True)",
        "np.load(path, allow_pickle=True)",
        "env = jinja2.Environment()",
        "from jinja2 import Environment",
    ],
)
def test_offence_is_seen(source: str):
    assert list(offences(source))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_library_needs_no_torch(path: Path):
    tree = ast.parse(path.read_text())
    names = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    ]
    names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert "torch" not in {_root(name) for name in names}


# Scripts, and the files of the command line that talk to a terminal.
TALKERS = {"bench", "demo", "cli.py", "terminal.py", "ready_screen.py"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_library_prints_nothing(path: Path):
    if TALKERS & set(path.parts):
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert [node.lineno for node in calls if ast.unparse(node.func) == "print"] == []


def test_every_file_says_what_it_is():
    bare = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if (text := path.read_text()).strip() and ast.get_docstring(ast.parse(text)) is None
    ]
    assert bare == []


def test_families_are_a_literal_table_of_modules_that_exist():
    tree = ast.parse((ROOT / "sgjax" / "models" / "__init__.py").read_text())
    tables = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and "FAMILIES" in ast.unparse(node).split("=")[0]
    ]
    assert len(tables) == 1
    families = ast.literal_eval(ast.unparse(tables[0]))
    assert families
    for architecture, module in families.items():
        assert re.fullmatch(r"\w+", architecture)
        file = str(module).removeprefix("sgjax.models.").replace(".", "/") + ".py"
        assert (ROOT / "sgjax" / "models" / file).is_file(), f"{architecture}: no {file}"


def test_no_family_subclasses_another():
    for path in (ROOT / "sgjax" / "models").rglob("*.py"):
        classes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ClassDef)]
        bases = {ast.unparse(base).split(".")[-1] for node in classes for base in node.bases}
        assert "Block" not in bases and "Attention" not in bases, path


SKIP_REASONS = re.compile(r"needs? (a GPU|two GPUs|torch|Python|an accelerator)")


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_skips_have_a_reason_that_a_user_would_accept(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in {"pytest.skip", "pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail"}:
            assert SKIP_REASONS.search(ast.unparse(node)), f"{path}:{node.lineno}"
