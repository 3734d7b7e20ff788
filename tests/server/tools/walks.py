"""Random outputs that a grammar allows, token by token, as a model at a high temperature writes."""

import functools
import random

import llguidance
import numpy as np
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from sgjax.constrained import grammar_of
from sgjax.sampling_params import SamplingParams
from sgjax.text import Tokenizer
from sgjax.weights.hub import resolve

EOS = "<|eos|>"
ENDINGS = ("\n</parameter>\n", "</arg_value>\n")


@functools.cache
def tokenizer_with(markers: tuple[str, ...]) -> tuple[Tokenizer, llguidance.LLTokenizer]:
    """The built-in model's tokenizer with these special tokens besides; and for grammars."""
    import tokenizers

    backend = tokenizers.Tokenizer.from_file(str(resolve("demo") / "tokenizer.json"))
    backend.add_special_tokens(list(markers))
    text = backend.to_str()
    tokenizer = Tokenizer(backend, {"eos_token": EOS})
    eos = [tokenizer.token_id(EOS)]
    return tokenizer, llguidance.LLTokenizer(text, n_vocab=tokenizer.vocab_size, eos_token=eos)


class Walk:
    """Draws tokens that a grammar allows."""

    def __init__(self, grammar: str, markers: tuple[str, ...], seed: int):
        self._tokenizer, self._fast = tokenizer_with(markers)
        text = grammar_of(SamplingParams(ebnf=grammar))
        self._matcher = llguidance.LLMatcher(self._fast, text)
        assert not self._matcher.is_error(), self._matcher.get_error()
        self._random = random.Random(seed)
        self._mask = allocate_token_bitmask(1, self._fast.vocab_size)
        self._markers = {tokenizer_with(markers)[0].token_id(marker) for marker in markers}

    def text(self, max_tokens: int = 400) -> str | None:
        """An output up to its end; None if it did not come."""
        ids: list[int] = []
        eos = self._tokenizer.token_id(EOS)
        while len(ids) < max_tokens:
            fill_next_token_bitmask(self._matcher, self._mask)
            bits = np.unpackbits(self._mask.view(np.uint8), bitorder="little")
            allowed = np.nonzero(bits[: self._fast.vocab_size])[0].tolist()
            assert allowed, f"stuck behind {self._tokenizer.decode(ids)!r}"
            if self._random.random() < 0.1 and (end := self._ending()):
                ids += end
                continue
            if eos in allowed and (len(allowed) == 1 or self._random.random() < 0.3):
                break
            ids.append(self._draw([token for token in allowed if token != eos]))
            assert self._matcher.consume_token(ids[-1]), self._matcher.get_error()
        else:
            return None
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    def _ending(self) -> list[int]:
        """The tokens of a tag that ends a text, which chance would not find."""
        tag = self._random.choice(ENDINGS)
        ids = self._tokenizer.encode(tag, add_special_tokens=False)
        if self._matcher.validate_tokens(ids) < len(ids):
            return []
        assert self._matcher.consume_tokens(ids)
        return ids

    def _draw(self, allowed: list[int]) -> int:
        """Likelier what leads to an end: closing tags, quotes and brackets."""
        closing = [
            token
            for token in allowed
            if token in self._markers or self._tokenizer.token_bytes(token) in _CLOSING
        ]
        pool = closing if closing and self._random.random() < 0.4 else allowed
        return self._random.choice(pool)


_CLOSING = frozenset((b'"', b'"}', b"}", b"]", b")", b"\n", b"</", b"<"))
