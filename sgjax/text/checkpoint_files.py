"""What the small JSON files of a checkpoint say of its tokens."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sgjax.errors import CheckpointError

SPECIAL_NAMES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no such file.

    Raises:
        CheckpointError: the file is not UTF-8 JSON, or holds something else than an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {error}. Fetch the checkpoint again."
        ) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object, not {type(value).__name__}.")
    return value


def read_special_tokens(model_dir: Path) -> dict[str, str]:
    """`{"bos_token": "<s>", ...}`, as far as the checkpoint names them.

    tokenizer_config.json is asked first if it lists added tokens too; checkpoints that are older
    than that keep the truth in special_tokens_map.json.
    """
    config = read_json(model_dir / "tokenizer_config.json")
    older = read_json(model_dir / "special_tokens_map.json")
    sources = (config, older) if "added_tokens_decoder" in config else (older, config)
    found = {}
    for name in SPECIAL_NAMES:
        texts = [text for source in sources if (text := _token_text(source.get(name)))]
        if texts:
            found[name] = texts[0]
    return found


def extra_special_tokens(config: Mapping[str, Any]) -> list[str]:
    """The special tokens that a config names besides those of SPECIAL_NAMES."""
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    values = extra.values() if isinstance(extra, Mapping) else extra
    contents = [value["content"] if isinstance(value, Mapping) else value for value in values]
    return [str(content) for content in contents]


def _token_text(value: Any) -> str | None:
    """A token is written as its text, or as an object with a `content`."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else None
