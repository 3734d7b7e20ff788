"""Checkpoints in the form of families that transformers computes under another name."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Config = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Packed:
    """Tensors put together in a way of their own: `pack(config, tensors)`."""

    names: tuple[str, ...]
    pack: Callable[[Config, list[torch.Tensor]], torch.Tensor]


def end_to_end(config: Config, tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat(tensors)


def by_kv_head(config: Config, tensors: list[torch.Tensor]) -> torch.Tensor:
    """For each kv head: its queries, its key, its value."""
    heads = config["num_key_value_heads"]
    packed = torch.cat([t.reshape(heads, -1, *t.shape[1:]) for t in tensors], 1)
    return packed.flatten(0, 1)


def publish(
    config: Callable[[Config], Config], tensors: dict[str, str | Packed]
) -> Callable[[Path], None]:
    """Rewrites a folder: `config` gives the family's config.json for transformers', `tensors` says
    which tensors of transformers' a tensor of the family's is. `{}` stands for the layer."""

    def rewrite(folder: Path) -> None:
        old_config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config(old_config)))
        old, new = load_file(folder / "model.safetensors"), {}
        for name, made_of in tensors.items():
            packed = Packed((made_of,), end_to_end) if isinstance(made_of, str) else made_of
            for layer in range(old_config["num_hidden_layers"] if "{}" in name else 1):
                names = [each.format(layer) for each in packed.names]
                if set(names) <= old.keys():  # biases may be off, and embeddings tied
                    found = [old.pop(each) for each in names]
                    new[name.format(layer)] = packed.pack(old_config, found).contiguous()
        assert not old, f"nobody publishes {sorted(old)}"
        save_file(new, folder / "model.safetensors")

    return rewrite
