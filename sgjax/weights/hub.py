"""Where a model's files are: a folder, the built-in model, or the Hugging Face hub."""

from importlib import resources
from pathlib import Path

from sgjax.errors import ConfigError

PATTERNS = ["*.safetensors", "*.json", "*.jinja", "tokenizer*", "*.model", "*.txt", "*.tiktoken"]
"""What is fetched of a repository: weights as safetensors, configs, tokenizer, chat template."""
EXCLUDED = ["*/*", "consolidated*"]
"""What is not: folders (other formats of the same weights), and Mistral's second copy."""


def resolve(model_path: str, revision: str | None = None) -> Path:
    """The folder of a model: "demo" (the built-in one), an existing folder, or a hub id, fetched.

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
    return _fetch(model_path, revision)


def _demo() -> Path:
    folder = Path(str(resources.files("sgjax.demo") / "model"))
    if not folder.is_dir():
        raise ConfigError(f"The built-in model is missing: {folder}. Install sgjax again.")
    return folder


def _fetch(repo: str, revision: str | None) -> Path:
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
        raise ConfigError(
            f"{repo!r} is neither a folder ({here} is not there) nor a hub id (owner/name). "
            "For the built-in model say 'demo'."
        ) from None
    except LocalEntryNotFoundError:
        raise ConfigError(
            f"{repo!r} is not here, and the hub is not reached. Looked for a folder {here} and in "
            f"the hub's cache {constants.HF_HUB_CACHE}. Give the path of a folder, fetch it where "
            f"there is a network (hf download {repo}), or serve the built-in model: 'demo'."
        ) from None
    except OSError as error:
        raise ConfigError(
            f"The hub does not give {repo!r}"
            + (f" at revision {revision!r}" if revision else "")
            + f": {str(error).strip().splitlines()[0]} Check the name; a gated model needs "
            "'hf auth login'."
        ) from None
