"""Small tokenizers of each kind, built in a moment, and folders of checkpoints that hold them."""

import functools
import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.pre_tokenizers import ByteLevel

CORPUS = [
    "The quick brown fox jumps over the lazy dog. END of story.",
    "the end, the END, and then the very END: stop stop stopping",
    "naïve café übergröße — ¿qué? 中文分词 日本語 😀😀 👩‍👩‍👧 \n\n\tdef f(x):\n    return x",
] * 4
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


@functools.cache
def byte_level() -> Tokenizer:
    """As GPT-2, Llama-3, Qwen: 256 bytes and merges; one added token that is not special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        initial_alphabet=ByteLevel.alphabet(),
        special_tokens=["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<unk>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens(["<tool→>", "<think>"])
    return tokenizer


@functools.cache
def byte_fallback() -> Tokenizer:
    """As Llama-2: "▁" for spaces, one put before a text, bytes for what the vocabulary lacks."""
    tokenizer = _sentencepiece_bpe()
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


@functools.cache
def byte_fallback_unstripped() -> Tokenizer:
    """As Gemma: like Llama-2, with no space before a text."""
    tokenizer = _sentencepiece_bpe()
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer


def _sentencepiece_bpe() -> Tokenizer:
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    for token in "▁aehtnESNDxyzé中":
        vocab[token] = len(vocab)
    merges = [("▁", "a"), ("▁", "▁"), ("h", "e"), ("t", "he"), ("▁", "the"), ("N", "D")]
    for left, right in merges:
        vocab[left + right] = len(vocab)
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


@functools.cache
def metaspace() -> Tokenizer:
    """As T5: Unigram, Metaspace on both sides."""
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -2.0), ("▁the", -1.0)]
    pieces += [(character, -3.0) for character in "abcdethnESNDé中"]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


@functools.cache
def word_piece() -> Tokenizer:
    """As BERT."""
    words = ["<unk>", "<s>", "</s>", "the", "##re", "end", "##ing", ".", ",", "don", "'", "##t"]
    tokenizer = Tokenizer(
        models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


@functools.cache
def words_alone() -> Tokenizer:
    """No decoder at all: words with spaces between."""
    words = ["<unk>", "<s>", "</s>", "the", "end", "中文", "😀"]
    tokenizer = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


KINDS = {
    make.__name__: make
    for make in (
        byte_level,
        byte_fallback,
        byte_fallback_unstripped,
        metaspace,
        word_piece,
        words_alone,
    )
}


def save_checkpoint(folder: Path, tokenizer: Tokenizer | None, **config: Any) -> Path:
    """Writes tokenizer.json and tokenizer_config.json as a checkpoint has them."""
    if tokenizer is not None:
        tokenizer.save(str(folder / "tokenizer.json"))
    full = {"tokenizer_class": "PreTrainedTokenizerFast", **SPECIAL, **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(full), encoding="utf-8")
    return folder
