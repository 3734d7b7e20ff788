"""What `select` compares, against what the model says when it goes on by itself."""

import pytest

import sgjax as sgl

PROMPT = "Is Paris in France? Answer in one word."
CHOICES = ["Yes", "No"]


@sgl.function
def yes_or_no(s):
    s += sgl.user(PROMPT) + sgl.assistant(sgl.select("answer", CHOICES))


@sgl.function
def spoken(s):
    s += sgl.user(PROMPT) + sgl.assistant_begin()
    s += sgl.gen("answer", max_tokens=1, return_logprob=True, top_logprobs_num=20)
    s += sgl.assistant_end()


def test_a_choice_of_one_token_has_the_logprob_that_it_has_as_the_next_token(demo_engine):
    chosen = yes_or_no.run(backend=demo_engine)
    told = chosen.get_meta_info("answer")["input_token_logprobs"]
    state = spoken.run(backend=demo_engine, temperature=0)
    (top,) = state.get_meta_info("answer")["output_top_logprobs"]
    next_tokens = {token: logprob for logprob, token, _ in top}
    for ((logprob, token, text),), choice in zip(told, CHOICES, strict=True):
        assert text == choice
        assert logprob == pytest.approx(next_tokens[token], abs=1e-3)
    assert chosen["answer"] == "Yes"
