"""Who may import whom, and who lives without JAX: docs/architecture.md's "Layering", checked."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"sgjax": ROOT / "sgjax", "sgjax_server": ROOT / "server" / "sgjax_server"}

EVERYBODY_MAY = ("axes", "config", "errors", "sampling_params")

# Importer -> what it may import besides itself and the above. The longest name that fits counts.
# Names are those inside `sgjax`; a name stands for everything in it.
ALLOWED = {
    # In front of the engine
    "sgjax_server": (
        "constrained",
        "constraint_fields",
        "engine",
        "front",
        "progress",
        "text",
        "weights.hub",
    ),
    "front": (
        "constrained",
        "constraint_fields",
        "engine.client",
        "engine.deltas",
        "engine.local_client",
        "engine.messages",
        "engine.request",
        "lang.backends.engine",
        "text",
        "weights.hub",
    ),
    "text": (),
    "constrained": ("constraint_fields",),
    # The engine and what it stands on
    "engine": (
        "constrained",
        "models",
        "weights",
        "cache",
        "layers",
        "sharding",
        "kernels_pallas",
        "text",
    ),
    "models": ("layers", "sharding", "cache.kv_cache", "kernels_pallas.activations"),
    "weights": ("layers.weight", "models", "sharding"),
    "layers": ("kernels_pallas", "sharding", "cache.kv_cache", "models.family"),
    "cache": ("engine.request", "sharding"),
    "cache.kv_cache": ("models.family", "sharding"),
    "sharding": (),
    "kernels_pallas": (),
    # Scripts
    "bench": (
        "cache",
        "config_sources",
        "engine",
        "flags",
        "front",
        "kernels_pallas",
        "lang",
        "progress",
        "sgjax_server",
        "weights.hub",
    ),
    "demo": ("models", "weights", "sharding", "layers", "text", "front", "engine"),
    # Alone
    "axes": (),
    "errors": (),
    "constraint_fields": (),
    "sampling_params": ("constraint_fields",),
    "options": (),
    "sglang_flags": (),
    "config": ("options", "sglang_flags"),
    # The command line
    "config_sources": (),
    "flags": ("config_sources", "options", "sglang_flags"),
    "progress": ("engine.messages",),
    "terminal": ("engine.local_client", "front", "progress", "text"),
    "cli": ("bench.command", "flags", "options", "terminal", "model_report", "sgjax_server"),
    "model_report": ("models", "weights", "sharding", "cache.kv_cache", "engine.sizing"),
    "launch_server": ("cli",),
    # The language
    "lang": ("front.loop_thread",),
    "lang.backends.engine": ("front", "lang", "text"),
    "": ("front.engine", "lang"),
}

WITHOUT_JAX = [
    "sgjax",
    "sgjax.axes",
    "sgjax.bench.command",
    "sgjax.bench.display",
    "sgjax.bench.report",
    "sgjax.bench.serving.run",
    "sgjax.bench.workloads",
    "sgjax.cache.pool",
    "sgjax.cache.prefix_cache",
    "sgjax.cache.prefix_groups",
    "sgjax.cache.radix_tree",
    "sgjax.cli",
    "sgjax.config",
    "sgjax.config_sources",
    "sgjax.engine.batch",
    "sgjax.engine.client",
    "sgjax.engine.deltas",
    "sgjax.engine.ipc_client",
    "sgjax.engine.local_client",
    "sgjax.engine.messages",
    "sgjax.engine.process",
    "sgjax.engine.request",
    "sgjax.engine.limits",
    "sgjax.engine.pace",
    "sgjax.engine.plan",
    "sgjax.engine.policy",
    "sgjax.engine.reserve",
    "sgjax.engine.results",
    "sgjax.engine.scheduler",
    "sgjax.engine.session",
    "sgjax.engine.sharing",
    "sgjax.engine.stats",
    "sgjax.errors",
    "sgjax.flags",
    "sgjax.launch_server",
    "sgjax.options",
    "sgjax.progress",
    "sgjax.sampling_params",
    "sgjax.sglang_flags",
    "sgjax.terminal",
    "sgjax.weights.hub",
]
PACKAGES_WITHOUT_JAX = [
    "sgjax.constrained",
    "sgjax.front",
    "sgjax.lang",
    "sgjax.text",
    "sgjax_server",
]


def modules() -> dict[str, Path]:
    """Every module of the project by its full name."""
    found = {}
    for package, folder in SOURCES.items():
        for path in folder.rglob("*.py"):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def ours(full_name: str) -> str:
    """A full name as the table writes it: without `sgjax.`."""
    return full_name if full_name.startswith("sgjax_server") else full_name[len("sgjax.") :]


def is_in(name: str, package: str) -> bool:
    return name == package or (package != "" and name.startswith(f"{package}."))


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """Our modules that a file names in imports, wherever they stand, with the line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            # `from sgjax.cache import pool` names the module sgjax.cache.pool.
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else str(node.module) for name in inside]
        else:
            continue
        for name in names:
            if name.split(".")[0] in SOURCES:
                yield ours(name), node.lineno


def rule_of(module: str) -> str:
    """The entry of ALLOWED that fits best."""
    fitting = [package for package in ALLOWED if is_in(module, package)]
    assert fitting, f"{module} has no place in the table of layers; give it one"
    return max(fitting, key=len)


def top(package: str) -> str:
    return package.split(".")[0]


def violations(module: str, path: Path) -> list[str]:
    package = rule_of(ours(module))
    allowed = (top(package), *EVERYBODY_MAY, *ALLOWED[package])
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for name, line in imports_of(path)
        if name and not any(is_in(name, permitted) for permitted in allowed)
    ]


def test_nobody_imports_what_their_layer_may_not():
    found = {text for module, path in MODULES.items() for text in violations(module, path)}
    assert not found, "\n" + "\n".join(sorted(found))


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("sgjax.text.tokenizer", "import sgjax.engine.engine"),
        ("sgjax.front.generator", "from sgjax.engine import runner"),
        ("sgjax.kernels_pallas.ragged_paged_attention.triton", "from sgjax.layers import norm"),
        ("sgjax.models.llama", "def late():\n    from sgjax.engine.step import pack"),
        ("sgjax.cache.pool", "from sgjax_server.run import serve"),
    ],
)
def test_import_against_the_layers_is_seen(tmp_path, monkeypatch, module: str, line: str):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "module.py"
    path.write_text(line)
    assert len(set(violations(module, path))) == 1


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_host_logic_lives_without_jax():
    inside = [name for name in MODULES for package in PACKAGES_WITHOUT_JAX if is_in(name, package)]
    names = sorted({*WITHOUT_JAX, *inside})
    assert set(names) <= set(MODULES)
    run(
        "import sys, importlib\n"
        "sys.modules['jax'] = sys.modules['flax'] = sys.modules['torch'] = None\n"
        f"for name in {names}: importlib.import_module(name)"
    )


def test_importing_sgjax_is_light():
    heavy = "{'jax', 'flax', 'torch', 'transformers', 'numpy', 'fastapi', 'rich'}"
    assert run(f"import sys, sgjax; print(sorted({heavy} & set(sys.modules)))") == "[]\n"


def test_command_line_is_light_until_it_runs_something():
    heavy = "{'jax', 'flax', 'torch', 'transformers', 'numpy', 'fastapi', 'sgjax_server'}"
    assert run(f"import sys, sgjax.cli; print(sorted({heavy} & set(sys.modules)))") == "[]\n"
