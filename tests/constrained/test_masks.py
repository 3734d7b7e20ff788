"""Matchers, masks and the compiler, over the demo model's tokenizer."""

import threading
from pathlib import Path

import numpy as np
import pytest
from llguidance import LLMatcher

import sgjax.demo
from sgjax.constrained.compiler import GrammarCompiler
from sgjax.constrained.masks import MaskFiller
from sgjax.constrained.matcher import GrammarFault, Matcher
from sgjax.errors import InvalidRequest
from sgjax.text import load_tokenizer

FOLDER = Path(sgjax.demo.__file__).parent / "model"
TOKENIZER = load_tokenizer(FOLDER)
VOCAB_SIZE = TOKENIZER.vocab_size + 40
"""Logits may be padded."""
DATE = LLMatcher.grammar_from_regex("[0-9]{4}-[0-9]{2}")
FORCED = LLMatcher.grammar_from_regex("The answer is (yes|no)")


@pytest.fixture(scope="module")
def compiler():
    compiler = GrammarCompiler(TOKENIZER.backend.to_str, VOCAB_SIZE, TOKENIZER.eos_ids)
    yield compiler
    compiler.close()


@pytest.fixture
def filler():
    filler = MaskFiller(VOCAB_SIZE, 2)
    yield filler
    filler.close()


def done(filler, matchers):
    masks = filler.ask(matchers)
    while not all(mask.is_done for mask in masks):
        filler.wait(0.1)
    return masks


def tokens_in(mask):
    ids = np.arange(VOCAB_SIZE)
    return ids[(mask.bits[ids // 32] >> ids % 32) & 1 == 1].tolist()


def texts_in(mask):
    return {TOKENIZER.token_text(token) for token in tokens_in(mask)}


def test_a_mask_has_the_tokens_that_may_come_next(compiler, filler):
    matcher = compiler.compile(DATE).result()
    (mask,) = done(filler, [matcher])
    assert texts_in(mask) <= {str(n) for n in range(10000)}
    matcher.advance(TOKENIZER.encode("2024-1", add_special_tokens=False))
    (mask,) = done(filler, [matcher])
    assert texts_in(mask) == set("0123456789")


def test_ids_past_the_tokenizers_are_never_allowed(compiler, filler):
    anything = compiler.compile(LLMatcher.grammar_from_regex("(?s:.)*")).result()
    (mask,) = done(filler, [anything])
    assert max(tokens_in(mask)) < TOKENIZER.vocab_size
    assert set(TOKENIZER.eos_ids) <= set(tokens_in(mask))


def test_equal_states_share_a_mask_and_others_do_not(compiler, filler):
    a, b, other = (compiler.compile(text).result() for text in (DATE, DATE, FORCED))
    masks = done(filler, [a, b, other])
    assert masks[0] is masks[1] is not masks[2]
    a.advance(TOKENIZER.encode("2", add_special_tokens=False))
    masks = done(filler, [a, b])
    assert masks[0] is not masks[1]


def test_forced_tokens_spell_what_must_come(compiler):
    matcher = compiler.compile(FORCED).result()
    forced = matcher.forced()
    assert "The answer is ".startswith(TOKENIZER.decode(forced)) and len(forced) > 1
    matcher.advance(forced)
    assert not matcher.has_ended
    rest = "The answer is yes".removeprefix(TOKENIZER.decode(forced))
    matcher.advance(TOKENIZER.encode(rest, add_special_tokens=False))
    assert matcher.has_ended


def test_a_grammar_that_waits_allows_everything_until_it_begins(compiler, filler):
    end = TOKENIZER.encode("done.", add_special_tokens=False)
    matcher = compiler.compile(DATE, end).result()
    (mask,) = done(filler, [matcher])
    assert tokens_in(mask) == list(range(VOCAB_SIZE))
    assert matcher.forced() == []
    matcher.advance([5, *end[:1], 9])
    assert not matcher.is_active
    matcher.advance([*end, *TOKENIZER.encode("20", add_special_tokens=False)])
    assert matcher.is_active
    (mask,) = done(filler, [matcher])
    assert texts_in(mask) <= {str(n) for n in range(100)} | {f"{n:02}" for n in range(100)}


def test_a_token_that_is_not_allowed_is_a_fault(compiler):
    matcher = compiler.compile(DATE).result()
    with pytest.raises(GrammarFault):
        matcher.advance(TOKENIZER.encode("twenty", add_special_tokens=False))


def test_a_fault_of_one_mask_is_told_with_it(filler):
    class Faulty(Matcher):
        def fill(self, mask):
            raise GrammarFault("too complex")

    class Empty(Matcher):
        def fill(self, mask):
            pass

    bad, good = done(filler, [Faulty(None, b"bad"), Empty(None, b"good")])
    assert str(bad.fault) == "too complex" and good.fault is None


def test_masks_that_nobody_asked_for_lately_are_forgotten(compiler):
    filler = MaskFiller(VOCAB_SIZE, 1, max_bytes=3 * 4 * -(-VOCAB_SIZE // 32))
    try:
        matchers = [
            compiler.compile(LLMatcher.grammar_from_regex(f"{n}x*")).result() for n in range(4)
        ]
        first = done(filler, matchers[:1])
        done(filler, matchers[1:])
        assert done(filler, matchers[:1])[0] is not first[0]
    finally:
        filler.close()


def test_what_cannot_be_compiled_is_refused(compiler):
    with pytest.raises(InvalidRequest, match="cannot be used"):
        compiler.compile(LLMatcher.grammar_from_regex("(")).result()
    assert compiler.compile(DATE).result().is_active


def test_kept_grammars_are_bounded():
    compiler = GrammarCompiler(
        TOKENIZER.backend.to_str, VOCAB_SIZE, TOKENIZER.eos_ids, max_bytes=200_000
    )
    try:
        for n in range(20):
            compiler.compile(LLMatcher.grammar_from_regex(f"number {n}")).result()
        assert 0 < len(compiler._kept) <= 6
        assert compiler._num_bytes <= 200_000
    finally:
        compiler.close()


def test_a_tokenizer_that_cannot_be_read_refuses_every_grammar():
    compiler = GrammarCompiler(lambda: "{}", 10, [0])
    try:
        with pytest.raises(InvalidRequest, match="tokenizer cannot be used"):
            compiler.compile(DATE).result()
    finally:
        compiler.close()


def test_closing_leaves_no_thread():
    before = threading.active_count()
    filler = MaskFiller(VOCAB_SIZE, 3)
    compiler = GrammarCompiler(TOKENIZER.backend.to_str, VOCAB_SIZE, TOKENIZER.eos_ids)
    compiler.compile(DATE).result()
    filler.close()
    compiler.close()
    assert threading.active_count() == before
