"""Stop strings: which one matches, what is shown, and how many tokens belong to the output."""

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgjax.sampling_params import SamplingParams
from sgjax.text import StopMatcher, TextDelta, TextStream, Tokenizer
from tests.text.tokenizers_for_tests import KINDS, SPECIAL

few_letters = st.text("ab", max_size=24) | st.text("abc", max_size=24)
stop_lists = st.lists(
    st.text("ab", min_size=2, max_size=5) | st.text("abc", min_size=1, max_size=5), max_size=3
)


def cut_by_search(text: str, stops: list[str], no_trim: bool) -> tuple[str, str | None]:
    """The rule, written plainly: the stop that ends first, then the one listed first."""
    ends = [
        (text.index(stop) + len(stop), order, stop)
        for order, stop in enumerate(stops)
        if stop in text
    ]
    if not ends:
        return text, None
    end, _, stop = min(ends)
    return text[: end if no_trim else end - len(stop)], stop


def split(draw, items):
    cuts = sorted(draw(st.lists(st.integers(0, len(items)), max_size=6)))
    bounds = [0, *cuts, len(items)]
    return [items[a:b] for a, b in itertools.pairwise(bounds)]


@given(st.data(), few_letters, stop_lists, st.booleans())
def test_any_split_of_a_text_is_cut_where_a_search_of_the_whole_cuts_it(data, text, stops, no_trim):
    matcher = StopMatcher(stops, no_trim=no_trim)
    shown = "".join(matcher.feed(piece) for piece in split(data.draw, text)) + matcher.flush()
    assert (shown, matcher.matched) == cut_by_search(text, stops, no_trim)


@given(few_letters, stop_lists)
def test_no_more_is_held_back_than_might_begin_a_stop(text, stops):
    matcher = StopMatcher(stops)
    shown = matcher.feed(text)
    if matcher.matched is None:
        held = text[len(shown) :]
        beginnings = {stop[:n] for stop in stops for n in range(1, len(stop))}
        longest = max((len(b) for b in beginnings if text.endswith(b)), default=0)
        assert len(held) == longest


@pytest.mark.parametrize("text", ["aab", "aaab", "aabaab", "aaaab"])
def test_a_stop_that_begins_within_a_false_beginning_is_found(text):
    matcher = StopMatcher(["aab"])
    shown = "".join(matcher.feed(character) for character in text)
    assert (shown, matcher.matched) == (text[: text.index("aab")], "aab")


def test_the_stop_that_ends_first_wins_over_the_one_that_begins_first():
    matcher = StopMatcher(["abcd", "bc"])
    assert (matcher.feed("xabcd"), matcher.matched) == ("xa", "bc")


def test_of_stops_that_end_together_the_first_listed_wins():
    matcher = StopMatcher(["c", "abc"])
    assert (matcher.feed("xabc"), matcher.matched) == ("xab", "c")
    matcher = StopMatcher(["abc", "c"])
    assert (matcher.feed("xabc"), matcher.matched) == ("x", "abc")


def test_with_no_trim_the_stop_is_shown_and_nothing_waits():
    matcher = StopMatcher(["END"], no_trim=True)
    assert [matcher.feed("the E"), matcher.feed("ND of it")] == ["the E", "ND"]
    assert (matcher.matched, matcher.feed("more"), matcher.flush()) == ("END", "", "")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(KINDS["byte_fallback"](), SPECIAL)


def one_by_one(tokenizer: Tokenizer, params: SamplingParams, ids: list[int]) -> TextDelta:
    return in_pieces(tokenizer, params, [[token_id] for token_id in ids])


def in_pieces(tokenizer: Tokenizer, params: SamplingParams, pieces: list[list[int]]) -> TextDelta:
    stream = TextStream(tokenizer, params)
    deltas = [stream.feed(piece) for piece in pieces]
    stopped = [delta.stopped_by for delta in deltas if delta.stopped_by]
    assert len(stopped) <= 1, "a stop is told once"
    return TextDelta(
        "".join(delta.text for delta in deltas) + stream.finish(),
        sum(delta.num_tokens_used for delta in deltas),
        stopped[0] if stopped else None,
    )


def whole_text(tokenizer: Tokenizer, params: SamplingParams, ids: list[int]) -> TextDelta:
    """Reads the text of 1, 2, 3 ... tokens anew, each whole, until a stop is in one of them.

    A character that is not finished is no text yet.
    """
    prompt = [tokenizer.token_id("a")]
    for count in range(len(ids) + 1):
        text = tokenizer.decode(
            prompt + ids[:count], skip_special_tokens=params.skip_special_tokens
        )[1:]
        is_last = count == len(ids)
        certain = text if is_last else text.rstrip("�")
        shown, stop = cut_by_search(certain, list(params.stop), params.no_stop_trim)
        if stop is not None:
            return TextDelta(shown, count, stop)
    return TextDelta(text, len(ids))


@given(st.data(), st.booleans(), st.booleans())
def test_any_split_of_tokens_gives_the_text_and_count_of_the_whole(data, no_trim, skip):
    tokenizer = Tokenizer(KINDS["byte_fallback"](), SPECIAL)
    text = data.draw(st.text("the END😀é中\n", max_size=30) | few_letters)
    ids = tokenizer.encode(text, add_special_tokens=False)
    for index in data.draw(st.lists(st.integers(0, len(ids)), max_size=2)):
        ids.insert(index, 2)  # </s>
    stops = data.draw(
        st.lists(st.text("the END😀é中\n</s>abc", min_size=1, max_size=3), max_size=3)
    )
    params = SamplingParams(stop=tuple(stops), no_stop_trim=no_trim, skip_special_tokens=skip)
    expected = whole_text(tokenizer, params, ids)
    assert one_by_one(tokenizer, params, ids) == expected
    assert in_pieces(tokenizer, params, split(data.draw, ids)) == expected


def test_tokens_past_the_one_that_completes_a_stop_are_not_counted(tokenizer):
    ids = tokenizer.encode("the END the", add_special_tokens=False)
    spelled = [tokenizer.token_text(token_id) for token_id in ids]
    assert spelled == [" the", " ", "E", "ND", " the"]
    delta = TextStream(tokenizer, SamplingParams(stop=("EN",))).feed(ids)
    assert delta == TextDelta(" the ", 4, "EN")


def test_a_newline_stop_ends_at_its_own_token(tokenizer):
    ids = [tokenizer.token_id("a"), tokenizer.token_id("<0x0A>"), tokenizer.token_id("<0xE9>")]
    stream = TextStream(tokenizer, SamplingParams(stop=("\n",)))
    assert [stream.feed([token_id]) for token_id in ids] == [
        TextDelta("a", 1),
        TextDelta("", 1, "\n"),
        TextDelta("", 0),
    ]
    assert (stream.finish(), stream.stopped_by) == ("", "\n")


def test_held_back_text_comes_when_the_output_ends(tokenizer):
    stream = TextStream(tokenizer, SamplingParams(stop=("END",)))
    ids = tokenizer.encode("the E", add_special_tokens=False)
    assert (stream.feed(ids), stream.finish()) == (TextDelta(" the ", 3), "E")


@pytest.mark.parametrize(
    ("no_stop_trim", "skip_special_tokens", "text"),
    [(False, True, "a"), (False, False, "a"), (True, True, "a"), (True, False, "a</s>")],
)
def test_a_stop_token_counts_but_is_shown_only_on_request(
    tokenizer, no_stop_trim, skip_special_tokens, text
):
    params = dataclasses.replace(
        SamplingParams(), no_stop_trim=no_stop_trim, skip_special_tokens=skip_special_tokens
    )
    delta = TextStream(tokenizer, params).feed(
        [tokenizer.token_id("a"), 2], ends_with_stop_token=True
    )
    assert delta == TextDelta(text, 2)


def test_a_plain_stop_token_is_cut_from_the_text(tokenizer):
    ids = [tokenizer.token_id("a"), tokenizer.token_id("h")]
    assert TextStream(tokenizer, SamplingParams()).feed(ids, ends_with_stop_token=True).text == "a"
    assert TextStream(tokenizer, SamplingParams()).feed(ids).text == "ah"
