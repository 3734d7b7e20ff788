"""The demo model's tokenizer: BPE over characters, with one token a digit and a byte fallback."""

import dataclasses
import itertools
import json
from collections.abc import Sequence

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from sgjax.demo.corpus import Document, documents

PAD, BOS, EOS, SYSTEM, USER, ASSISTANT, END = range(7)
SPECIAL = ("<|pad|>", "<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
PIECES = r"\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CHAT_TEMPLATE = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{%- if message.role == 'assistant' %}{{- '<|assistant|>' }}"
    "{%- elif message.role in ('system', 'developer') %}{{- '<|system|>' }}"
    "{%- else %}{{- '<|user|>' }}{%- endif %}"
    "{%- if message.content is string %}{{- message.content | trim }}"
    "{%- else %}{%- for part in message.content or [] %}"
    "{%- if part.type == 'text' %}{{- part.text | trim }}{%- endif %}{%- endfor %}{%- endif %}"
    "{{- '<|end|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A document's tokens, and how much the prediction of each one counts in the loss."""

    tokens: np.ndarray
    weights: np.ndarray


def _split() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(PIECES), behavior="isolated")


def _finished(vocab: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    tokenizer = Tokenizer(BPE(vocab, merges, byte_fallback=True))
    tokenizer.pre_tokenizer = _split()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A", pair="<|bos|> $A $B", special_tokens=[("<|bos|>", BOS)]
    )
    return tokenizer


def train_tokenizer(seed: int, vocab_size: int = 4096, num_documents: int = 60_000) -> Tokenizer:
    """A tokenizer learnt from the first documents of that seed."""
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL, *BYTES],
        limit_alphabet=200,
        show_progress=False,
    )
    learner = Tokenizer(BPE())
    learner.pre_tokenizer = _split()
    sample = itertools.islice(documents(f"{seed} tokenizer"), num_documents)
    learner.train_from_iterator((text for d in sample for _, text in d.turns), trainer)
    model = json.loads(learner.to_str())["model"]
    return _finished(model["vocab"], [tuple(pair) for pair in model["merges"]])


def rendered(document: Document) -> str:
    """The text that the model reads: what the chat template writes, or the plain text itself."""
    if document.turns[0][0] == "text":
        return f"<|bos|>{document.turns[0][1]}<|eos|>"
    return "<|bos|>" + "".join(f"<|{role}|>{text}<|end|>" for role, text in document.turns)


def _weights(tokens: np.ndarray, user_weight: float) -> np.ndarray:
    """One for what the assistant says and for plain text, `user_weight` for the rest."""
    if tokens[-1] == EOS:
        weights = np.ones(len(tokens), np.float32)
    else:
        speaker = np.where((tokens >= SYSTEM) & (tokens <= ASSISTANT), tokens, 0)
        last = np.maximum.accumulate(np.where(speaker > 0, np.arange(len(tokens)), 0))
        said = (tokens[last] == ASSISTANT) & (speaker == 0)
        weights = np.where(said, 1.0, user_weight).astype(np.float32)
    weights[0] = 0.0
    return weights


def encode(
    tokenizer: Tokenizer, batch: Sequence[Document], user_weight: float = 0.1
) -> list[Encoded]:
    encodings = tokenizer.encode_batch([rendered(d) for d in batch], add_special_tokens=False)
    every = [np.asarray(e.ids, np.int32) for e in encodings]
    return [Encoded(tokens, _weights(tokens, user_weight)) for tokens in every]
