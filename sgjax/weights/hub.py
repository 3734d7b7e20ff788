"""Where a model's files are: a folder, the built-in model, the Hugging Face hub, or ModelScope."""

import contextlib
import functools
import os
from importlib import resources
from pathlib import Path

from sgjax.config import ServeConfig, Source
from sgjax.errors import ConfigError

PATTERNS = [
    "*.safetensors",
    "*.json",
    "*.jinja",
    "tokenizer*",
    "*.model",
    "*.txt",
    "*.tiktoken",
]
"""What is fetched of a repository: weights as safetensors, configs, tokenizer, chat template."""
EXCLUDED = ["*/*.safetensors", "*/*.model", "*/*.txt", "*/tokenizer*", "consolidated*"]
"""What is not: other forms of the same in folders (how to pool stands in one, as JSON), and
Mistral's second copy."""


def model_folder(config: ServeConfig) -> Path:
    """The folder of the model that is served. Raises what `resolve` does."""
    return resolve(config.model_path, config.revision, config.source)


def tokenizer_folder(config: ServeConfig) -> Path:
    """The folder of its tokenizer, which may be another one."""
    return resolve(config.tokenizer_path or config.model_path, config.revision, config.source)


def resolve(model_path: str, revision: str | None = None, source: Source = "huggingface") -> Path:
    """The folder of a model: "demo" (the built-in one), an existing folder, or a hub id, fetched:
    owner/name, or owner/name@revision.

    Raises:
        ConfigError: where it is none of them, or cannot be fetched; says where was looked.
    """
    if model_path == "demo":  # a folder of that name is ./demo
        return _demo()
    folder = Path(model_path).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ConfigError(f"{folder} is a file; a model is a folder with config.json and weights.")
    repo, _, named = model_path.partition("@")
    if named and revision not in (None, named):
        raise ConfigError(
            f"{model_path} names a revision, and --revision {revision} names another. Give one."
        )
    fetch = _from_modelscope if source == "modelscope" else _from_hugging_face
    return fetch(repo, named or revision)


def _demo() -> Path:
    folder = Path(str(resources.files("sgjax.demo") / "model"))
    if not folder.is_dir():
        raise ConfigError(f"The built-in model is missing: {folder}. Install sgjax again.")
    return folder


def _from_hugging_face(repo: str, revision: str | None) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    here = Path(repo).expanduser().absolute()
    try:
        return Path(
            snapshot_download(
                repo, revision=revision, allow_patterns=PATTERNS, ignore_patterns=EXCLUDED
            )
        )
    except HFValidationError:
        raise _no_id(repo) from None
    except LocalEntryNotFoundError:
        fetch = f"hf download {repo}" + (f" --revision {revision}" if revision else "")
        raise ConfigError(
            f"{_named(repo, revision)} is not here, and the hub is not reached. Looked for a "
            f"folder {here} and in the hub's cache {constants.HF_HUB_CACHE}. Give the path of a "
            f"folder, fetch it where there is a network ({fetch}), or serve the built-in model: "
            "'demo'."
        ) from None
    except OSError as error:
        raise ConfigError(
            f"The hub does not give {_named(repo, revision)}: "
            f"{str(error).strip().splitlines()[0]} Check the name; a gated model needs "
            "'hf auth login'."
        ) from None


def _from_modelscope(repo: str, revision: str | None) -> Path:
    here = Path(repo).expanduser().absolute()
    try:
        from modelscope.hub.snapshot_download import (  # pyright: ignore[reportMissingImports]
            snapshot_download,
        )
    except ImportError:
        raise ConfigError(
            f"There is no folder {here}, and --source modelscope needs a package that is not "
            "installed: pip install modelscope. Or give the path of a folder, or --source "
            "huggingface."
        ) from None
    if repo.count("/") != 1 or repo.startswith((".", "/", "~")):
        raise _no_id(repo)
    fetch = functools.partial(
        snapshot_download,
        repo,
        revision=revision,
        allow_patterns=PATTERNS,
        ignore_patterns=EXCLUDED,
    )
    try:
        return Path(fetch())
    except Exception as error:  # the library raises whatever its parts do
        with contextlib.suppress(Exception):  # it asks the network even for what is here
            return Path(fetch(local_files_only=True))
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            f"ModelScope does not give {_named(repo, revision)}: {lines[0]} Looked for a folder "
            f"{here} and in ModelScope's cache {_modelscope_cache()}. Check the name and the "
            "network, or give the path of a folder."
        ) from None


def _modelscope_cache() -> Path:
    """Where the package keeps what it fetched, as its documentation has it."""
    return Path(os.environ.get("MODELSCOPE_CACHE", "~/.cache/modelscope")).expanduser()


def _no_id(repo: str) -> ConfigError:
    return ConfigError(
        f"{repo!r} is neither a folder ({Path(repo).expanduser().absolute()} is not there) nor a "
        "hub id (owner/name). For the built-in model say 'demo'."
    )


def _named(repo: str, revision: str | None) -> str:
    return f"{repo!r}" + (f" at revision {revision!r}" if revision else "")
