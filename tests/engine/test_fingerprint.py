"""Whatever decides a program is in its fingerprint."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import pytest
from flax import nnx

import sgjax
from sgjax.engine import fingerprint as module
from sgjax.engine.fingerprint import digest, digest_of, fingerprint, source_files
from sgjax.engine.step import CacheShape
from sgjax.models import decoder, read_model_config
from sgjax.sharding.mesh import Placement, make_mesh
from tests.tiny import TinyLlama

PACKAGE = pathlib.Path(sgjax.__file__).parent


@pytest.fixture(autouse=True)
def source_is_old(monkeypatch):
    """Whatever was edited while the tests ran."""
    monkeypatch.setattr(sgjax, "BEGAN_S", float("inf"))


@pytest.fixture
def package(tmp_path):
    """A package with data inside and beside it."""
    for name in ("configs/kernels/gpu.json", "p/__init__.py", "p/ops/op.py", "p/ops/sizes.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "p"


def of_source(package):
    return digest_of(source_files(package))


def test_nothing_changed_is_the_same():
    assert fingerprint(make_mesh(1), "model") == fingerprint(make_mesh(1), "model")


@pytest.mark.parametrize("name", ["ops/op.py", "ops/sizes.json", "../configs/kernels/gpu.json"])
def test_source_and_data_are_in_it(package, name):
    before = of_source(package)
    (package / name).write_text("something else")
    assert of_source(package) != before


def test_so_are_new_files_and_their_names(package):
    before = of_source(package)
    (package / "ops" / "new.py").touch()
    added = of_source(package)
    (package / "ops" / "new.py").rename(package / "ops" / "newer.py")
    assert len({before, added, of_source(package)}) == 3


def test_what_python_compiled_is_not(package):
    before = of_source(package)
    (package / "ops" / "op.pyc").touch()
    assert of_source(package) == before


def test_the_packages_own_kernels_are_among_its_source():
    names = {str(path) for path in source_files(PACKAGE)}
    assert str(PACKAGE / "kernels_pallas" / "draw_tokens" / "triton.py") in names
    assert any(name.endswith("kernels/nvidia-h200.json") for name in names)


def test_texts_are_told_apart_by_where_they_end():
    assert len({digest(parts) for parts in (["ab"], ["a", "b"], ["", "ab"], ["a", "b", ""])}) == 4


@pytest.mark.parametrize("name", ["XLA_FLAGS", "JAX_SOMETHING_NEW", "TF_XLA_FLAGS"])
def test_the_environment_is_in_it(monkeypatch, name):
    before = fingerprint(make_mesh(1))
    monkeypatch.setenv(name, "--xla_some_flag=3")
    assert fingerprint(make_mesh(1)) != before


@pytest.mark.parametrize("name", ["NVIDIA_VISIBLE_DEVICES", "HOSTNAME"])
def test_which_of_equal_machines_it_is_does_not_matter(monkeypatch, name):
    before = fingerprint(make_mesh(1))
    monkeypatch.setenv(name, "GPU-5c3f")
    assert fingerprint(make_mesh(1)) == before


def test_how_the_devices_were_asked_for_is_not(monkeypatch):
    before = fingerprint(make_mesh(1))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu,cuda")
    monkeypatch.setitem(jax.config.values, "jax_platforms", "cpu,cuda")
    assert fingerprint(make_mesh(1)) == before


def test_what_is_logged_is_not(monkeypatch):
    before = fingerprint(make_mesh(1))
    monkeypatch.setenv("JAX_LOGGING_LEVEL", "DEBUG")
    monkeypatch.setitem(jax.config.values, "jax_logging_level", "DEBUG")
    assert fingerprint(make_mesh(1)) == before


def test_so_are_jaxs_settings():
    before = fingerprint(make_mesh(1))
    old = jax.config.values["jax_default_matmul_precision"]
    jax.config.update("jax_default_matmul_precision", "float32")
    try:
        assert fingerprint(make_mesh(1)) != before
    finally:
        jax.config.update("jax_default_matmul_precision", old)


@pytest.mark.parametrize("library", module._LIBRARIES)
def test_so_are_versions(monkeypatch, library):
    before = fingerprint(make_mesh(1))
    version = module.version
    monkeypatch.setattr(module, "version", lambda name: version(name) + "1" * (name == library))
    assert fingerprint(make_mesh(1)) != before


def test_so_are_the_devices():
    backwards = make_mesh(1, jax.devices()[::-1])
    found = {fingerprint(mesh) for mesh in (make_mesh(1), make_mesh(2), backwards)}
    assert len(found) == 3


def test_source_that_is_newer_than_the_process_gives_none(monkeypatch):
    newest = max(path.stat().st_mtime for path in source_files(PACKAGE))
    monkeypatch.setattr(sgjax, "BEGAN_S", newest)
    assert fingerprint(make_mesh(1)) is None
    monkeypatch.setattr(sgjax, "BEGAN_S", newest + 1)
    assert fingerprint(make_mesh(1)) is not None


def test_source_from_another_clock_is_taken_for_old(monkeypatch):
    oldest = min(path.stat().st_mtime for path in source_files(PACKAGE))
    monkeypatch.setattr(sgjax, "BEGAN_S", oldest - 9)
    monkeypatch.setattr(module.time, "time", lambda: oldest - 8)
    assert fingerprint(make_mesh(1)) is not None


def of_model(folder, *, kernels="reference", num_pages=8):
    family, cfg = read_model_config(folder)
    mesh = make_mesh(1)
    graphdef, _ = nnx.split(decoder.build(family, cfg, Placement(mesh, kernels)))
    shape = CacheShape(num_pages=num_pages, page_size=4, num_slots=2, max_pages_per_request=8)
    return fingerprint(mesh, graphdef, cfg, shape)


def test_so_is_the_model(tmp_path):
    folders = [tmp_path / name for name in ("one", "same", "norm", "rope")]
    changes = {}, {}, {"rms_norm_eps": 1e-3}, {"rope_theta": 77.0}
    for folder, change in zip(folders, changes, strict=True):
        path = TinyLlama().save(folder) / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    one, same, *others = (of_model(folder) for folder in folders)
    others += [of_model(folders[0], kernels="triton"), of_model(folders[0], num_pages=9)]
    assert one == same
    assert len({one, *others}) == 5


def test_every_process_finds_the_same(tmp_path):
    """Python orders sets and hashes texts by chance, another for each process."""
    folder = TinyLlama().save(tmp_path / "model")
    code = (
        "import sys, sgjax, tests.engine.test_fingerprint as test; sgjax.BEGAN_S = float('inf');"
        "print(test.of_model(sys.argv[1]))"
    )
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder)],
            env={**os.environ, **paths, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    found = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert found[0] == found[1]
    assert len(found[0].strip()) == 64
