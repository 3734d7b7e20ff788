"""Weights are loaded while programs compile: what it leaves, and where it fails."""

import _thread
import contextlib
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from sgjax.config import ServeConfig
from sgjax.engine.local_client import LocalClient
from sgjax.errors import EngineDead
from sgjax.weights.load import Unloaded
from tests.engine.lockstep import Lockstep
from tests.tiny import TinyLlama

LIMITS: dict[str, Any] = {
    "page_size": 4,
    "max_total_tokens": 400,
    "chunked_prefill_size": 16,
    "max_running_requests": 4,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(TinyLlama().save(tmp_path_factory.mktemp("tiny")))


@contextlib.contextmanager
def interruptible():
    """As in a terminal: what a shell starts in the background ignores Ctrl-C."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, old)


def test_no_file_of_the_checkpoint_stays_open(folder):
    engine = Lockstep(model_path=folder, **LIMITS)
    try:
        assert folder not in Path("/proc/self/maps").read_text()
    finally:
        engine.close()


def test_weights_that_cannot_be_loaded_end_the_start_and_all_that_compiles(folder, monkeypatch):
    def load(self, on_progress):
        raise RuntimeError("RESOURCE_EXHAUSTED: no memory")

    monkeypatch.setattr(Unloaded, "load", load)
    before = set(threading.enumerate())
    with pytest.raises(EngineDead, match="RESOURCE_EXHAUSTED"):
        LocalClient.start(ServeConfig(model_path=folder, **LIMITS))
    assert not [each.name for each in set(threading.enumerate()) - before]


def test_a_start_that_is_interrupted_leaves_no_engine(folder, monkeypatch):
    real = Unloaded.load

    def load(self, on_progress):
        _thread.interrupt_main()
        return real(self, on_progress)

    monkeypatch.setattr(Unloaded, "load", load)
    before = set(threading.enumerate())
    with interruptible(), pytest.raises(KeyboardInterrupt):
        LocalClient.start(ServeConfig(model_path=folder, **LIMITS))
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive()
