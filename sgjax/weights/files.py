"""The safetensors files of a checkpoint, as one set of named tensors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from sgjax.errors import CheckpointError

INDEX = "model.safetensors.index.json"
FLOATS = ("F32", "F16", "BF16")
"""How safetensors names the kinds of numbers that are read."""


class CheckpointFiles:
    """Tensors by name, over all files of a folder. Opening reads headers only.

    Raises:
        CheckpointError: where a file is missing or damaged, or a tensor is there twice.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._tensors: dict[str, tuple[str, Any]] = {}
        index = _read_index(folder)
        for file in sorted(set(index.values())) if index else _files(folder):
            self._open(file)
        for name, file in index.items():
            if self._tensors.get(name, ("",))[0] != file:
                raise CheckpointError(
                    f"{INDEX} says that {file} holds {name}, but it does not. The checkpoint is "
                    "damaged or incomplete: download it again."
                )

    @property
    def names(self) -> set[str]:
        return set(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name][1].get_shape())

    def num_bytes(self, name: str) -> int:
        _, tensor = self._tensors[name]
        return int(np.prod(tensor.get_shape())) * (4 if tensor.get_dtype() == "F32" else 2)

    def read(self, name: str, slices: tuple[slice, ...]) -> np.ndarray:
        """A slice of a tensor, copied into memory."""
        return self._tensors[name][1][slices]

    def _open(self, file: str) -> None:
        path = self.folder / file
        if not path.is_file():
            raise CheckpointError(
                f"{path} is missing. The checkpoint is incomplete: download it again."
            )
        try:
            opened = safe_open(path, framework="numpy")
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path} ({path.stat().st_size} bytes) is no whole safetensors file: {error}. "
                "Download it again."
            ) from None
        for name in opened.keys():  # noqa: SIM118 (not a dict)
            if name in self._tensors:
                raise CheckpointError(
                    f"{name} is there twice: in {self._tensors[name][0]} and {file}."
                )
            tensor = opened.get_slice(name)
            if tensor.get_dtype() not in FLOATS:
                raise CheckpointError(
                    f"{name} in {path} is {tensor.get_dtype()}; supported: {', '.join(FLOATS)}. "
                    "Quantised checkpoints cannot be read yet."
                )
            self._tensors[name] = (file, tensor)


def _read_index(folder: Path) -> dict[str, str]:
    """Tensor -> file, or nothing where there is no index."""
    path = folder / INDEX
    if not path.is_file():
        return {}
    try:
        index = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        if not (index and all(isinstance(file, str) for file in index.values())):
            raise ValueError("weight_map must map tensor names to files")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not an index of safetensors: {error!r}.") from None
    if strange := [file for file in index.values() if Path(file).name != file]:
        raise CheckpointError(f"{path} names a file outside of its folder: {strange[0]}.")
    return index


def _files(folder: Path) -> list[str]:
    if (folder / "model.safetensors").is_file():
        return ["model.safetensors"]
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    if files:
        return files
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt*")):
        raise CheckpointError(
            f"{folder} holds weights as pickle only (*.bin, *.pt), which can run code when read. "
            "Convert them: load the model with transformers and call save_pretrained(folder)."
        )
    raise CheckpointError(
        f"There are no *.safetensors in {folder}. To serve random weights, use --load-format dummy."
    )
