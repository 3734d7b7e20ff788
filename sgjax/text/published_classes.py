"""Tokenizer classes that checkpoints bring as code, made of their vocabulary files alone.

Code of checkpoints is never run. What each of these classes does is written down here, as far as
its ids go: the file it reads, the tokens it adds, and what it puts around a text.

    ChatGLMTokenizer      ChatGLM2 and 3        tokenizer.model of sentencepiece
    ChatGLM4Tokenizer     GLM-4 9B, at first    tokenizer.model of tiktoken
    InternLM2Tokenizer    InternLM2 and 2.5     tokenizer.model of sentencepiece
    QWenTokenizer         Qwen (the first)      qwen.tiktoken
    Arcade100kTokenizer   StableLM 2, at first  arcade100k.tiktoken

Grok-1 has no class but sentencepiece itself, and Mistral's tekken.json is read by a package of its
own. LlamaTokenizer is here too, for checkpoints that have no tokenizer.json: transformers 5.24
reads their tokenizer.model unlike sentencepiece (other merges, a text that begins with a space,
what follows a special token).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken
from tokenizers.processors import TemplateProcessing

from sgjax.errors import CheckpointError
from sgjax.text.checkpoint_files import extra_special_tokens, read_json, read_special_tokens
from sgjax.text.vocabulary_files import (
    WHAT_TO_DO,
    read_sentencepiece,
    read_tekken,
    read_tiktoken,
)

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
    r"\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""GPT-4's words, but for how many digits are one."""


@dataclass(frozen=True)
class Made:
    """A tokenizer as its published class would encode."""

    backend: tokenizers.Tokenizer
    special_tokens: Mapping[str, str]


def make(folder: Path) -> Made | None:
    """The tokenizer of a checkpoint without tokenizer.json; None where transformers has its class.

    Raises:
        CheckpointError: its class is code, and not one of these; or its files are not as expected.
    """
    config = read_json(folder / "tokenizer_config.json")
    if not config:
        return _without_config(folder)
    code = _code_of(config)
    names = [name.rpartition(".")[2] for name in code] or [str(config.get("tokenizer_class"))]
    for name in names:
        name = name.removesuffix("Fast")
        recipe = _RECIPES.get(name)
        if recipe is not None and not (code and name == "LlamaTokenizer"):  # not transformers' own
            return recipe(folder, config)
    if code or not _has_transformers(names[0]):
        raise CheckpointError(_refusal(folder, names[0], code))
    return None


def _code_of(config: Mapping[str, Any]) -> list[str]:
    """What is named as code: "file.Class", maybe behind "owner/name--"."""
    named = config.get("auto_map") or {}
    named = named.get("AutoTokenizer") if isinstance(named, Mapping) else named
    listed = [named] if isinstance(named, str) else named or []
    return [name for name in listed if isinstance(name, str)]


def _has_transformers(name: str) -> bool:
    if name == "None":
        return True  # it goes by config.json then
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    return any(tokenizer_class_from_name(n) for n in (name, name.removesuffix("Fast")))


def _refusal(folder: Path, name: str, code: Sequence[str]) -> str:
    where = f" ({code[0]})" if code else ""
    return (
        f"{folder} has no tokenizer.json, and its tokenizer_config.json names the class {name}"
        f"{where}, which exists only as code. sgjax never runs code of a checkpoint, with "
        f"--trust-remote-code neither, and does not know what this class does. "
        f"{_HINTS.get(name, '')}{WHAT_TO_DO}"
    )


_HINTS = {
    "TiktokenTokenizerWrapper": "Later revisions of DBRX have a tokenizer.json: fetch one. ",
}


def _file(folder: Path, name: str, config: Mapping[str, Any]) -> Path:
    path = folder / name
    if not path.is_file():
        raise CheckpointError(
            f"{folder} has neither tokenizer.json nor {name}, which "
            f"{config.get('tokenizer_class', 'its tokenizer')} reads. Fetch it. {WHAT_TO_DO}"
        )
    return path


def _listed(folder: Path, config: Mapping[str, Any]) -> dict[int, AddedToken]:
    """The added tokens of tokenizer_config.json by id, or those of the older added_tokens.json.

    They are found in a text as it is written, which is what classes written in Python do.
    """
    flags = ("single_word", "lstrip", "rstrip", "special")
    older = {i: {"content": text} for text, i in read_json(folder / "added_tokens.json").items()}
    try:
        return {
            int(token_id): AddedToken(
                entry["content"], normalized=False, **{f: entry[f] for f in flags if f in entry}
            )
            for token_id, entry in (config.get("added_tokens_decoder") or older).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder / 'tokenizer_config.json'} is not as expected: {error!r}. Fetch it again."
        ) from error


def _put_around(
    backend: tokenizers.Tokenizer,
    before: Sequence[str],
    after: Sequence[str] = (),
    *,
    pair: Sequence[str] = ("$A", "$B:0"),
) -> None:
    """What stands before and after a text, and two."""
    template = TemplateProcessing(
        single=[*before, "$A", *after],
        pair=[*before, *pair, *after],
        special_tokens=[
            (token, backend.token_to_id(token)) for token in {*before, *after, *pair[1:-1]}
        ],
    )
    backend.post_processor = template


def _llama(folder: Path, config: Mapping[str, Any]) -> Made | None:
    """InternLM2's and Llama's: BOS is put before a text unless the config says otherwise."""
    if config.get("add_prefix_space") is False:
        return None
    path = _file(folder, "tokenizer.model", config)
    is_legacy = config.get("legacy") is not False
    parsed = _listed(folder, config)
    backend, own = read_sentencepiece(path, parsed=parsed, prefixes_each_part=is_legacy)
    special_tokens = own | read_special_tokens(folder)
    older = read_json(folder / "special_tokens_map.json")
    extra = extra_special_tokens(config) or extra_special_tokens(older)
    _flag(backend, [*special_tokens.values(), *extra])

    def end(name: str, *, is_default: bool) -> list[str]:
        token = special_tokens.get(f"{name}_token")
        if token is None or not config.get(f"add_{name}_token", is_default):
            return []
        return [token] if backend.token_to_id(token) is not None else []

    before, after = end("bos", is_default=True), end("eos", is_default=False)
    _put_around(backend, before, after, pair=["$A", *after, *before, "$B:0"])
    return Made(backend, special_tokens)


def _flag(backend: tokenizers.Tokenizer, named: Sequence[str]) -> None:
    """Lets texts write these tokens, as far as they have an id."""
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    missing = [token for token in dict.fromkeys(named) if token not in known]
    backend.add_special_tokens(
        [AddedToken(t, normalized=False) for t in missing if backend.token_to_id(t) is not None]
    )


_CHATGLM = ("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop")
_CHATGLM += ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")


def _chatglm(folder: Path, config: Mapping[str, Any]) -> Made:
    """Nine tokens follow the vocabulary (ChatGLM2's class names five of them); [gMASK] and sop
    stand before a text. A text gives none of them but those that the config lists as added."""
    path = _file(folder, "tokenizer.model", config)
    parsed = _listed(folder, config)
    backend, own = read_sentencepiece(path, parsed=parsed, unparsed=_CHATGLM)
    _put_around(backend, ["[gMASK]", "sop"])
    return Made(backend, {name: own[name] for name in ("eos_token", "unk_token") if name in own})


def _chatglm4(folder: Path, config: Mapping[str, Any]) -> Made:
    """[gMASK] and <sop> stand before a text; all added tokens are in the config."""
    path = _file(folder, "tokenizer.model", config)
    parsed = _listed(folder, config)
    if not {"[gMASK]", "<sop>"} <= {token.content for token in parsed.values()}:
        raise CheckpointError(
            f"{folder / 'tokenizer_config.json'} does not list [gMASK] and <sop> among "
            f"added_tokens_decoder: it is of an older revision. Fetch a newer one. {WHAT_TO_DO}"
        )
    backend = read_tiktoken(path, pattern=_WORDS % "{1,3}", parsed=parsed, is_normalized=False)
    _put_around(backend, ["[gMASK]", "<sop>"])
    return Made(backend, read_special_tokens(folder))


def _after(start: int, names: Sequence[str]) -> dict[int, AddedToken]:
    """Tokens that are looked for once a text is normalized, as these classes do."""
    return {
        token_id: AddedToken(name, special=True, normalized=True)
        for token_id, name in enumerate(names, start=start)
    }


_QWEN = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{n}|>" for n in range(205))]
_ARCADE = [
    "<|endoftext|>",
    *(f"<|fim_{part}|>" for part in ("prefix", "middle", "suffix", "pad")),
    *("<gh_stars>", "<filename>", "<issue_start>", "<issue_comment>", "<issue_closed>"),
    *(f"<jupyter_{part}>" for part in ("start", "text", "code", "output")),
    *("<empty_output>", "<commit_before>", "<commit_msg>", "<commit_after>", "<reponame>"),
    *("<|endofprompt|>", "<|im_start|>", "<|im_end|>", "<|pause|>"),
    *(f"<|reg{n}|>" for n in range(8)),
    "<|extra0|>",
]


def _of_ranks(file: str, special: Mapping[int, AddedToken]) -> Callable[..., Made]:
    """Qwen's and its copy, StableLM's: NFC, single digits, nothing around a text."""

    def recipe(folder: Path, config: Mapping[str, Any]) -> Made:
        path = _file(folder, file, config)
        if config.get("extra_vocab_file"):
            raise CheckpointError(
                f"{folder / 'tokenizer_config.json'} names an extra_vocab_file, which is not read. "
                f"{WHAT_TO_DO}"
            )
        backend = read_tiktoken(path, pattern=_WORDS % "", parsed=special, is_normalized=True)
        return Made(backend, {"eos_token": "<|endoftext|>"})

    return recipe


def _without_config(folder: Path) -> Made | None:
    """Grok-1's authors run sentencepiece itself: nothing is around its ids, and no text gives a
    special token. Mistral's newer models bring tekken.json alone, which mistral-common reads; they
    are trained with BOS."""
    architectures = read_json(folder / "config.json").get("architectures") or []
    if any(str(name).startswith("Grok1") for name in architectures):
        return Made(*read_sentencepiece(_file(folder, "tokenizer.model", {})))
    if not (folder / "tekken.json").is_file():
        return None
    backend = read_tekken(folder / "tekken.json")
    _put_around(backend, ["<s>"])
    return Made(backend, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})


_RECIPES: dict[str, Callable[[Path, Mapping[str, Any]], Made | None]] = {
    "Arcade100kTokenizer": _of_ranks("arcade100k.tiktoken", _after(100257, _ARCADE)),
    "ChatGLM4Tokenizer": _chatglm4,
    "ChatGLMTokenizer": _chatglm,
    "InternLM2Tokenizer": _llama,
    "LlamaTokenizer": _llama,
    "QWenTokenizer": _of_ranks("qwen.tiktoken", _after(151643, _QWEN)),
}
