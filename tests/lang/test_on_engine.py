"""Programs on an Engine: what they ask is what the same prompts ask of it directly."""

import itertools
import json
import subprocess
import sys
import threading

import pytest
import regex

import sgjax as sgl
from sgjax.errors import EngineDead, ProgramFailed
from sgjax.front.files import chat_template_of

pytestmark = pytest.mark.timeout(120)

QUESTIONS = ["What is the capital of France?", "And of Peru?", "Is it a large city?"]
GREEDY = {"temperature": 0, "max_new_tokens": 24}


@sgl.function
def chat(s, questions=QUESTIONS):
    for i, question in enumerate(questions):
        s += sgl.user(question) + sgl.assistant(sgl.gen(f"answer {i}"))


@sgl.function
def go_on(s, prompt, *gens):
    s += prompt
    for gen in gens:
        s += gen


def ids_of(engine, text):
    """As a prompt."""
    return engine.tokenizer.encode(text)


def test_every_turn_of_a_chat_is_what_the_model_s_own_template_asks(demo_engine):
    state = chat.run(backend=demo_engine, **GREEDY)
    template = chat_template_of(demo_engine.config)
    messages = state.messages()
    assert [message["role"] for message in messages] == ["user", "assistant"] * 3
    for i in range(3):
        prompt = template.render(messages[: 2 * i + 1])
        ids = demo_engine.tokenizer.encode(prompt, add_special_tokens=False)
        out = demo_engine.generate(input_ids=ids, sampling_params=GREEDY)
        assert state[f"answer {i}"] == out["text"]
        meta = state.get_meta_info(f"answer {i}")
        assert meta["prompt_tokens"] == len(ids)
        assert meta["completion_tokens"] == out["meta_info"]["completion_tokens"]
    rendered = template.render(messages, add_generation_prompt=False)
    assert state.text() == rendered.removeprefix(demo_engine.tokenizer.bos_token or "")


def test_a_chained_call_reads_the_tokens_that_the_model_made(demo_engine):
    """Cut at four tokens, a text is seldom what the tokenizer would make of it as a whole."""
    gens = [sgl.gen(f"x{i}", max_tokens=4, ignore_eos=True, temperature=1.0) for i in range(6)]
    state = go_on.run("Once upon a time", *gens, backend=demo_engine)
    num_first = len(ids_of(demo_engine, "Once upon a time"))
    counts = [state.get_meta_info(f"x{i}")["prompt_tokens"] for i in range(6)]
    assert counts == [num_first + 4 * i for i in range(6)]


def kept(engine, num_tokens):
    """So many of a prompt's tokens are found in the cache: whole pages."""
    page_size = engine.get_server_info()["page_size"]
    return num_tokens // page_size * page_size


def test_a_chained_call_computes_what_is_new_alone(demo_engine):
    text = "This beginning is read by nobody else: " * 3
    gens = [sgl.gen(f"x{i}", max_tokens=15, ignore_eos=True) for i in range(3)]
    state = go_on.run(text, *gens, temperature=0, backend=demo_engine)
    metas = [state.get_meta_info(f"x{i}") for i in range(3)]
    for before, meta in itertools.pairwise(metas):
        # The last token that was made has not been read yet.
        num_read = before["prompt_tokens"] + before["completion_tokens"] - 1
        assert meta["cached_tokens"] == kept(demo_engine, num_read) > 0


def test_forks_share_what_they_begin_with(demo_engine):
    @sgl.function
    def tips(s):
        s += "These words stand before every one of the forks of this program. " * 4
        s += sgl.gen("first", max_tokens=1)
        s["first"]
        forks = s.fork(3)
        forks += lambda i: f" Number {i}:" + sgl.gen("tip", max_tokens=4)
        forks.join()

    state = tips.run(temperature=0, backend=demo_engine)
    num_shared = state.get_meta_info("first")["prompt_tokens"]
    for meta in state.get_meta_info("tip"):
        assert meta["cached_tokens"] >= kept(demo_engine, num_shared) > 0


CHOICES = [" Paris", " Lima", " the moon", " Paris and"]
PROMPT = "The capital of France is"


def scores_of(engine, prompt, choices):
    """The logprobs of choices' tokens behind a prompt, asked for one by one."""
    num_prompt = len(ids_of(engine, prompt))
    rows = []
    for choice in choices:
        out = engine.generate(
            prompt + choice, {"max_new_tokens": 1}, return_logprob=True, logprob_start_len=0
        )
        tokens = out["meta_info"]["input_token_logprobs"]
        assert [token for _, token, _ in tokens][:num_prompt] == ids_of(engine, prompt)
        rows.append([logprob for logprob, *_ in tokens[num_prompt:]])
    return rows


def test_select_compares_the_logprobs_of_the_choices_tokens(demo_engine):
    rows = scores_of(demo_engine, PROMPT, CHOICES)
    means = [sum(row) / len(row) for row in rows]
    state = go_on.run(PROMPT, sgl.select("city", CHOICES), backend=demo_engine)
    meta = state.get_meta_info("city")
    assert meta["normalized_prompt_logprobs"] == pytest.approx(means, abs=1e-3)
    for told, row in zip(meta["input_token_logprobs"], rows, strict=True):
        assert [logprob for logprob, *_ in told] == pytest.approx(row, abs=1e-3)
    assert state["city"] == CHOICES[means.index(max(means))]
    assert state.text() == PROMPT + state["city"]


def test_greedy_and_unconditional_choices_are_of_the_same_logprobs(demo_engine):
    rows = scores_of(demo_engine, PROMPT, CHOICES)
    greedy = sgl.select("city", CHOICES, choices_method=sgl.greedy_token_selection)
    meta = go_on.run(PROMPT, greedy, backend=demo_engine).get_meta_info("city")
    for told, row in zip(meta["greedy_logprob_matrix"], rows, strict=True):
        assert told[: len(row)] == pytest.approx(row, abs=1e-3)
    method = sgl.unconditional_likelihood_normalized
    choice = sgl.select("city", CHOICES, choices_method=method)
    state = go_on.run(PROMPT, choice, backend=demo_engine)
    alone = state.get_meta_info("city")["unconditional_token_logprobs"]
    assert [row[0][0] for row in alone] == [None] * len(CHOICES)
    assert [len(row) for row in alone] == [len(row) for row in rows]
    assert state["city"] == " Paris"


@pytest.mark.parametrize(
    ("gen", "pattern"),
    [
        (sgl.gen("x", regex=r"[ab]{3}-\d\d"), r"[ab]{3}-\d\d"),
        (sgl.gen("x", ebnf='root ::= "yes" | "no"'), "yes|no"),
        (sgl.gen_int("x"), r"[-+]?\d+\s*"),
        (sgl.gen("x", dtype=float), r"[-+]?\d*\.?\d+\s*"),
        (sgl.gen("x", dtype="bool"), "True|False"),
        (sgl.gen_string("x"), r'"[\w\d\s]*"'),
    ],
)
def test_bound_texts_match(demo_engine, gen, pattern):
    state = go_on.run("A:", gen, temperature=1.0, max_new_tokens=16, backend=demo_engine)
    text, finish = state["x"], state.get_meta_info("x")["finish_reason"]
    assert state.text() == "A:" + text
    assert text and regex.fullmatch(pattern, text, partial=finish["type"] == "length"), text


def test_a_json_schema_may_be_a_dict_or_its_text(demo_engine):
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["age"],
        "additionalProperties": False,
    }
    for given in (schema, json.dumps(schema)):
        gen = sgl.gen("x", json_schema=given, max_tokens=40)
        found = json.loads(go_on.run("A person:", gen, temperature=0, backend=demo_engine)["x"])
        assert list(found) == ["age"] and 0 <= found["age"] <= 99


def test_a_stop_string_is_no_part_of_the_text_that_goes_on(demo_engine):
    plain = demo_engine.generate(PROMPT, {"temperature": 0, "max_new_tokens": 4})["text"]
    stop = plain.strip()[1:3]
    gens = sgl.gen("x", stop=stop), sgl.gen("y", max_tokens=3)
    state = go_on.run(PROMPT, *gens, temperature=0, backend=demo_engine)
    assert state["x"] == plain[: plain.index(stop)]
    assert state.get_meta_info("x")["finish_reason"]["matched"] == stop
    direct = demo_engine.generate(PROMPT + state["x"], {"temperature": 0, "max_new_tokens": 3})
    assert state["y"] == direct["text"]


def test_logprobs_are_told(demo_engine):
    gen = sgl.gen("x", max_tokens=3, return_logprob=True, top_logprobs_num=2, ignore_eos=True)
    meta = go_on.run(PROMPT, gen, temperature=0, backend=demo_engine).get_meta_info("x")
    assert len(meta["output_token_logprobs"]) == 3
    assert [len(top) for top in meta["output_top_logprobs"]] == [2, 2, 2]


def test_a_stream_says_what_a_run_says(demo_engine):
    plain = chat.run(backend=demo_engine, **GREEDY)
    streamed = chat.run(backend=demo_engine, stream=True, **GREEDY)
    assert "".join(streamed.text_iter()) == plain.text() == streamed.text()
    assert streamed.messages() == plain.messages()
    for name in ("answer 0", "answer 2"):
        assert "".join(streamed.text_iter(name)) == plain[name]


def test_a_batch_says_what_its_items_say_alone(demo_engine):
    items = [{"questions": [f"What is {i} plus one?", QUESTIONS[i % 2]]} for i in range(32)]
    states = chat.run_batch(items, backend=demo_engine, **GREEDY)
    assert [state.messages()[0]["content"] for state in states] == [
        item["questions"][0] for item in items
    ]
    for i in (0, 17, 31):
        alone = chat.run(**items[i], backend=demo_engine, **GREEDY)
        assert states[i].text() == alone.text()


def test_one_bad_item_of_a_batch_fails_alone(demo_engine):
    limit = demo_engine.get_server_info()["engine"]["context_length"]
    long = "word " * (limit + 1)
    prompts = [["Hello"], [long], ["Bye"]]
    program = sgl.function(lambda s, prompt: s.__iadd__(prompt + sgl.gen("x", max_tokens=2)) and 1)
    good, bad, other = program.run_batch(prompts, backend=demo_engine)
    assert good.error() is None and other.error() is None
    with pytest.raises(ProgramFailed, match="context"):
        bad["x"]


def test_flush_and_server_info_are_the_engine_s(demo_engine):
    assert sgl.flush_cache(demo_engine) is True
    assert sgl.get_server_info(demo_engine)["model_path"] == "demo"


@sgl.function
def for_ever(s):
    for i in range(500):
        s += "More:" + sgl.gen(f"x{i}", max_tokens=4000, ignore_eos=True)


def test_an_engine_that_is_shut_down_ends_its_programs():
    engine = sgl.Engine(model_path="demo")
    state = for_ever.run(stream=True, backend=engine)
    pieces = state.text_iter("x0")
    assert next(pieces)
    ending = threading.Thread(target=engine.shutdown)
    ending.start()
    for read in (lambda: list(pieces), lambda: state["x0"], lambda: state["x499"], state.text):
        with pytest.raises(ProgramFailed, match=r"gen\('x0'\) failed, at .*(abort|shut down)"):
            read()
    ending.join()
    with pytest.raises(EngineDead, match="shut down"):
        for_ever.run(backend=engine)


def test_a_call_that_is_aborted_is_an_error_and_no_short_answer(demo_engine):
    state = for_ever.run(stream=True, backend=demo_engine)
    next(state.text_iter("x0"))
    demo_engine.abort_request(abort_all=True)
    with pytest.raises(ProgramFailed, match=r"gen\('x0'\) failed, at .*The call was aborted"):
        state["x0"]


SCRIPT = """
import sgjax as sgl

@sgl.function
def go_on(s):
    s += "The capital of France is" + sgl.gen("city", max_tokens=1, temperature=0)

sgl.set_default_backend(sgl.Engine(model_path="demo"))
print(go_on.run()["city"])
"""


def test_a_script_ends_in_silence_though_its_engine_still_compiles():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, " Paris\n", "")
