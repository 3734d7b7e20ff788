"""A walk through a grammar: tokens that it allows, drawn at random, until it may end."""

import dataclasses
import functools
import random
from pathlib import Path

import numpy as np
from llguidance import LLMatcher, LLTokenizer

import sgjax

TOKENIZER = Path(sgjax.__file__).parent / "demo" / "model" / "tokenizer.json"
PATIENCE = 40
"""Tokens after which a walk looks for the end."""


@dataclasses.dataclass(frozen=True)
class Walk:
    text: str
    is_finished: bool
    """Whether the grammar's end was reached; else the text was cut off."""
    num_forced: int


@functools.cache
def tokenizer() -> LLTokenizer:
    return LLTokenizer(str(TOKENIZER))


@functools.cache
def _closers() -> np.ndarray:
    """Tokens that end what may be long: quotes, brackets, punctuation, spaces."""
    spelled = [tokenizer().decode_bytes([token]) for token in range(tokenizer().vocab_size)]
    ends = [not text[:1].isalnum() and len(text) < 3 for text in spelled]
    return np.flatnonzero(ends)


def walk(grammar: str, seed: int, max_tokens: int = 400) -> Walk:
    """Raises AssertionError where the grammar fails, or allows nothing before its end."""
    matcher = LLMatcher(tokenizer(), grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    rng, tokens, num_forced = random.Random(seed), [], 0
    while len(tokens) < max_tokens:
        bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        assert not matcher.is_error(), matcher.get_error()
        allowed = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
        assert len(allowed), f"nothing is allowed after {tokenizer().decode_str(tokens)!r}"
        is_late = len(tokens) > PATIENCE
        if tokenizer().eos_token in allowed and (
            is_late or len(allowed) == 1 or rng.random() < 0.2
        ):
            return Walk(_text(tokens), True, num_forced)
        allowed = allowed[allowed != tokenizer().eos_token]
        closing = np.intersect1d(allowed, _closers())
        chosen = closing if len(closing) and rng.random() < (0.9 if is_late else 0.3) else allowed
        num_forced += len(allowed) == 1
        tokens.append(int(rng.choice(chosen)))
        assert matcher.consume_token(tokens[-1]), matcher.get_error()
    return Walk(_text(tokens), False, num_forced)


def _text(tokens: list[int]) -> str:
    return tokenizer().decode_bytes(tokens).decode(errors="surrogateescape")


def accepts(grammar: str, text: str, *, as_prefix: bool = False) -> bool:
    """Whether the grammar takes a text, byte by byte as well as by the tokenizer's tokens."""
    matcher = LLMatcher(tokenizer(), grammar, log_level=0)
    tokens = tokenizer().tokenize_bytes(text.encode(errors="surrogateescape"))
    taken = matcher.try_consume_tokens(tokens)
    assert not matcher.is_error(), matcher.get_error()
    return taken == len(tokens) and (as_prefix or matcher.is_accepting())
