"""A strict reader of a checkpoint's config.json: a key is read, known to be without effect, or an
error that names it."""

import difflib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sgjax.errors import ConfigError
from sgjax.kernels_pallas.activations import Activation

BOOKKEEPING = frozenset(
    {
        "_attn_implementation",
        "_attn_implementation_autoset",
        "_commit_hash",
        "_name_or_path",
        "architectures",
        "attention_dropout",
        "attention_probs_dropout_prob",
        "attn_dropout_prob",
        "attn_implementation",
        "attn_pdrop",
        "auto_map",
        "aux_loss_alpha",
        "bad_words_ids",
        "begin_suppress_tokens",
        "bos_token_id",
        "chunk_size_feed_forward",
        "classifier_dropout",
        "cls_token_id",
        "decoder_start_token_id",
        "diversity_penalty",
        "do_sample",
        "dtype",
        "early_stopping",
        "emb_dropout_prob",
        "embd_pdrop",
        "embed_dropout",
        "embedding_dropout",
        "encoder_no_repeat_ngram_size",
        "eos_token_id",
        "exponential_decay_length_penalty",
        "finetuning_task",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "gradient_checkpointing",
        "hidden_dropout",
        "hidden_dropout_prob",
        "id2label",
        "initializer_range",
        "is_llama_config",
        "label2id",
        "length_penalty",
        "max_length",
        "max_new_tokens",
        "min_length",
        "mlp_dropout",
        "model_name",
        "model_type",
        "name_or_path",
        "no_repeat_ngram_size",
        "num_beam_groups",
        "num_beams",
        "num_labels",
        "num_return_sequences",
        "output_attentions",
        "output_hidden_states",
        "output_past",
        "output_router_logits",
        "output_scores",
        "pad_token_id",
        "prefix",
        "pretraining_tp",
        "problem_type",
        "remove_invalid_values",
        "repetition_penalty",
        "resid_pdrop",
        "residual_dropout",
        "return_dict",
        "return_dict_in_generate",
        "router_aux_loss_coef",
        "router_jitter_noise",
        "sbert_ce_default_activation_function",
        "sentence_transformers",
        "sep_token_id",
        "seq_aux",
        "suppress_tokens",
        "task_specific_params",
        "temperature",
        "tf_legacy_loss",
        "tokenizer_class",
        "top_k",
        "top_p",
        "torch_dtype",
        "torchscript",
        "transformers.js_config",
        "transformers_version",
        "typical_p",
        "unsloth_fixed",
        "unsloth_version",
        "use_bfloat16",
        "use_cache",
    }
)
"""Keys of config.json that say nothing about what the model computes."""

_NEUTRAL = {
    "add_cross_attention": False,
    "is_encoder_decoder": False,
    "pruned_heads": {},
    "tie_encoder_decoder": False,
}
"""Keys that transformers may write for every model, and what no model here differs from."""

_ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu2": "relu2",
}

_FULL, _SLIDING = "full_attention", "sliding_attention"

_REQUIRED = object()


class HFConfig:
    """config.json, read key by key. A key that holds null counts as absent, known or not.

    Every method raises ConfigError with the key, its value, and what is allowed.
    """

    def __init__(self, values: Mapping[str, Any], source: str = "config.json"):
        self._values = values
        self._source = source
        self._read: set[str] = set()

    @classmethod
    def from_file(cls, path: Path) -> "HFConfig":
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(
                f"There is no config.json in {path.parent}. A model folder holds config.json, "
                "tokenizer files and *.safetensors."
            ) from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not JSON: {error}") from None
        if not isinstance(values, dict):
            raise ConfigError(f"{path} must hold a JSON object, not {type(values).__name__}.")
        return cls(values, str(path))

    @property
    def architecture(self) -> str:
        names = self._values.get("architectures")
        if not (isinstance(names, list) and len(names) == 1 and isinstance(names[0], str)):
            raise self.error("architectures", "must be a list of one name")
        return names[0]

    def __call__(self, key: str, default: Any = _REQUIRED) -> Any:
        """The value of a key, whatever its type."""
        self._read.add(key)
        value = self._values.get(key)
        if value is not None:
            return value
        if default is _REQUIRED:
            raise ConfigError(f"{self._source} lacks {key!r}.")
        return default

    def is_null(self, key: str) -> bool:
        """Whether a key is there and holds null, for the few that tell this from absent."""
        return key in self._values and self._values[key] is None

    def expect(self, key: str, value: Any) -> None:
        """Refuses every value but this one. Absent is fine."""
        if self(key, value) != value:
            raise self.error(key, f"is supported as {value!r} only")

    def size(self, key: str, default: Any = _REQUIRED) -> Any:
        """A positive integer, or the default."""
        value = self(key, default)
        if value is default:
            return value
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.error(key, "must be a positive integer")
        return value

    def index(self, key: str, default: Any = _REQUIRED) -> int:
        """An integer from 0 on."""
        value = self(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.error(key, "must be an integer of at least 0")
        return value

    def divisor(self, key: str, total: int, *, of: str) -> int:
        """A size that divides another, which is the default."""
        value = self.size(key, total)
        if total % value:
            raise self.error(key, f"must divide {of} = {total}")
        return value

    def count(self, key: str, default: Any = _REQUIRED) -> int:
        """An integer from 0 on."""
        value = self(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.error(key, "must be an integer of at least 0")
        return value

    def inside(self, key: str, defaults: Mapping[str, Any] | None = None) -> "HFConfig":
        """A reader of the object that a key holds, with `defaults` for what it lacks; it has to be
        finished by itself."""
        value = self(key)
        if not isinstance(value, Mapping):
            raise self.error(key, "must be an object")
        named = {"architectures": self._values.get("architectures")}
        lacking = {k: v for k, v in (defaults or {}).items() if value.get(k) is None}
        return HFConfig({**value, **lacking, **named}, f"{self._source}, {key}")

    def at_most(self, key: str, most: int, *, of: str) -> int:
        """A size that another one limits."""
        value = self.size(key)
        if value > most:
            raise self.error(key, f"must be at most {of} = {most}")
        return value

    def number(self, key: str, default: Any = _REQUIRED) -> float:
        value = self(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, "must be a number")
        return float(value)

    def positive(self, key: str, default: Any = _REQUIRED) -> float:
        """A number above zero."""
        value = self.number(key, default)
        if value <= 0:
            raise self.error(key, "must be above 0")
        return value

    def optional_number(self, key: str) -> float | None:
        """A number, or None where it is absent."""
        return None if self(key, None) is None else self.number(key)

    def flag(self, key: str, default: Any = _REQUIRED) -> bool:
        value = self(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def activation(self, key: str = "hidden_act", default: Any = _REQUIRED) -> Activation:
        """An activation function, by the name that transformers has for it."""
        value = self(key, default)
        if value not in _ACTIVATIONS:
            raise self.error(key, f"is not known; known: {', '.join(_ACTIVATIONS)}")
        return _ACTIVATIONS[value]

    def head_size(self, d_model: int, num_heads: int) -> int:
        """`head_dim`, or the model's width divided by its heads."""
        value = self.size("head_dim", None)
        if value is None:
            if d_model % num_heads:
                raise self.error(
                    "num_attention_heads",
                    f"must divide hidden_size = {d_model} (no head_dim is given)",
                )
            value = d_model // num_heads
        if value % 2:
            raise ConfigError(
                f"{self._source}: heads have {value} features; RoPE turns pairs, so make it even."
            )
        return value

    def windows(self) -> tuple[int | None, ...]:
        """Each layer's sliding window, as Qwen says it: with a switch, and for some layers only.

        Which layers is said by layer_types, or else: those from max_window_layers on.
        """
        num_layers = self.size("num_hidden_layers")
        is_on = self.flag("use_sliding_window", False)
        types = self("layer_types", None)
        first = self.number("max_window_layers", _REQUIRED if is_on and not types else num_layers)
        slides = self.sliding_layers(lambda layer: is_on and layer >= first)
        window = self.size("sliding_window", None) if self("sliding_window", None) != 0 else None
        if any(slides) and not (is_on and window):
            raise self.error(
                "layer_types", "has sliding layers, but use_sliding_window or sliding_window is off"
            )
        return tuple(window if slide else None for slide in slides) if any(slides) else ()

    def sliding_layers(self, default: Callable[[int], bool]) -> list[bool]:
        """Whether each layer has a sliding window: as layer_types says, else by its number."""
        return self.layers_of(_SLIDING, default)

    def layers_of(self, kind: str, default: Callable[[int], bool]) -> list[bool]:
        """Whether each layer's attention is of a kind, not full: as layer_types says, else by its
        number."""
        num_layers = self.size("num_hidden_layers")
        types = self("layer_types", None)
        if types is None:
            return [default(layer) for layer in range(num_layers)]
        known = [given for given in types if given in (_FULL, kind)]
        if known != types or len(types) != num_layers:
            rule = f"must list {_FULL!r} or {kind!r} for each of the {num_layers} layers"
            raise self.error("layer_types", rule)
        return [given == kind for given in types]

    def finish(self) -> None:
        """Refuses keys that nobody has read: a model they change would be computed wrongly."""
        for key, value in _NEUTRAL.items():
            self.expect(key, value)
        given = {key for key, value in self._values.items() if value is not None}
        unread = sorted(given - self._read - BOOKKEEPING)
        if not unread:
            return
        hints = []
        for key in unread:
            near = difflib.get_close_matches(key, self._read, 1)
            hints.append(
                f"{key} = {short(self._values[key])}" + (f" (near: {near[0]})" if near else "")
            )
        raise ConfigError(
            f"{self._source} has keys that {self.architecture} does not know, so the model may "
            f"not be computed right: {'; '.join(hints)}. If a key has no effect, remove it."
        )

    def error(self, key: str, rule: str) -> ConfigError:
        return ConfigError(f"{self._source}: {key} = {short(self._values.get(key))} {rule}.")


def short(value: Any) -> str:
    """A value as JSON, cut to be part of a message."""
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
