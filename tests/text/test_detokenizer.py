"""Streamed pieces join to the full text, for every kind of tokenizer and any ids at all."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgjax.text import Tokenizer
from tests.text.tokenizers_for_tests import KINDS, SPECIAL, byte_fallback, byte_level

kinds = st.sampled_from(sorted(KINDS))
texts = st.text(
    alphabet=st.characters(exclude_categories=["Cs"]) | st.sampled_from("the END😀é中 \n")
)


def of_kind(kind: str) -> Tokenizer:
    return Tokenizer(KINDS[kind](), SPECIAL)


@st.composite
def ids_of(draw, kind: str) -> list[int]:
    """Random ids: specials, halves of characters, and ids that name no token."""
    size = KINDS[kind]().get_vocab_size()
    return draw(st.lists(st.integers(0, size + 3), max_size=40))


@st.composite
def pieces_of(draw, items: list[int]) -> list[list[int]]:
    cuts = sorted(draw(st.lists(st.integers(0, len(items)), max_size=6)))
    bounds = [0, *cuts, len(items)]
    return [items[a:b] for a, b in itertools.pairwise(bounds)]


def streamed(tokenizer: Tokenizer, pieces: list[list[int]], **options: bool) -> str:
    stream = tokenizer.stream(**options)
    return "".join(stream.feed(piece) for piece in pieces) + stream.flush()


@given(st.data(), kinds, st.booleans())
def test_pieces_of_any_ids_join_to_the_full_text(data, kind, skip):
    tokenizer = of_kind(kind)
    ids = data.draw(ids_of(kind))
    pieces = data.draw(pieces_of(ids))
    full = tokenizer.decode(ids, skip_special_tokens=skip)
    assert streamed(tokenizer, pieces, skip_special_tokens=skip) == full
    assert streamed(tokenizer, [[i] for i in ids], skip_special_tokens=skip) == full


@given(texts, kinds, st.booleans())
def test_text_decodes_as_the_tokenizers_library_decodes_it(text, kind, skip):
    tokenizer, library = of_kind(kind), KINDS[kind]()
    ids = tokenizer.encode(text)
    assert ids == library.encode(text).ids
    assert tokenizer.decode(ids, skip_special_tokens=skip) == library.decode(
        ids, skip_special_tokens=skip
    )


@given(
    st.data(), st.sampled_from(sorted(set(KINDS) - {"byte_fallback", "byte_fallback_unstripped"}))
)
def test_any_ids_decode_as_the_tokenizers_library_decodes_them(data, kind):
    ids = data.draw(ids_of(kind))
    for skip in (True, False):
        assert of_kind(kind).decode(ids, skip_special_tokens=skip) == KINDS[kind]().decode(
            ids, skip_special_tokens=skip
        )


@given(st.data())
def test_byte_fallback_differs_from_the_library_only_where_bytes_are_not_utf8(data):
    kind = data.draw(st.sampled_from(["byte_fallback", "byte_fallback_unstripped"]))
    ids = data.draw(ids_of(kind))
    mine, theirs = of_kind(kind).decode(ids), KINDS[kind]().decode(ids)
    assert mine == theirs or ("�" in mine and "�" in theirs)


@given(texts)
def test_text_round_trips_through_bytes(text):
    for kind in ("byte_level", "byte_fallback_unstripped"):
        tokenizer = of_kind(kind)
        ids = tokenizer.encode(text, add_special_tokens=False)
        # A text may spell special tokens or "▁", which are then no longer text.
        if "<" not in text and "▁" not in text:
            assert tokenizer.decode(ids) == text


@given(st.data(), kinds)
def test_what_is_shown_is_never_taken_back(data, kind):
    tokenizer = of_kind(kind)
    ids = data.draw(ids_of(kind))
    stream, shown = tokenizer.stream(), ""
    for count, token_id in enumerate(ids, 1):
        shown += stream.feed([token_id])
        assert tokenizer.decode(ids[:count]).startswith(shown)


@given(st.data(), kinds)
def test_prompt_and_continuation_join_to_the_text_of_both(data, kind):
    tokenizer = of_kind(kind)
    prompt = tokenizer.encode("the END", add_special_tokens=False)
    output = data.draw(ids_of(kind))
    joined = tokenizer.decode(prompt) + streamed(tokenizer, [output], is_continuation=True)
    assert joined == tokenizer.decode(prompt + output)


def test_an_emoji_comes_whole_with_its_last_byte():
    tokenizer = of_kind("byte_fallback")
    ids = [tokenizer.token_id(f"<0x{byte:02X}>") for byte in "😀".encode()]
    stream = tokenizer.stream(is_continuation=True)
    assert [stream.feed([i]) for i in ids] == ["", "", "", "😀"]


def test_a_newline_in_bytes_is_shown_at_once():
    tokenizer = of_kind("byte_fallback")
    newline, wrong = tokenizer.token_id("<0x0A>"), tokenizer.token_id("<0xE9>")
    stream = tokenizer.stream()
    assert [stream.feed([newline]), stream.feed([wrong]), stream.flush()] == ["\n", "", "�"]
    assert tokenizer.decode([newline, wrong]) == "\n�"


def test_half_a_character_at_the_end_is_a_replacement_character():
    tokenizer = of_kind("byte_level")
    first_byte = tokenizer.encode("🦜", add_special_tokens=False)[:1]
    stream = tokenizer.stream()
    assert (stream.feed(first_byte), stream.flush()) == ("", "�")


@pytest.mark.parametrize(("is_continuation", "text"), [(False, "the"), (True, " the")])
def test_a_continuation_keeps_its_leading_space(is_continuation, text):
    tokenizer = of_kind("byte_fallback")
    ids = [tokenizer.token_id("▁the")]
    assert streamed(tokenizer, [ids], is_continuation=is_continuation) == text


def test_special_tokens_are_skipped_or_shown():
    tokenizer = Tokenizer(byte_level(), SPECIAL)
    ids = tokenizer.encode("<s>the<tool→></s>")
    assert tokenizer.decode(ids) == "the<tool→>"
    assert tokenizer.decode(ids, skip_special_tokens=False) == "<s>the<tool→></s>"


def test_bytes_of_a_token_are_those_it_adds():
    for backend in (byte_level(), byte_fallback()):
        tokenizer = Tokenizer(backend, SPECIAL)
        ids = tokenizer.encode("the 🦜 end", add_special_tokens=False)
        joined = b"".join(map(tokenizer.token_bytes, ids))
        assert joined.strip() == "the 🦜 end".encode()
        assert "�" in "".join(map(tokenizer.token_text, ids))
