"""A checkpoint's tokenizer: text to ids and back."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import tokenizers
from tokenizers import AddedToken
from tokenizers.processors import TemplateProcessing

from sgjax.errors import CheckpointError, InvalidRequest
from sgjax.text import published_classes
from sgjax.text.checkpoint_files import (
    SPECIAL_NAMES,
    extra_special_tokens,
    read_json,
    read_special_tokens,
)
from sgjax.text.detokenizer import Detokenizer
from sgjax.text.pieces import Pieces
from sgjax.text.vocabulary_files import WHAT_TO_DO, is_installed


class Tokenizer:
    """Text to token ids and back. Threads may share it."""

    def __init__(self, backend: tokenizers.Tokenizer, special_tokens: Mapping[str, str]):
        """`special_tokens`: `{"eos_token": "</s>", ...}`. The backend is taken over.

        Raises:
            ConfigError: its decoder cannot be streamed.
        """
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self.special_tokens = {
            name: token
            for name, token in special_tokens.items()
            if backend.token_to_id(token) is not None
        }
        self._pieces = Pieces(backend)
        self._special_ids = _special_ids(backend, self.special_tokens)
        self.vocab_size = 1 + max(backend.get_vocab(with_added_tokens=True).values(), default=-1)
        """One more than the largest id; the model's own vocabulary may be padded beyond."""

    @property
    def bos_token(self) -> str | None:
        return self.special_tokens.get("bos_token")

    @property
    def eos_token(self) -> str | None:
        return self.special_tokens.get("eos_token")

    @property
    def bos_id(self) -> int | None:
        return None if self.bos_token is None else self.token_id(self.bos_token)

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """The tokenizer's own EOS; generation_config.json may name more."""
        found = None if self.eos_token is None else self.token_id(self.eos_token)
        return () if found is None else (found,)

    def token_id(self, token: str) -> int | None:
        """The id of a token as the vocabulary writes it."""
        return self.backend.token_to_id(token)

    @property
    def added_tokens(self) -> dict[str, int]:
        """Tokens that stand beside the vocabulary proper, special or not -> their ids."""
        added = self.backend.get_added_tokens_decoder()
        return {token.content: token_id for token_id, token in added.items()}

    def is_special(self, token_id: int) -> bool:
        return token_id in self._special_ids

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The ids of a text. Special tokens written in the text become their ids.

        `add_special_tokens` puts BOS (and whatever the tokenizer says) around it; a rendered chat
        has its own, so pass False there.

        Raises:
            InvalidRequest: the text has a lone surrogate, which is half a character.
        """
        _check_unicode(text)
        return self.backend.encode(text, add_special_tokens=add_special_tokens).ids

    def encode_pair(self, first: str, second: str) -> tuple[list[int], list[int]]:
        """The ids of two texts, with the special tokens that the tokenizer puts around a pair, and
        the type of each: 0 for the first text, 1 for the second, if the tokenizer tells them apart.

        Raises:
            InvalidRequest: as `encode`.
        """
        _check_unicode(first)
        _check_unicode(second)
        encoding = self.backend.encode(first, second)
        return encoding.ids, encoding.type_ids

    def decode(
        self,
        ids: Sequence[int],
        *,
        skip_special_tokens: bool = True,
        spaces_between_special_tokens: bool = True,
    ) -> str:
        """The text of ids, as the tokenizers library has it, with two exceptions.

        A run of byte tokens that is not UTF-8 loses only its wrong bytes (to U+FFFD), not the whole
        run; and there is no clean-up of spaces. Ids that name no token have no text.
        `spaces_between_special_tokens` is accepted for SGLang's sake: only tokenizers written in
        Python ever put such spaces.

        Raises:
            InvalidRequest: an id is negative or not below 2**32.
        """
        stream = self.stream(
            skip_special_tokens=skip_special_tokens,
            spaces_between_special_tokens=spaces_between_special_tokens,
        )
        try:
            return stream.feed(ids) + stream.flush()
        except (OverflowError, TypeError):
            raise InvalidRequest(
                f"Token ids must be integers from 0 to {self.vocab_size - 1}."
            ) from None

    def stream(
        self,
        *,
        skip_special_tokens: bool = True,
        spaces_between_special_tokens: bool = True,
        is_continuation: bool = False,
        shown_tokens: Sequence[str] = (),
    ) -> Detokenizer:
        """A detokenizer of ids that come bit by bit.

        `is_continuation` says that the ids continue a prompt: then a leading space is theirs, and
        prompt and output may be joined. `shown_tokens` are special tokens that are not skipped.
        """
        skipped = self._special_ids if skip_special_tokens else frozenset()
        if shown_tokens:
            skipped = skipped - {self.token_id(token) for token in shown_tokens}
        return Detokenizer(self._pieces, skipped=skipped, is_continuation=is_continuation)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token adds within a text, maybe a part of a character."""
        return self._pieces.later[token_id]

    def token_text(self, token_id: int) -> str:
        """A token's bytes as text, U+FFFD where they are no whole character."""
        return self.token_bytes(token_id).decode(errors="replace")


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"The text has a lone surrogate ({text[error.start]!a}) at character "
            f"{error.start}, which is half a character. Send valid Unicode."
        ) from None


def _special_ids(
    backend: tokenizers.Tokenizer, special_tokens: Mapping[str, str]
) -> frozenset[int]:
    added = backend.get_added_tokens_decoder()
    flagged = {token_id for token_id, token in added.items() if token.special}
    named = {backend.token_to_id(token) for token in special_tokens.values()}
    return frozenset(token_id for token_id in flagged | named if token_id is not None)


def load_tokenizer(model_dir: str | Path, *, mode: Literal["auto", "slow"] = "auto") -> Tokenizer:
    """Reads the tokenizer of a checkpoint folder in Hugging Face's layout.

    It is tokenizer.json, completed by tokenizer_config.json and special_tokens_map.json. Where
    there is none, or with mode "slow", one is built from the older files (tokenizer.model, ranks of
    tiktoken, vocab.json and merges.txt). Code in a checkpoint is never run.

    Raises:
        CheckpointError: a file is missing or damaged; it says which, and what to do.
    """
    folder = Path(model_dir)
    if not folder.is_dir():
        raise CheckpointError(f"There is no folder {folder}, so no tokenizer can be read from it.")
    if not (folder / "tokenizer.json").is_file():
        made = published_classes.make(folder)
        if made is not None:
            return Tokenizer(made.backend, made.special_tokens)
        return _load_with_transformers(folder)
    if mode == "slow":
        return _load_with_transformers(folder)
    try:
        backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(
            f"{folder / 'tokenizer.json'} cannot be read: {error}. Fetch it again, "
            "or point --tokenizer-path at another folder."
        ) from error
    special_tokens = read_special_tokens(folder)
    config = read_json(folder / "tokenizer_config.json")
    try:
        _complete(backend, folder, config, special_tokens)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder / 'tokenizer_config.json'} is not as expected: {error!r}. Fetch it again."
        ) from error
    return Tokenizer(backend, special_tokens)


def _complete(
    backend: tokenizers.Tokenizer,
    folder: Path,
    config: Mapping[str, Any],
    special_tokens: Mapping[str, str],
) -> None:
    """Does to tokenizer.json what transformers does to it with the files around it."""
    _add_listed_tokens(backend, folder, config.get("added_tokens_decoder") or {})
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    named = [*special_tokens.values(), *extra_special_tokens(config)]
    # A name without an id would get one that the model has no embedding for: it is left out.
    backend.add_special_tokens(
        [token for token in named if token not in known and backend.token_to_id(token) is not None]
    )
    if _says_its_ends(config):
        _set_ends(backend, config, special_tokens)
    backend.encode_special_tokens = bool(config.get("split_special_tokens"))


def _add_listed_tokens(
    backend: tokenizers.Tokenizer, folder: Path, listed: Mapping[str, Mapping[str, Any]]
) -> None:
    present = backend.get_added_tokens_decoder()
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    for token_id, entry in sorted((int(key), entry) for key, entry in listed.items()):
        token = AddedToken(entry["content"], **{f: entry[f] for f in flags if f in entry})
        if repr(present.get(token_id)) == repr(token):
            continue
        backend.add_tokens([token])
        if (found := backend.token_to_id(token.content)) != token_id:
            raise CheckpointError(
                f"tokenizer_config.json in {folder} gives {token.content!r} the id {token_id}, but "
                f"tokenizer.json gives it {found}. Fetch both files again."
            )


def _says_its_ends(config: Mapping[str, Any]) -> bool:
    """Whether tokenizer_config.json, not tokenizer.json, says if BOS and EOS are added.

    So it is for these classes, whose checkpoints were made when transformers 4 wrote the ends anew
    at every load: DeepSeek's tokenizer.json has no BOS, though the models were trained with it.
    """
    kind = str(config.get("tokenizer_class")).removesuffix("Fast")
    return kind in _CLASSES_WITH_ENDS and ("add_bos_token" in config or "add_eos_token" in config)


_CLASSES_WITH_ENDS = ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer")


def _set_ends(
    backend: tokenizers.Tokenizer, config: Mapping[str, Any], special_tokens: Mapping[str, str]
) -> None:
    """Makes `encode` add BOS (also if nothing is said of it) and EOS as the config says."""

    def end(name: str, wanted: Any) -> list[str]:
        token = special_tokens.get(name)
        if not wanted or token is None or backend.token_to_id(token) is None:
            return []
        return [token]

    bos = end("bos_token", config.get("add_bos_token", True))
    eos = end("eos_token", config.get("add_eos_token", False))
    backend.post_processor = TemplateProcessing(
        single=[*bos, "$A", *eos],
        special_tokens=[(token, backend.token_to_id(token)) for token in {*bos, *eos}],
    )


def _load_with_transformers(folder: Path) -> Tokenizer:
    from transformers import AutoTokenizer  # slow to import, seldom needed

    try:
        loaded = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # it reads foreign files with foreign code: anything may come
        raise CheckpointError(
            f"{folder} has no tokenizer that can be read: tokenizer.json is missing (or not "
            f"wanted), and {_why_not(folder, error)} {WHAT_TO_DO}"
        ) from error
    backend = getattr(loaded, "backend_tokenizer", None)
    if not isinstance(backend, tokenizers.Tokenizer):
        raise CheckpointError(
            f"The tokenizer in {folder} ({type(loaded).__name__}) exists only as Python code, "
            "which cannot stream text. Point --tokenizer-path at a folder with a tokenizer.json."
        )
    names = {name: getattr(loaded, name, None) for name in SPECIAL_NAMES}
    return Tokenizer(backend, {name: str(token) for name, token in names.items() if token})


def _why_not(folder: Path, error: Exception) -> str:
    missing = [package for package in ("sentencepiece", "protobuf") if not is_installed(package)]
    if missing and any(folder.glob("*.model")):
        return f"tokenizer.model needs packages: pip install {' '.join(missing)}."
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"transformers says: {lines[0]}"
