"""Vocabulary files older than tokenizer.json: sentencepiece's tokenizer.model and tiktoken's ranks.

transformers turns them into what the tokenizers library runs. The library that a file is written
for then encodes the same texts, and where one id differs, the file is refused: that a conversion is
meant to be exact is not enough.
"""

import base64
import binascii
import contextlib
import importlib
import importlib.util
import itertools
import json
import random
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from sgjax.errors import CheckpointError

WHAT_TO_DO = (
    "Point --tokenizer-path at a folder or a hub id that has a tokenizer.json of this model, or "
    "serve token ids alone with --skip-tokenizer-init."
)
_MIXED_TEXTS = 2000


def read_sentencepiece(
    path: Path,
    *,
    parsed: Mapping[int, AddedToken] | None = None,
    unparsed: Sequence[str] = (),
    prefixes_each_part: bool = True,
) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    """The tokenizer of a sentencepiece model, and the names of its own special tokens.

    Args:
        parsed: tokens that count as such where a text writes them, by id; one may rename a piece.
        unparsed: tokens behind the vocabulary that no text ever gives.
        prefixes_each_part: whether the space put before a text is put behind such tokens too. If
            not, none is put before a space either, which transformers 4 did by default, but not its
            classes in Python.

    Raises:
        CheckpointError: it cannot be read, or would give other ids than sentencepiece does.
    """
    parsed = parsed or {}
    require("sentencepiece", "protobuf", path=path)
    from sentencepiece import SentencePieceProcessor  # pyright: ignore[reportMissingImports]

    proto = _read_proto(path)
    processor = SentencePieceProcessor(model_proto=proto.SerializeToString())
    pieces = [piece.piece for piece in proto.pieces]
    names = _renamed(path, pieces, parsed, unparsed)
    with _told(path):
        backend = _convert(proto, names, legacy=prefixes_each_part)
    _add(backend, path, parsed)
    texts = _texts_of_pieces(piece.piece for piece in proto.pieces if piece.type == _NORMAL)
    asides = [piece.piece for piece in proto.pieces if piece.type == _USER_DEFINED][:500]
    texts = itertools.chain(
        texts, unparsed, (aside + token for aside in asides for token in ("a", *unparsed))
    )
    if not prefixes_each_part:
        texts = (text for text in texts if not text.startswith((" ", "▁")))
    replaced = [piece for piece, name in zip(pieces, names, strict=False) if piece != name]
    marks = [*replaced, *(token.content for token in parsed.values())]
    _compare(path, "sentencepiece", backend, processor.encode, texts, marks)
    spec = proto.trainer_spec
    ends = {
        "bos_token": (spec.bos_id, spec.bos_piece),
        "eos_token": (spec.eos_id, spec.eos_piece),
        "unk_token": (spec.unk_id, spec.unk_piece),
    }
    return backend, {name: piece for name, (token_id, piece) in ends.items() if token_id >= 0}


def read_tiktoken(
    path: Path, *, pattern: str, parsed: Mapping[int, AddedToken], is_normalized: bool
) -> tokenizers.Tokenizer:
    """The tokenizer of a file of tiktoken's ranks.

    Args:
        pattern: tiktoken's `pat_str`, which cuts a text into words.
        parsed: the special tokens, by id.
        is_normalized: whether a text is brought into Unicode's form NFC first.

    Raises:
        CheckpointError: it cannot be read, or would give other ids than tiktoken does.
    """
    return _of_ranks(
        path, _read_ranks(path), pattern=pattern, parsed=parsed, is_normalized=is_normalized
    )


def read_tekken(path: Path) -> tokenizers.Tokenizer:
    """The tokenizer of Mistral's tekken.json: ranks behind special tokens, which have the first
    ids. As many words count as its `default_vocab_size` leaves room for.

    Raises:
        CheckpointError: it cannot be read, or would give other ids than tiktoken does.
    """
    with _told(path):
        tekken = json.loads(path.read_text(encoding="utf-8"))
        config = tekken["config"]
        num_special = config["default_num_special_tokens"]
        names = {i: f"<SPECIAL_{i}>" for i in range(num_special)}
        names |= {token["rank"]: token["token_str"] for token in tekken["special_tokens"]}
        if len(names) > num_special:
            raise ValueError(f"more than {num_special} special tokens")
        words = tekken["vocab"][: config["default_vocab_size"] - num_special]
        ranks = {base64.b64decode(w["token_bytes"]): w["rank"] + num_special for w in words}
    parsed = {i: AddedToken(name, special=True, normalized=False) for i, name in names.items()}
    return _of_ranks(path, ranks, pattern=config["pattern"], parsed=parsed, is_normalized=False)


def _of_ranks(
    path: Path,
    ranks: dict[bytes, int],
    *,
    pattern: str,
    parsed: Mapping[int, AddedToken],
    is_normalized: bool,
) -> tokenizers.Tokenizer:
    require("tiktoken", path=path)
    import tiktoken

    backend = _convert_ranks(path, ranks, parsed)
    backend.normalizer = normalizers.NFC() if is_normalized else None
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    _add(backend, path, parsed)
    reference = tiktoken.Encoding(
        path.name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={}
    )

    def encode(texts: list[str]) -> list[list[int]]:
        if is_normalized:
            texts = [unicodedata.normalize("NFC", text) for text in texts]
        return reference.encode_ordinary_batch(texts)

    texts = _texts_of_pieces(token.decode(errors="ignore") for token in ranks)
    marks = [token.content for token in parsed.values()]
    _compare(path, "tiktoken", backend, encode, texts, marks)
    return backend


def require(*packages: str, path: Path) -> None:
    """Raises CheckpointError where a package that reads the file is not installed."""
    missing = [package for package in packages if not is_installed(package)]
    if missing:
        raise CheckpointError(
            f"{path} needs packages that are not installed: pip install {' '.join(missing)}. "
            f"Or go without: {WHAT_TO_DO}"
        )


def is_installed(package: str) -> bool:
    module = {"protobuf": "google.protobuf"}.get(package, package)
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is not there
        return False


_NORMAL, _USER_DEFINED = 1, 4  # sentencepiece's types of pieces


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Whatever a library raises within becomes an error that names the file."""
    try:
        yield
    except Exception as error:  # foreign code reads a foreign file: anything may come
        raise CheckpointError(
            f"{path} cannot be read: {error!r}. Fetch it again. {WHAT_TO_DO}"
        ) from error


def _read_proto(path: Path) -> Any:
    messages: Any = importlib.import_module("sentencepiece.sentencepiece_model_pb2")
    with _told(path):
        proto = messages.ModelProto.FromString(path.read_bytes())
    if not proto.pieces:
        raise CheckpointError(f"{path} has no pieces. Fetch it again. {WHAT_TO_DO}")
    return proto


def _renamed(
    path: Path, pieces: Sequence[str], parsed: Mapping[int, AddedToken], unparsed: Sequence[str]
) -> list[str]:
    """The name of each id. One name for two ids would give one of them for the other."""
    names = [parsed[i].content if i in parsed else piece for i, piece in enumerate(pieces)]
    names += unparsed
    (twice, count), *_ = Counter(names).most_common(1)
    if count > 1:
        raise CheckpointError(f"{path} has two ids for {twice!r}, and one must do. {WHAT_TO_DO}")
    return names


def _convert(proto: Any, names: Sequence[str], *, legacy: bool) -> tokenizers.Tokenizer:
    from transformers.convert_slow_tokenizer import SpmConverter  # slow to import, seldom needed

    scores = [piece.score for piece in proto.pieces]
    is_unigram = proto.trainer_spec.model_type == proto.trainer_spec.UNIGRAM
    vocab: Any = (
        list(itertools.zip_longest(names, scores, fillvalue=-1e9))
        if is_unigram
        else {name: i for i, name in enumerate(names)}
    )
    built = SpmConverter.build_tokenizer_from_spm_proto(proto=proto, vocab=vocab, legacy=legacy)
    if built is None:
        raise ValueError("neither BPE nor Unigram")
    return built


def _read_ranks(path: Path) -> dict[bytes, int]:
    """tiktoken reads them too, but keeps a copy by path, which a newer file does not replace."""
    try:
        lines = [line.split() for line in path.read_bytes().splitlines() if line]
        ranks = {base64.b64decode(token, validate=True): int(rank) for token, rank in lines}
    except (OSError, ValueError, binascii.Error) as error:
        raise CheckpointError(
            f"{path} cannot be read as tiktoken's ranks: {error}. Fetch it again. {WHAT_TO_DO}"
        ) from error
    if not ranks or len(set(ranks.values())) < len(ranks):
        raise CheckpointError(f"{path} has no ranks, or one twice. Fetch it again.")
    return ranks


def _convert_ranks(
    path: Path, ranks: dict[bytes, int], parsed: Mapping[int, AddedToken]
) -> tokenizers.Tokenizer:
    from transformers.convert_slow_tokenizer import TikTokenConverter

    converter: Any = TikTokenConverter(vocab_file=str(path))
    converter.load_tiktoken_bpe = lambda _: ranks
    vocab, merges = converter.extract_vocab_merges_from_model(str(path))
    taken = set(ranks.values())
    for token_id, token in parsed.items():
        if token_id in taken or token.content in vocab:
            raise CheckpointError(
                f"{token.content!r} (id {token_id}) is a word or an id of {path.name} too: the "
                f"files beside it are of another model. Fetch all again. {WHAT_TO_DO}"
            )
        vocab[token.content] = token_id
    return tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))


def _add(backend: tokenizers.Tokenizer, path: Path, parsed: Mapping[int, AddedToken]) -> None:
    for token_id, token in sorted(parsed.items(), key=lambda item: item[0]):
        backend.add_tokens([token])
        if (found := backend.token_to_id(token.content)) != token_id:
            raise CheckpointError(
                f"tokenizer_config.json gives {token.content!r} the id {token_id}, but behind "
                f"{path} it would be {found}. Fetch both files again. {WHAT_TO_DO}"
            )


def _texts_of_pieces(pieces: Iterable[str]) -> Iterator[str]:
    """Each piece as a text, and texts of some drawn ones."""
    words = [text for piece in pieces if (text := piece.replace("▁", " "))]
    yield from words
    if not words:
        return
    draw = random.Random(0)
    for n in range(_MIXED_TEXTS):
        yield ("" if n % 2 else " ").join(draw.choices(words, k=12))


def _compare(
    path: Path,
    library: str,
    backend: tokenizers.Tokenizer,
    reference: Callable[[list[str]], list[list[int]]],
    texts: Iterable[str],
    marks: Sequence[str],
) -> None:
    """Raises CheckpointError at the first text of which the two libraries give other ids, texts
    with a mark left out."""
    plain = [text for text in texts if not any(mark in text for mark in marks)]
    found = backend.encode_batch(plain, add_special_tokens=False)
    for text, mine, theirs in zip(plain, found, reference(plain), strict=True):
        if mine.ids != list(theirs):
            raise CheckpointError(
                f"{path} cannot be served exactly: {library} encodes {text!r} as {list(theirs)}, "
                f"but the tokenizers library as {mine.ids}. {WHAT_TO_DO}"
            )
