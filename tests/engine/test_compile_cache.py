"""Where programs are kept."""

import jax
import pytest

from sgjax.engine.compile_cache import use_compile_cache

OPTIONS = (
    "jax_compilation_cache_dir",
    "jax_enable_compilation_cache",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


@pytest.fixture(autouse=True)
def as_before():
    before = {name: jax.config.values[name] for name in OPTIONS}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def folder_of_jax():
    return jax.config.values["jax_compilation_cache_dir"]


def test_traced_programs_are_kept_inside_the_folder_that_was_asked_for(tmp_path):
    assert use_compile_cache(str(tmp_path)) == tmp_path / "traced"
    assert folder_of_jax() == str(tmp_path)


def test_without_a_wish_it_is_the_users_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert use_compile_cache(None) == tmp_path / "sgjax" / "programs" / "traced"
    assert folder_of_jax() == str(tmp_path / "sgjax" / "programs")


def test_a_folder_that_jax_was_told_of_is_jaxs(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    assert use_compile_cache(None) is None
    assert folder_of_jax() == str(tmp_path)


def test_what_is_elsewhere_than_on_the_disk_is_for_jax_alone():
    assert use_compile_cache("gs://bucket/programs") is None
    assert folder_of_jax() == "gs://bucket/programs"


def test_an_empty_name_keeps_nothing():
    assert use_compile_cache("") is None
    assert not jax.config.values["jax_enable_compilation_cache"]
