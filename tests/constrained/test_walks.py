"""Whatever a grammar lets through matches what it was made of, as other libraries see it."""

from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
import regex
from hypothesis import strategies as st

from sgjax.constrained import grammar_of
from sgjax.sampling_params import SamplingParams
from tests.constrained.regexes import REGEXES, regexes
from tests.constrained.schemas import SCHEMAS, TEXTS, faults, schemas
from tests.constrained.walk import Walk, accepts, walk

SEEDS = range(8)
seeds = st.integers(0, 2**32)


def grammar_for(**constraint: Any) -> str:
    grammar = grammar_of(SamplingParams.from_dict(constraint))
    assert grammar is not None
    return grammar


def check(grammar: str, found: Walk, matches: Callable[[str], Any]) -> None:
    """A finished output matches; one that was cut off is the beginning of one that does."""
    if found.is_finished:
        matches(found.text)
        assert accepts(grammar, found.text)
    else:
        assert accepts(grammar, found.text, as_prefix=True)


def is_valid(schema: Any) -> Callable[[str], None]:
    def check_text(text: str) -> None:
        assert not (found := faults(schema, text)), f"{found} in {text!r}"

    return check_text


def matches_all(pattern: str) -> Callable[[str], None]:
    r"""By another engine. `\d` is 0 to 9 in ours."""

    def check_text(text: str) -> None:
        assert regex.fullmatch(pattern, text), f"{text!r} does not match {pattern!r}"

    return check_text


@pytest.mark.parametrize("name", SCHEMAS)
def test_outputs_match_a_written_schema(name: str):
    grammar = grammar_for(json_schema=SCHEMAS[name])
    walks = [walk(grammar, seed) for seed in SEEDS]
    for found in walks:
        check(grammar, found, is_valid(SCHEMAS[name]))
    assert any(found.is_finished for found in walks)


@hypothesis.given(schema=schemas(), seed=seeds)
def test_outputs_match_any_schema(schema: dict[str, Any], seed: int):
    grammar = grammar_for(json_schema=schema)
    check(grammar, walk(grammar, seed), is_valid(schema))


@pytest.mark.parametrize("pattern", [each for each in REGEXES if each])
def test_outputs_match_a_written_regex(pattern: str):
    grammar = grammar_for(regex=pattern)
    walks = [walk(grammar, seed) for seed in SEEDS]
    for found in walks:
        check(grammar, found, matches_all(pattern))
    assert any(found.is_finished for found in walks)


@hypothesis.given(pattern=regexes(), seed=seeds)
def test_outputs_match_any_regex(pattern: str, seed: int):
    grammar = grammar_for(regex=pattern)
    check(grammar, walk(grammar, seed), matches_all(pattern))


@hypothesis.given(
    choices=st.lists(st.sampled_from(TEXTS) | st.text(max_size=12), min_size=1, max_size=8),
    seed=seeds,
)
def test_an_output_is_one_of_the_choices(choices: list[str], seed: int):
    grammar = grammar_for(choice=choices)
    found = walk(grammar, seed)
    assert found.is_finished
    assert found.text in choices
    for choice in choices:
        assert accepts(grammar, choice)
