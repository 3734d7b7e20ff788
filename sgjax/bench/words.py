"""A tokenizer for a shape: its weights are random, but masks cost what a vocabulary of that size
and kind of words costs.

As in published vocabularies, there are all bytes, runs of digits, pieces of JSON and of code, and
for the most part beginnings, middles and ends of words, with a space before them or not.
"""

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

_ONSETS = [
    "",
    *"bcdfghjklmnprstvwz",
    *["bl", "ch", "cr", "dr", "fl", "gr", "pl", "pr", "sh", "st", "tr"],
]
_VOWELS = [*"aeiou", *["ai", "ea", "ee", "io", "ou"]]
_CODAS = ["", *"dgklmnprstxy", *["ck", "ing", "ion", "ment", "nd", "ng", "nt", "rs", "st", "tion"]]
_JSON = ['"', '":', '": ', '":"', '": "', '","', '", "', '{"', '"}', '"]', "}]", "},", "[]", "{}"]
_CODE = ["()", "();", "='", "==", "!=", "->", "=>", "//", "/*", "*/", "<!--", "</", "::", "..."]


def save_tokenizer(folder: Path, vocab_size: int) -> None:
    """Writes a tokenizer.json of so many tokens (at least 256), the same each time."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = dict.fromkeys(alphabet)
    for piece in _pieces():
        if len(pieces) == vocab_size:
            break
        pieces[piece] = None
    scores = [(piece, -40.0 / (1 + len(piece))) for piece in pieces]
    tokenizer = tokenizers.Tokenizer(models.Unigram(scores, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def _pieces() -> Iterator[str]:
    """In the byte-level alphabet, where a space is written Ġ."""
    for piece in (*_JSON, *_CODE):
        yield piece.replace(" ", "Ġ")
    for count in (2, 3):
        yield from ("".join(digits) for digits in itertools.product("0123456789", repeat=count))
    for count in range(2, 40):
        yield "Ġ" * count
    chance = random.Random(0)
    while True:
        syllables = chance.choices((1, 2, 3), (1, 4, 3))[0]
        word = "".join(
            chance.choice(_ONSETS) + chance.choice(_VOWELS) + chance.choice(_CODAS)
            for _ in range(syllables)
        )
        yield chance.choice(("Ġ", "Ġ", "")) + chance.choice((word, word, word.capitalize()))
