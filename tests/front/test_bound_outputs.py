"""What the demo model says at temperature 1, bound by schemas and regexes of every kind, matches
them; what is cut by length is the beginning of something that does."""

import json
import re
import time

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher

from sgjax.constrained import grammar_of
from sgjax.errors import InvalidRequest
from sgjax.front.engine import Engine
from sgjax.sampling_params import SamplingParams
from tests.constrained import walk
from tests.constrained.regexes import REGEXES, regexes
from tests.constrained.schemas import SCHEMAS, faults, schemas

AT_ONCE = 20
MAX_NEW_TOKENS = 90
IS_LONG = settings.default.max_examples >= 1000
ROUNDS = 50 if IS_LONG else 2
"""Of AT_ONCE each: 1,000 schemas and regexes in a long run (--hypothesis-profile=soak)."""
PHASES = set(Phase) - {Phase.shrink}  # twenty at once take long
PROMPTS = ("Tell me of France as JSON:", "List three countries:", "x", "\n\n", "Once upon a time,")


@pytest.fixture(scope="module")
def engine():
    with Engine(model_path="demo", log_level="error") as engine:
        while not engine.get_server_info()["stats"]["ready"]:
            time.sleep(0.1)  # until then every step is a large one
        yield engine


def outputs(engine, constraints, seed):
    """Texts, and whether each is whole."""
    params = [
        SamplingParams(temperature=1.0, seed=seed + i, max_new_tokens=MAX_NEW_TOKENS, **constraint)
        for i, constraint in enumerate(constraints)
    ]
    eos_ids = engine.get_server_info()["engine"]["eos_ids"]
    prompts = [PROMPTS[(seed + i) % len(PROMPTS)] for i in range(len(params))]
    for answer, constraint in zip(engine.generate(prompts, params), constraints, strict=True):
        finish = answer["meta_info"]["finish_reason"]["type"]
        assert finish in ("stop", "length")
        if finish == "length":
            check_prefix(answer["output_ids"], constraint, eos_ids)
        yield answer["text"], finish == "stop"


def check_prefix(ids, constraint, eos_ids):
    """A matcher of its own takes all tokens; the last may end the output just where it is cut."""
    ids = ids[:-1] if ids[-1] in eos_ids else ids
    state = LLMatcher(walk.tokenizer(), grammar_of(SamplingParams(**constraint)), log_level=0)
    assert state.try_consume_tokens(ids) == len(ids)


def check_schemas(engine, found, seed=0):
    constraints = [{"json_schema": json.dumps(schema)} for schema in found]
    for (text, is_whole), schema in zip(outputs(engine, constraints, seed), found, strict=True):
        if is_whole:
            assert not faults(schema, text), (schema, text)


def check_regexes(engine, found, seed=0):
    constraints = [{"regex": regex} for regex in found]
    for (text, is_whole), regex in zip(outputs(engine, constraints, seed), found, strict=True):
        if is_whole:
            assert re.fullmatch(regex, text), (regex, text)


def can_be_met(name):
    """Whether a constraint is taken: what cannot be met is refused before it is computed."""

    def is_taken(value):
        try:
            grammar_of(SamplingParams(**{name: value}))
        except InvalidRequest:
            return False
        return True

    return is_taken


@pytest.mark.parametrize("seed", range(3))
def test_schemas_as_people_write_them(engine, seed):
    check_schemas(engine, list(SCHEMAS.values()), seed)


@pytest.mark.parametrize("seed", range(3))
def test_regexes_as_people_write_them(engine, seed):
    check_regexes(engine, [regex for regex in REGEXES if regex], seed)


@settings(max_examples=ROUNDS, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(found=st.lists(schemas(), min_size=AT_ONCE, max_size=AT_ONCE), seed=st.integers(0, 999))
def test_made_schemas(engine, found, seed):
    check_schemas(engine, found, seed)


@settings(max_examples=ROUNDS, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(
    found=st.lists(regexes().filter(can_be_met("regex")), min_size=AT_ONCE, max_size=AT_ONCE),
    seed=st.integers(0, 999),
)
def test_made_regexes(engine, found, seed):
    check_regexes(engine, found, seed)


def test_jumping_changes_no_text_where_values_are_forced_too(engine):
    schema = {
        "type": "object",
        "properties": {
            "country": {"const": "France"},
            "capital": {"const": "Paris"},
            "numbers": {"const": [1, 2.5, None, True]},
            "more": {"enum": [{"of the same": "kind"}]},
        },
        "required": ["country", "capital", "numbers", "more"],
        "additionalProperties": False,
    }
    params = SamplingParams(temperature=0.0, max_new_tokens=200, json_schema=json.dumps(schema))
    with Engine(model_path="demo", log_level="error", disable_jump_forward=True) as plain:
        slow = [plain.generate(prompt, params) for prompt in PROMPTS]
    fast = [engine.generate(prompt, params) for prompt in PROMPTS]
    assert [answer["text"] for answer in fast] == [answer["text"] for answer in slow]
    for answer in slow:
        assert answer["meta_info"]["forced_tokens"] == 0
        assert not faults(schema, answer["text"])
    for answer in fast:
        info = answer["meta_info"]
        assert info["forced_tokens"] == info["completion_tokens"]
        assert info["completion_tokens_wo_jump_forward"] == 0
