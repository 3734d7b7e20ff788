"""What every test has: two CPU devices, strict JAX, checked shapes, hypothesis, leak checks.

JAX reads its options from the environment when it is first imported, so nothing here imports it:
tests of host logic stay free of it, and processes that a test starts inherit the options.
"""

import importlib.util
import os
import pathlib
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import hypothesis
import pytest
import uvloop

ROOT = pathlib.Path(__file__).resolve().parents[1]


def _jax_options() -> dict[str, str]:
    devices = "--xla_force_host_platform_device_count=2"
    return {
        "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS") or "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {devices}".strip(),
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
        "JAX_COMPILATION_CACHE_DIR": os.environ.get(
            "JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax")
        ),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        # No test reads the hub: a model that is not on the disk is an error, not a wait.
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


os.environ.update(_jax_options())

hypothesis.settings.register_profile(
    "ci", max_examples=100, derandomize=True, deadline=None, database=None
)
hypothesis.settings.register_profile("soak", max_examples=1000, deadline=None)
hypothesis.settings.load_profile("ci")  # --hypothesis-profile=soak comes later and wins


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak-seconds",
        type=float,
        default=15,
        help="how long the long run takes (make soak: 1800)",
    )


def pytest_configure() -> None:
    from tests.shapes import check_from_now_on

    check_from_now_on()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("device") and os.environ["JAX_PLATFORMS"] == "cpu":
            item.add_marker(pytest.mark.skip(reason="needs a GPU: set JAX_PLATFORMS=cuda"))
    if config.getoption("--hypothesis-profile") != "soak":
        _deselect(config, items, "soak")


def _deselect(config: pytest.Config, items: list[pytest.Item], marker: str) -> None:
    left_out = [item for item in items if item.get_closest_marker(marker)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_ignore_collect(collection_path: pathlib.Path) -> bool | None:
    """A module that is marked `torch` as a whole is not even imported where there is no torch."""
    if collection_path.suffix != ".py" or importlib.util.find_spec("torch") is not None:
        return None
    is_of_torch = "\npytestmark = pytest.mark.torch" in collection_path.read_text()
    return True if is_of_torch else None


class Holdings(NamedTuple):
    """What a process holds that a test might leave behind."""

    threads: frozenset[threading.Thread]
    descriptors: frozenset[str]
    children: frozenset[int]

    @classmethod
    def now(cls) -> "Holdings":
        return cls(frozenset(threading.enumerate()), _open_descriptors(), _children())

    def gained_since(self, before: "Holdings") -> str:
        """What is held now and was not before, in words; empty if nothing is."""
        found = [f"thread {thread.name}" for thread in self.threads - before.threads]
        found += [f"descriptor {name}" for name in sorted(self.descriptors - before.descriptors)]
        found += [f"child process {pid}" for pid in sorted(self.children - before.children)]
        return ", ".join(found)


def _open_descriptors() -> frozenset[str]:
    names = []
    for number in os.listdir("/proc/self/fd"):
        try:
            names.append(f"{number} -> {os.readlink(f'/proc/self/fd/{number}')}")
        except FileNotFoundError:
            continue  # the one that listed the folder
    return frozenset(names)


def _children() -> frozenset[int]:
    found = set()
    for task in pathlib.Path("/proc/self/task").iterdir():
        try:
            found.update(map(int, (task / "children").read_text().split()))
        except FileNotFoundError:
            continue  # a thread that just ended
    return frozenset(found)


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Fails the test if it leaves a thread, an open descriptor or a child process behind.

    What ends by itself gets five seconds for it.
    """
    uvloop.new_event_loop().close()  # the first of a process opens a pipe that it keeps for good
    before = Holdings.now()
    yield
    deadline = time.monotonic() + 5
    while (left := Holdings.now().gained_since(before)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left, f"left behind: {left}"
