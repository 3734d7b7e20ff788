"""Outputs bound by grammars are what a plain loop over the model's logits, masked, would give:
beside other requests, whether masks come late, tokens are jumped over, or pages run out."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from sgjax.constrained.matcher import GrammarFault, Matcher
from sgjax.engine.pace import Pace
from sgjax.engine.runner import LaunchedStep
from tests.engine.lockstep import Lockstep, joined
from tests.tiny import TinyLlama
from tests.tiny_tokenizer import EOS, PIECES, save_tokenizer

TOLERANCE = 2e-4
MODEL = TinyLlama(vocab_size=len(PIECES))
BASE = np.random.default_rng(3).integers(2, len(PIECES), 120).tolist()
THINK_END = [PIECES.index("]"), PIECES.index(".")]

REGEXES = (
    r'\{"name":(true|false),"ab":[0-9]{2}\}',
    r"[a-z]{3,12}",
    r"abcabcabc(true|10)+",
    r"forced from its beginning to the end",
    r"(na){2}( name)*\.",
)
GRAMMARS = [LLMatcher.grammar_from_regex(regex) for regex in REGEXES]
GRAMMARS.append(
    LLMatcher.grammar_from_json_schema(
        {
            "type": "object",
            "properties": {"name": {"type": "boolean"}, "tags": {"type": "array", "items": {}}},
            "required": ["name", "tags"],
            "additionalProperties": False,
        },
        overrides={"whitespace_flexible": False},
    )
)

OPTIONS = {
    "overlap": {},
    "no overlap, no jumps": {"disable_overlap_schedule": True, "disable_jump_forward": True},
    "a pool that retracts": {"max_total_tokens": 80},
    "tp 2, late masks": {"tp_size": 2},
}


LIMITS = {
    "page_size": 4,
    "chunked_prefill_size": 16,
    "max_running_requests": 4,
    "context_length": 100,
    "max_total_tokens": 320,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = MODEL.save(tmp_path_factory.mktemp("tiny"))
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module", params=OPTIONS)
def engine(request, folder):
    with pytest.MonkeyPatch.context() as patch:
        if "late" in request.param:
            make_masks_late(patch)
        engine = Lockstep(model_path=str(folder), **LIMITS | OPTIONS[request.param])
        engine.jumps = "no jumps" not in request.param
        yield engine
        engine.close()


def make_masks_late(patch):
    """Some masks take longer than a step, and no step is so long that they would be waited for."""
    fill, times = Matcher.fill, iter(np.random.default_rng(1).choice([0, 0.003, 0.02], 10**6))

    def slow(matcher, mask):
        time.sleep(next(times))
        fill(matcher, mask)

    patch.setattr(Matcher, "fill", slow)
    patch.setattr(LaunchedStep, "is_computed", True)


@pytest.fixture(scope="module")
def words(folder):
    """llguidance's own view of the tokenizer, apart from the engine's."""
    text = (folder / "tokenizer.json").read_text()
    return LLTokenizer(text, n_vocab=len(PIECES), eos_token=[0, 1])


def text_of(tokens):
    return "".join(PIECES[token] for token in tokens)


def allowed_by(state):
    mask = np.zeros(-(-len(PIECES) // 32), np.int32)
    state.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
    assert not state.is_error(), state.get_error()
    return (mask[np.arange(len(PIECES)) // 32] >> np.arange(len(PIECES)) % 32) & 1 == 1


def begin_of(output, after):
    """Where the grammar begins in an output."""
    if not after:
        return 0
    for index in range(len(output) - len(after) + 1):
        if output[index : index + len(after)] == list(after):
            return index + len(after)
    return len(output)


def check(words, prompt, delta, grammar, *, after=(), temperature=0.0, jumps=True, limit=8):
    """Every token is the likeliest that its grammar allows, or one that it forces."""
    output, rows = delta.token_ids, MODEL.logprobs(prompt + delta.token_ids)[len(prompt) - 1 :]
    state = LLMatcher(words, grammar)
    first = begin_of(output, after)
    num_forced, forced = 0, []
    for index, token in enumerate(output):
        row = rows[index]
        if index >= first:
            if not forced and jumps:
                forced = state.compute_ff_tokens()[: limit - index]
                forced = forced if len(forced) > 1 else []
                num_forced += len(forced)
            allowed = allowed_by(state)
            assert allowed[token], (text_of(output), index)
            row = np.where(allowed, row, -np.inf)
            if not state.is_stopped() and token > 1:
                assert state.consume_token(token)
        if forced:
            assert token == forced.pop(0)
        elif temperature == 0:
            assert row.max() - row[token] < TOLERANCE
    for i, (token, logprob) in enumerate(joined(delta.logprobs)):
        assert token == output[i]
        assert logprob == pytest.approx(rows[i, token], abs=TOLERANCE)
    assert delta.num_forced == num_forced
    check_end(delta, state, is_begun=first < len(output), limit=limit)


def check_end(delta, state, *, is_begun, limit):
    if delta.finish.type == "length":
        assert len(delta.token_ids) == limit
    else:
        assert delta.finish.type == "stop", delta.finish
        if is_begun:
            assert state.is_accepting() or state.is_stopped()


@pytest.mark.parametrize("grammar", GRAMMARS, ids=[*REGEXES, "schema"])
@pytest.mark.parametrize("logprobs", [True, False])
def test_a_greedy_output_is_the_likeliest_that_is_allowed(engine, words, grammar, logprobs):
    for prompt in (BASE[:5], BASE[:17], BASE[:8]):
        for limit in (1, 5, 40):
            delta = engine.generate(
                prompt, grammar=grammar, logprobs=logprobs, max_new_tokens=limit
            )
            jumps = engine.jumps and not logprobs
            check(words, prompt, delta, grammar, jumps=jumps, limit=limit)


def test_a_wholly_forced_output_needs_no_step(engine, words):
    engine.forget()
    before = engine.call("stats")["steps"]
    delta = engine.generate(BASE[:9], grammar=GRAMMARS[3], logprobs=False, max_new_tokens=60)
    assert text_of(delta.token_ids) == REGEXES[3]
    assert delta.finish.type == "stop"
    if engine.jumps:
        assert delta.num_forced == len(delta.token_ids)
        assert engine.call("stats")["steps"] == before


def test_a_grammar_begins_after_the_tokens_it_waits_for(engine, words):
    grammar, num_begun = GRAMMARS[0], 0
    for seed in range(6):
        params = {"temperature": 1.5, "seed": seed, "max_new_tokens": 40}
        bias = {"logit_bias": {token: 4.0 for token in THINK_END}}
        delta = engine.generate(
            BASE[:6], grammar=grammar, after=THINK_END, logprobs=False, **params, **bias
        )
        output = delta.token_ids
        first = begin_of(output, THINK_END)
        num_begun += first < len(output)
        state = LLMatcher(words, grammar)
        for token in output[first:]:
            assert allowed_by(state)[token]
            if token > 1:
                state.consume_token(token)
    assert num_begun


def test_a_grammar_that_cannot_be_used_is_refused(engine):
    engine.forget()
    engine.submit("bad", BASE[:5], grammar='{"grammars":[{"lark_grammar":"start: /(/"}]}')
    engine.submit("good", BASE[:5], logprobs=False)
    engine.finish()
    assert engine.refusals["bad"].kind == "InvalidRequest"
    assert "cannot be used" in engine.refusals["bad"].message
    assert engine.deltas["good"].finish.type in ("length", "stop")


def test_a_request_can_be_aborted_while_its_grammar_compiles(engine):
    engine.forget()
    engine.submit("gone", BASE[:5], grammar=GRAMMARS[1])
    engine.abort("gone")
    engine.finish()
    assert engine.deltas["gone"].finish.type in ("abort", "length", "stop")
    assert not engine.setup.grammars._compiling


def test_logits_without_a_finite_value_fail_their_request_alone(engine, monkeypatch):
    engine.forget()
    draw = engine.setup.runner.draw

    def poisoned(requests, masks):
        masks = [
            np.zeros_like(mask) if request.rid == "bad" else mask
            for request, mask in zip(requests, masks, strict=True)
        ]
        return draw(requests, masks)

    monkeypatch.setattr(engine.setup.runner, "draw", poisoned)
    for rid in ("bad", "good"):
        engine.submit(rid, BASE[:5], grammar=GRAMMARS[1], logprobs=False)
    engine.finish()
    assert engine.deltas["bad"].finish.failed
    assert engine.deltas["good"].finish.type in ("length", "stop")


def test_a_grammar_that_is_too_much_work_fails_its_request_alone(engine, monkeypatch):
    engine.forget()
    fill, advance = Matcher.fill, Matcher.advance

    def failing(matcher, *args):
        if matcher.name == "bad fill":
            raise GrammarFault("too many states.")
        return fill(matcher, *args)

    def failing_to_advance(matcher, tokens):
        if matcher.name == "bad advance":
            raise GrammarFault("too many items")
        return advance(matcher, tokens)

    take = engine.setup.grammars.take

    def named(compiled):
        request = take(compiled)
        request.grammar.name = request.rid
        request.grammar._key += request.rid.encode()
        return request

    monkeypatch.setattr(engine.setup.grammars, "take", named)
    monkeypatch.setattr(Matcher, "fill", failing)
    monkeypatch.setattr(Matcher, "advance", failing_to_advance)
    for rid in ("bad fill", "good", "bad advance"):
        engine.submit(rid, BASE[:5], grammar=GRAMMARS[1], logprobs=False)
    engine.finish()
    for rid in ("bad fill", "bad advance"):
        finish = engine.deltas[rid].finish
        assert (finish.failed, finish.is_own_fault) == (True, True)
        assert finish.message.startswith("The grammar cannot go on: too many")
    assert engine.deltas["good"].finish.type in ("length", "stop")


def test_jumps_beside_free_requests_come_together_and_seldom(folder, monkeypatch):
    engine = Lockstep(model_path=str(folder), **LIMITS)
    while engine.scheduler.pace is None:
        engine.engine.turn()  # until all is compiled there is none
    grammar = LLMatcher.grammar_from_regex("((ab|10)forced text){4}")
    engine.submit("before", BASE[:4], grammar=grammar, logprobs=False)  # it is compiled
    engine.finish()
    batches = []
    launch = engine.setup.runner.launch

    def noted(batch):
        batches.append(batch.rows)
        return launch(batch)

    monkeypatch.setattr(engine.setup.runner, "launch", noted)
    monkeypatch.setattr(Pace, "steps_a_jump", lambda *_, **__: 4)
    engine.submit("free", BASE[:4], max_new_tokens=60, ignore_eos=True, logprobs=False)
    engine.turn(4)
    for i in range(2):
        options = {"grammar": grammar, "logprobs": False, "max_new_tokens": 80}
        engine.submit(f"bound{i}", BASE[i : i + 4], **options)
    engine.finish()
    engine.close()
    jumps = [
        [row for row in rows if row.num_tokens > 1 and row.start >= row.request.num_prompt]
        for rows in batches
        if any(row.request.rid == "free" for row in rows)
    ]
    at = [step for step, rows in enumerate(jumps) if rows]
    assert max(map(len, jumps)) == 2
    assert min(later - earlier for earlier, later in itertools.pairwise(at)) >= 4


requests = st.fixed_dictionaries(
    {
        "start": st.integers(0, 2),
        "length": st.integers(1, 40),
        "grammar": st.one_of(st.none(), st.integers(0, len(GRAMMARS) - 1)),
        "logprobs": st.booleans(),
        "after": st.sampled_from([(), (), (), tuple(THINK_END)]),
        "max_new_tokens": st.sampled_from([1, 2, 7, 30]),
        "temperature": st.sampled_from([0.0, 0.0, 0.9]),
    }
)
actions = st.lists(
    st.one_of(
        requests, requests, st.integers(1, 6), st.tuples(st.just("abort"), st.integers(0, 20))
    ),
    min_size=2,
    max_size=20,
)


@settings(max_examples=settings.default.max_examples // 4)
@given(actions=actions)
def test_random_lives_of_bound_and_free_requests(engine, words, actions):
    engine.forget()
    submitted = {}
    for action in actions:
        if isinstance(action, int):
            engine.turn(action)
        elif isinstance(action, tuple):
            engine.abort(f"r{action[1]}")
            engine.turn()
        else:
            rid = f"r{len(submitted)}"
            prompt = BASE[action["start"] * 40 :][: action["length"]]
            index = action["grammar"]
            grammar = None if index is None else GRAMMARS[index]
            options = {name: action[name] for name in ("logprobs", "max_new_tokens", "temperature")}
            if index is not None:
                options |= {"grammar": grammar, "after": action["after"]}
            submitted[rid] = prompt, options
            engine.submit(rid, prompt, seed=len(submitted), **options)
    engine.finish()
    for rid, (prompt, options) in submitted.items():
        delta = engine.deltas[rid]
        event(delta.finish.type)
        if delta.num_retractions:
            event("retracted")
        if delta.finish.type == "abort":
            assert not delta.finish.failed
        elif "grammar" in options:
            check(
                words,
                prompt,
                delta,
                options["grammar"],
                after=options["after"],
                temperature=options["temperature"],
                jumps=engine.jumps and not options["logprobs"],
                limit=options["max_new_tokens"],
            )
        elif options["temperature"] == 0:
            rows = MODEL.logprobs(prompt + delta.token_ids)[len(prompt) - 1 :]
            for row, token in zip(rows, delta.token_ids, strict=False):
                assert row.max() - row[token] < TOLERANCE


def test_eos_tokens_are_those_of_the_model(engine):
    assert engine.info.eos_ids == [PIECES.index(token) for token in EOS]
