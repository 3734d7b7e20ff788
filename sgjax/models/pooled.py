"""Models that give a vector a text: for embeddings, or scores of labels.

They are encoders, or decoders of the families here, without a language-model head. Which ones they
are is said by the architecture (`Qwen3Model`, `LlamaForSequenceClassification`), by whoever serves
one (`--is-embedding`), or by modules.json, as Sentence Transformers writes it, which says how the
hidden states are pooled, too.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sgjax.errors import ConfigError
from sgjax.models.family import Pooling
from sgjax.models.hf_config import HFConfig

_GENERATOR = "ForCausalLM"
_SGLANGS_CLASSIFIER = "ForClassification"
_CLASSIFIERS = ("ForSequenceClassification", _SGLANGS_CLASSIFIER)
_EMBEDDERS = ("EmbeddingModel", "Model")
"""Endings of architectures, SGLang's own among them."""

_POOLINGS = {
    "pooling_mode_cls_token": "first",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
    "cls": "first",
    "mean": "mean",
    "lasttoken": "last",
}
"""A key of its own each, or, of late, a value of `pooling_mode`."""
_MODULES = ("Transformer", "Pooling", "Normalize")
_LABELS_BY_DEFAULT = 2


def generator_of(architecture: str) -> str:
    """The architecture that has the same layers and generates: it may be the same."""
    for ending in (*_CLASSIFIERS, *_EMBEDDERS):
        if architecture.endswith(ending):
            return architecture.removesuffix(ending) + _GENERATOR
    return architecture


def read_pooling(
    hf: HFConfig, folder: Path, default: Pooling | None = None, *, is_embedding: bool
) -> Pooling | None:
    """How the model pools; None: it generates. `is_embedding`: whether it should give embeddings
    whatever modules.json says. `default`: how a family does that only pools.

    Raises:
        ConfigError: where a file is damaged, or asks for what there is not.
    """
    if hf.architecture.endswith(_CLASSIFIERS):
        given = default or Pooling(is_sglangs=hf.architecture.endswith(_SGLANGS_CLASSIFIER))
        return dataclasses.replace(given, is_normalised=False, labels=_labels(hf))
    modules = _read(folder / "modules.json")
    if not (modules or is_embedding):
        return default
    default = default or Pooling()
    if modules is None:
        return default
    kinds = [str(module.get("type")).rpartition(".")[2] for module in modules]
    if unknown := [kind for kind in kinds if kind not in _MODULES]:
        raise ConfigError(
            f"{folder / 'modules.json'} has a module of type {unknown[0]!r}, which is not "
            f"supported; supported: {', '.join(_MODULES)}."
        )
    paths = {kind: module.get("path") for kind, module in zip(kinds, modules, strict=True)}
    of = default.of
    if "Pooling" in paths:
        of = _pooled(folder / str(paths["Pooling"]) / "config.json")
    return dataclasses.replace(default, of=of, is_normalised="Normalize" in kinds)


def read_max_length(folder: Path) -> int | None:
    """How many tokens of a text Sentence Transformers would read, if the checkpoint says so."""
    values = _read(folder / "sentence_bert_config.json")
    length = values.get("max_seq_length") if isinstance(values, Mapping) else None
    return length if isinstance(length, int) and length > 0 else None


def _pooled(path: Path) -> Any:
    values = _read(path)
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path} is missing, or is no JSON object: it says how to pool.")
    modes = [key for key, value in values.items() if key.startswith("pooling_mode_") and value]
    if named := values.get("pooling_mode"):
        modes = [str(mode) for mode in (named if isinstance(named, list) else [named])]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise ConfigError(
            f"{path} asks for {', '.join(modes) or 'no pooling'}; supported: one of "
            f"{', '.join(_POOLINGS)}."
        )
    return _POOLINGS[modes[0]]


def _labels(hf: HFConfig) -> tuple[str, ...]:
    names = hf("id2label", None)
    count = hf.size("classification_out_size", None)
    if names is None or count is not None:
        count = count or hf.size("num_labels", _LABELS_BY_DEFAULT)
        return tuple(f"LABEL_{i}" for i in range(count))
    if not (isinstance(names, Mapping) and sorted(map(str, range(len(names)))) == sorted(names)):
        raise hf.error("id2label", "must map '0', '1', ... to names")
    return tuple(str(names[str(i)]) for i in range(len(names)))


def _read(path: Path) -> Any:
    """None: there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None
