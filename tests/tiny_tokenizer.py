"""A tokenizer for TinyLlama: two ids that end an output, some words, and single characters."""

import json
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

EOS = ("<eos>", "<end>")
WORDS = ("true", "false", '":', '","', '{"', "ab", "abc", "}]", "name", "10", "na")
CHARACTERS = tuple(
    chr(code) for code in range(ord(" "), ord("~") + 1) if chr(code) not in "`^~@|&$#%;?!"
)
PIECES = (*EOS, *WORDS, *CHARACTERS)


def save_tokenizer(folder: Path) -> None:
    """Writes tokenizer.json and its config. The longest pieces win."""
    scores = [(piece.replace(" ", "Ġ"), -100.0 / len(piece)) for piece in PIECES]
    tokenizer = tokenizers.Tokenizer(models.Unigram(scores, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(EOS))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": EOS[0]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
