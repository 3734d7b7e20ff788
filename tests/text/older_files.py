"""Folders of checkpoints without tokenizer.json, as they were published, around tiny vocabularies.

Each comes with what its published class does, said by the library that class is written with.
"""

import base64
import functools
import io
import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tests.text.tokenizers_for_tests import CORPUS

GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = GPT4.replace("{1,3}", "")
GLM4_TOKENS = ("<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|user|>")
CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


@dataclass(frozen=True)
class Published:
    """What a class gives for a text (nothing put around it), and around which ids it is put."""

    encode: Callable[[str], list[int]]
    before: Sequence[int] = ()
    eos: int | None = None


def auto_map(file: str, name: str, fast: str | None = None) -> dict[str, Any]:
    return {"tokenizer_class": name, "auto_map": {"AutoTokenizer": [f"{file}.{name}", fast]}}


def added(token_id: int, content: str) -> dict[str, Any]:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {str(token_id): {"content": content, "special": True, **flags}}


def write(folder: Path, config: dict[str, Any] | None, **files: bytes) -> Path:
    """A folder with code that must never run."""
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        code = f"open({str(folder / 'ran')!r}, 'w')\n"
        for name in ("qwen", "arcade100k", "chatglm", "internlm2", "internlm2_fast"):
            (folder / f"tokenization_{name}.py").write_text(code)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_bytes(content)
    return folder


@functools.cache
def sentencepiece_model(**options: Any) -> bytes:
    """As Llama's: BPE with bytes, each space counts."""
    trainer = pytest.importorskip("sentencepiece").SentencePieceTrainer
    settings = {
        "model_type": "bpe",
        "vocab_size": 440,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "hard_vocab_limit": False,
        "minloglevel": 2,
    }
    options = {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}
    out = io.BytesIO()
    trainer.train(sentence_iterator=iter(CORPUS * 3), model_writer=out, **settings | options)
    return out.getvalue()


def processor(model: bytes) -> Any:
    return pytest.importorskip("sentencepiece").SentencePieceProcessor(model_proto=model)


def around_tokens(encode: Callable[[str], list[int]], ids: dict[str, int]) -> Callable:
    """What tokenizers written in Python do: cut a text at its tokens, encode each part."""
    cut = re.compile("|".join(re.escape(t) for t in sorted(ids, key=len, reverse=True)) or "(?!)")

    def with_tokens(text: str) -> list[int]:
        found, at = [], 0
        for match in cut.finditer(text):
            found += encode(text[at : match.start()]) if match.start() > at else []
            found.append(ids[match[0]])
            at = match.end()
        return found + (encode(text[at:]) if at < len(text) else [])

    return with_tokens


@functools.cache
def ranks() -> dict[bytes, int]:
    """tiktoken's: 256 bytes, then words in the order of their merges."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False),
    )
    byte_of = {trained_char(byte): byte for byte in range(256)}
    vocab = trained.get_vocab()
    return {bytes(byte_of[c] for c in t): i for t, i in sorted(vocab.items(), key=lambda x: x[1])}


def trained_char(byte: int) -> str:
    """GPT-2's character for a byte."""
    prints = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [other for other in range(256) if other not in prints]
    return chr(byte) if byte in prints else chr(0x100 + others.index(byte))


def rank_file() -> bytes:
    return b"".join(base64.b64encode(t) + b" %d\n" % rank for t, rank in ranks().items())


def tiktoken_encoder(pattern: str, special: dict[str, int], *, nfc: bool) -> Callable:
    encoding = tiktoken.Encoding(
        "test", pat_str=pattern, mergeable_ranks=ranks(), special_tokens=special
    )

    def encode(text: str) -> list[int]:
        text = unicodedata.normalize("NFC", text) if nfc else text
        return encoding.encode(text, allowed_special="all")

    return encode


def qwen(folder: Path) -> Published:
    config = {"model_max_length": 8192, **auto_map("tokenization_qwen", "QWenTokenizer")}
    write(folder, config, qwen__tiktoken=rank_file())
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205))]
    special = {name: 151643 + i for i, name in enumerate(names)}
    return Published(tiktoken_encoder(QWEN, special, nfc=True), eos=151643)


def stablelm2(folder: Path) -> Published:
    config = auto_map("tokenization_arcade100k", "Arcade100kTokenizer")
    write(folder, config, arcade100k__tiktoken=rank_file())
    special = {"<|endoftext|>": 100257, "<|im_start|>": 100277, "<|im_end|>": 100278}
    return Published(tiktoken_encoder(QWEN, special, nfc=True), eos=100257)


def glm4(folder: Path) -> Published:
    ids = {token: len(ranks()) + i for i, token in enumerate(GLM4_TOKENS)}
    listed = {k: v for token, i in ids.items() for k, v in added(i, token).items()}
    config = auto_map("tokenization_chatglm", "ChatGLM4Tokenizer")
    config |= {"added_tokens_decoder": listed, "eos_token": "<|endoftext|>"}
    write(folder, config, tokenizer__model=rank_file())
    words = tiktoken_encoder(GPT4, {}, nfc=False)
    before = (ids["[gMASK]"], ids["<sop>"])
    return Published(around_tokens(words, ids), before, ids["<|endoftext|>"])


def chatglm2(folder: Path) -> Published:
    """Its config lists no tokens, so a text gives none."""
    config = {"name_or_path": "THUDM/chatglm2-6b", "remove_space": False, "do_lower_case": False}
    config |= auto_map("tokenization_chatglm", "ChatGLMTokenizer")
    model = sentencepiece_model()
    write(folder, config, tokenizer__model=model)
    size = processor(model).vocab_size()
    return Published(processor(model).encode, (size + 1, size + 3), 2)


def chatglm3(folder: Path) -> Published:
    """Its config lists those that its chat template writes."""
    model = sentencepiece_model()
    size = processor(model).vocab_size()
    ids = {"[gMASK]": size + 1, "sop": size + 3, "<|user|>": size + 6, "<|assistant|>": size + 7}
    listed = {k: v for token, i in ids.items() for k, v in added(i, token).items()}
    config = auto_map("tokenization_chatglm", "ChatGLMTokenizer")
    config |= {"added_tokens_decoder": listed, "chat_template": CHAT}
    write(folder, config, tokenizer__model=model)
    encode = around_tokens(processor(model).encode, ids)
    return Published(encode, (size + 1, size + 3), 2)


def internlm2(folder: Path) -> Published:
    """Its chat tokens rename the last pieces, which were left unused."""
    unused = ("[UNUSED_TOKEN_145]", "[UNUSED_TOKEN_146]")
    model = sentencepiece_model(user_defined_symbols=unused)
    sp = processor(model)
    start, end = (sp.piece_to_id(piece) for piece in unused)
    fast = "tokenization_internlm2_fast.InternLM2TokenizerFast"
    config = auto_map("tokenization_internlm2", "InternLM2Tokenizer", fast) | {
        "added_tokens_decoder": {
            **added(0, "<unk>"),
            **added(1, "<s>"),
            **added(2, "</s>"),
            **added(end, "<|im_end|>"),
            **added(start, "<|im_start|>"),
        },
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "bos_token": "<s>",
        "chat_template": CHAT,
        "decode_with_prefix_space": False,
        "eos_token": "</s>",
        "pad_token": "</s>",
        "unk_token": "<unk>",
    }
    write(folder, config, tokenizer__model=model)
    (folder / "config.json").write_text(
        json.dumps({"model_type": "internlm2", "auto_map": {"AutoConfig": "evil.Config"}})
    )
    ids = {"<unk>": 0, "<s>": 1, "</s>": 2, "<|im_start|>": start, "<|im_end|>": end}
    return Published(around_tokens(sp.encode, ids), (1,), 2)


def llama2(folder: Path) -> Published:
    """Llama 1 and 2, and what was tuned from them, where tokenizer.model is all there is."""
    model = sentencepiece_model()
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
    write(folder, config, tokenizer__model=model)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    ids = {"<unk>": 0, "<s>": 1, "</s>": 2}
    return Published(around_tokens(processor(model).encode, ids), (1,), 2)


def grok1(folder: Path) -> Published:
    symbols = ("\n", "\n\n", *"0123456789", "  ")
    pieces = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
    names = {f"{name}_piece": f"[{name.upper()}]" for name in ("pad", "bos", "eos", "unk")}
    model = sentencepiece_model(**pieces, **names, user_defined_symbols=symbols)
    write(folder, None, tokenizer__model=model)
    (folder / "config.json").write_text('{"architectures": ["Grok1ModelForCausalLM"]}')
    return Published(processor(model).encode, eos=2)


def tekken(folder: Path, *, spare: int = 0) -> Published:
    """As Mistral's models of 2025. `spare` words at the end do not count."""
    specials = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    words = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for token, rank in ranks().items()
    ]
    described = {
        "config": {
            "pattern": QWEN,
            "default_num_special_tokens": 8,
            "default_vocab_size": len(words) + 8 - spare,
            "version": "v7",
        },
        "vocab": words,
        "special_tokens": [
            {"rank": i, "token_str": t, "is_control": True} for i, t in enumerate(specials)
        ],
    }
    write(folder, None, tekken__json=json.dumps(described).encode())
    (folder / "config.json").write_text(
        '{"model_type": "mistral", "architectures": ["MistralForCausalLM"]}'
    )
    kept = {t: rank + 8 for t, rank in ranks().items() if rank < len(words) - spare}
    encoding = tiktoken.Encoding("tekken", pat_str=QWEN, mergeable_ranks=kept, special_tokens={})
    ids = {token: i for i, token in enumerate(specials)}
    return Published(around_tokens(encoding.encode_ordinary, ids), (1,), 2)


FAMILIES = {
    make.__name__: make
    for make in (
        qwen,
        stablelm2,
        glm4,
        chatglm2,
        chatglm3,
        internlm2,
        llama2,
        grok1,
        tekken,
    )
}
