import sys
import types
from pathlib import Path

import pytest

from sgjax.errors import ConfigError
from sgjax.weights import hub
from sgjax.weights.hub import resolve


def test_a_folder_is_itself(tmp_path):
    assert resolve(str(tmp_path)) == tmp_path


def test_the_built_in_model_is_found_whatever_folders_are_here(monkeypatch, tmp_path):
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert (resolve("demo") / "model.safetensors").is_file()
    assert resolve("./demo").resolve() == tmp_path / "demo"


def test_a_model_that_is_not_here_offline_is_an_error_that_says_where_was_looked(monkeypatch):
    with pytest.raises(ConfigError) as error:
        resolve("nobody/such-a-model")
    here = Path("nobody/such-a-model").absolute()
    assert f"Looked for a folder {here} and in the hub's cache " in str(error.value)
    assert "hf download nobody/such-a-model)" in str(error.value)
    assert "'demo'" in str(error.value)
    with pytest.raises(ConfigError, match="hf download nobody/such-a-model --revision v2"):
        resolve("nobody/such-a-model@v2")


@pytest.mark.parametrize("path", ["/no/such/folder", "a/b/c", "../nowhere"])
def test_a_path_that_is_no_folder_and_no_hub_id_is_an_error(path):
    with pytest.raises(ConfigError, match="neither a folder"):
        resolve(path)


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"")
    with pytest.raises(ConfigError, match="a model is a folder"):
        resolve(str(tmp_path / "model.gguf"))


def test_only_safe_files_are_fetched(monkeypatch, tmp_path):
    asked = {}

    def snapshot_download(repo, **options):
        asked.update(options, repo=repo)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert resolve("owner/name", "v1") == tmp_path
    assert (asked["repo"], asked["revision"]) == ("owner/name", "v1")
    assert not any(pattern.endswith((".bin", ".pt", ".py")) for pattern in asked["allow_patterns"])


def test_a_hub_id_may_name_its_revision(monkeypatch):
    asked = []
    monkeypatch.setattr(hub, "_from_hugging_face", lambda *args: asked.append(args))
    resolve("owner/name@v2")
    resolve("owner/name@v2", "v2")
    assert asked == [("owner/name", "v2")] * 2
    with pytest.raises(ConfigError, match="names a revision, and --revision v1 names another"):
        resolve("owner/name@v2", "v1")


def modelscope(monkeypatch, snapshot_download) -> None:
    """A stand-in for the package, which is not among those of the tests."""
    module = types.ModuleType("modelscope.hub.snapshot_download")
    vars(module)["snapshot_download"] = snapshot_download
    for name in ("modelscope", "modelscope.hub"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_modelscope_is_asked_for_the_same_files(monkeypatch, tmp_path):
    asked = {}

    def snapshot_download(repo, **options):
        asked.update(options, repo=repo)
        return str(tmp_path)

    modelscope(monkeypatch, snapshot_download)
    assert resolve("owner/name@v1", source="modelscope") == tmp_path
    assert (asked["repo"], asked["revision"]) == ("owner/name", "v1")
    assert asked["allow_patterns"] == hub.PATTERNS
    with pytest.raises(ConfigError, match="neither a folder"):
        resolve("a/b/c", source="modelscope")


def test_modelscope_that_is_not_reached_or_not_installed_is_an_error(monkeypatch, tmp_path):
    def snapshot_download(repo, **options):
        raise RuntimeError("no route to host\nmore")

    modelscope(monkeypatch, snapshot_download)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="does not give 'owner/name': no route to host") as error:
        resolve("owner/name", source="modelscope")
    here = Path("owner/name").absolute()
    assert f"Looked for a folder {here} and in ModelScope's cache {tmp_path}." in str(error.value)
    monkeypatch.setitem(sys.modules, "modelscope.hub.snapshot_download", None)
    with pytest.raises(ConfigError, match="pip install modelscope") as error:
        resolve("owner/name", source="modelscope")
    assert f"There is no folder {here}" in str(error.value)


def test_what_modelscope_fetched_is_served_where_it_is_not_reached(monkeypatch, tmp_path):
    def snapshot_download(repo, *, revision, local_files_only=False, **options):
        if not local_files_only:
            raise RuntimeError("no route to host")
        return str(tmp_path / repo / revision)

    modelscope(monkeypatch, snapshot_download)
    assert resolve("owner/name@v1", source="modelscope") == tmp_path / "owner/name/v1"


def test_a_refusal_of_the_hub_is_an_error_that_says_what_to_check(monkeypatch):
    def snapshot_download(repo, **options):
        raise OSError("401 Client Error.\nmore")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(ConfigError, match=r"does not give 'owner/name' at revision 'v1': 401"):
        hub.resolve("owner/name", "v1")
