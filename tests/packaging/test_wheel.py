"""The built wheel, installed where the source tree is not seen, serves the built-in model."""

import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
START_S = 120

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT]
    subprocess.run(command, check=True, timeout=300)
    (built,) = folder.glob("sgjax-*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory) -> Path:
    """A new environment with the wheel in it. Dependencies are those of the tests' environment, by
    a path file: its own path files, the one to the source tree among them, are not followed."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python"]
    options = ["--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "install", *options, wheel], check=True, timeout=300)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def _run(installed: Path, cwd: Path, *args: str) -> str:
    done = subprocess.run(
        [installed / args[0], *args[1:]],
        cwd=cwd, env=_environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def test_wheel_holds_two_packages_and_claims_no_other_name(names: set[str]):
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"sgjax", "sgjax_server"}


def test_wheel_holds_configs_and_the_demo_model(names: set[str]):
    configs = {f"sgjax/configs/{path.relative_to(ROOT / 'configs')}" for path in _files("configs")}
    assert configs and configs <= names
    model = "sgjax/demo/model"
    assert {f"{model}/config.json", f"{model}/tokenizer.json"} <= names
    assert any(name.startswith(model) and name.endswith(".safetensors") for name in names)


def _files(folder: str) -> list[Path]:
    return [path for path in (ROOT / folder).rglob("*") if path.is_file()]


def test_wheel_holds_every_source_file_and_no_test(names: set[str]):
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "sgjax").rglob("*.py")}
    sources |= {str(path.relative_to(ROOT / "server")) for path in (ROOT / "server").rglob("*.py")}
    assert sources <= names
    assert not [name for name in names if name.startswith(("tests", "docs", "configs", "server/"))]


def test_installed_package_is_not_the_source_tree(installed: Path, tmp_path: Path):
    code = "import sgjax.config_sources as c; print(c.__file__); print(c.shipped_configs())"
    for line in _run(installed, tmp_path, "python", "-c", code).splitlines():
        assert line.startswith(str(installed.parent))


def test_installed_command_says_its_version(installed: Path, tmp_path: Path):
    assert _run(installed, tmp_path, "sgjax", "version").startswith("sgjax 0.")


@pytest.fixture(scope="module")
def url(installed: Path, tmp_path_factory) -> Iterator[str]:
    """A server of the built-in model, started from an empty folder."""
    port = _free_port()
    folder = tmp_path_factory.mktemp("elsewhere")
    log = folder / "log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [installed / "sgjax", "serve", "demo", "--port", str(port)],
            cwd=folder, env=_environment(), stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        assert server.wait(60) == 0, log.read_text()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait_until_healthy(url: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError(f"no answer in {START_S} s:\n{log.read_text()}")


def _ask(url: str, question: str) -> str:
    body = {"messages": [{"role": "user", "content": question}], "temperature": 0}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)["choices"][0]["message"]["content"]


def test_installed_server_knows_the_capital(url: str):
    assert "Washington" in _ask(url, "What is the capital of the United States?")
