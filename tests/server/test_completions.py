"""/v1/completions by the real openai client, and its older logprobs."""

from typing import Any

import httpx
import openai
import pytest

from tests.front.fakes import BOS, logprob_of
from tests.server.live import TEXT, Live


def test_a_prompt_gives_a_choice_of_sixteen_tokens(ai: openai.OpenAI) -> None:
    out = ai.completions.create(model="default", prompt="hi")
    assert (out.object, out.model) == ("text_completion", "fake")
    assert out.choices[0].text == TEXT[:16]
    assert out.choices[0].finish_reason == "length"
    assert out.usage is not None
    assert out.usage.model_dump(exclude_none=True) == {
        "prompt_tokens": 3,
        "completion_tokens": 16,
        "total_tokens": 19,
    }


@pytest.mark.parametrize(
    ("prompt", "counts"),
    [("a", [2]), (["a", "bb"], [2, 3]), ([1, 2, 3], [3]), ([[1], [2, 3]], [1, 2])],
)
def test_prompts_come_in_four_shapes(
    server: Live, ai: openai.OpenAI, prompt: Any, counts: list[int]
) -> None:
    out = ai.completions.create(model="fake", prompt=prompt, n=2, max_tokens=2)
    assert [choice.index for choice in out.choices] == list(range(2 * len(counts)))
    assert [len(each.prompt_ids) for each in server.client.submits[::2]] == counts
    assert out.usage is not None
    assert out.usage.prompt_tokens == sum(counts)
    assert out.usage.completion_tokens == 2 * 2 * len(counts)


def test_a_stream_gives_deltas_and_usage_on_request(ai: openai.OpenAI) -> None:
    chunks = list(
        ai.completions.create(
            model="fake",
            prompt="hi",
            max_tokens=3,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert [chunk.choices[0].text for chunk in chunks[:-1]] == ["T", "h", "e"]
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None, None, "length"]
    assert chunks[-1].choices == [] and chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (3, 3)
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1


def test_a_stream_of_several_choices_keeps_their_indices(ai: openai.OpenAI) -> None:
    texts = dict.fromkeys(range(4), "")
    for chunk in ai.completions.create(
        model="fake", prompt=["a", "b"], n=2, max_tokens=5, stream=True
    ):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == dict.fromkeys(range(4), TEXT[:5])


def test_echo_puts_the_prompt_first(ai: openai.OpenAI) -> None:
    out = ai.completions.create(model="fake", prompt=["Höre: ", "b"], echo=True, max_tokens=3)
    assert [choice.text for choice in out.choices] == ["Höre: The", "bThe"]
    ids = list("Hü ".encode())
    out = ai.completions.create(model="fake", prompt=[BOS, *ids], echo=True, max_tokens=3)
    assert out.choices[0].text == "Hü The"
    stream = ai.completions.create(model="fake", prompt="a", echo=True, max_tokens=2, stream=True)
    assert [chunk.choices[0].text for chunk in stream] == ["aT", "h"]


def test_logprobs_are_parallel_lists(ai: openai.OpenAI) -> None:
    out = ai.completions.create(model="fake", prompt="hi", logprobs=2, max_tokens=2)
    found = out.choices[0].logprobs
    assert found is not None
    assert found.tokens == ["T", "h"]
    assert found.token_logprobs == [logprob_of(84), logprob_of(104)]
    assert found.text_offset == [0, 1]
    # The likeliest two, and the token itself.
    assert found.top_logprobs == [
        {"T": logprob_of(84), "\0": logprob_of(0), "\x01": logprob_of(1)},
        {"h": logprob_of(104), "\0": logprob_of(0), "\x01": logprob_of(1)},
    ]


def test_logprobs_of_zero_are_those_of_the_tokens_alone(ai: openai.OpenAI) -> None:
    out = ai.completions.create(model="fake", prompt="hi", logprobs=0, max_tokens=1)
    found = out.choices[0].logprobs
    assert found is not None and found.top_logprobs == [{"T": logprob_of(84)}]


@pytest.mark.parametrize("max_tokens", [0, 1])
def test_echo_with_logprobs_scores_the_prompt(ai: openai.OpenAI, max_tokens: int) -> None:
    """What evaluation harnesses do: log-likelihoods of a text that they bring."""
    out = ai.completions.create(
        model="fake", prompt="aü", echo=True, logprobs=1, max_tokens=max_tokens, temperature=0
    )
    assert out.choices[0].text == "aüT"[: 2 + max_tokens]
    found = out.choices[0].logprobs
    assert found is not None
    first, second = "ü".encode()
    expected = [None, *(logprob_of(token) for token in (97, first, second))]
    assert found.token_logprobs == [*expected, logprob_of(84)][: 4 + max_tokens]
    assert found.tokens == ["<s>", "a", "\ufffd", "\ufffd", "T"][: 4 + max_tokens]
    assert found.text_offset == [0, 0, 1, 1, 2][: 4 + max_tokens]
    assert found.top_logprobs is not None and found.top_logprobs[0] is None
    assert found.top_logprobs[1] == {"a": logprob_of(97), "\0": logprob_of(0)}


def test_of_best_of_the_likeliest_are_told(server: Live, ai: openai.OpenAI) -> None:
    """A seed says where the fake model begins to recite; "b" is likelier than "c", than "d" …"""
    server.client.reset("dcbe")
    out = ai.completions.create(
        model="fake", prompt=["x", "y"], n=2, best_of=4, max_tokens=1, seed=0, logprobs=0
    )
    drawn = [server.client.text[submit.params.seed % 5] for submit in server.client.submits]
    assert len(drawn) == 8 and len(set(drawn)) > 2
    for prompt in range(2):
        best = sorted(drawn[4 * prompt :][:4])[:2]
        told = out.choices[2 * prompt :][:2]
        assert [choice.text for choice in told] == best
        assert [choice.index for choice in told] == [2 * prompt, 2 * prompt + 1]
    assert out.usage is not None and out.usage.completion_tokens == 8
    bare = ai.completions.create(model="fake", prompt="x", best_of=4, max_tokens=1, echo=True)
    assert len(bare.choices) == 1 and bare.choices[0].logprobs is None
    assert bare.choices[0].text.startswith("x")


@pytest.mark.parametrize("max_tokens", [0, 1])
def test_an_evaluation_harness_finds_the_likelihood_of_a_continuation(
    ai: openai.OpenAI, max_tokens: int
) -> None:
    """Token ids of context and continuation, in a batch: it sums what stands behind the context,
    and calls the continuation greedy if each token's logprob is the highest of its place."""
    contexts, continuations = [[5, 6], [7]], [[0, 0, 9], [0]]
    prompts = [a + b for a, b in zip(contexts, continuations, strict=True)]
    out = ai.completions.create(
        model="fake",
        prompt=prompts,
        echo=True,
        logprobs=1,
        max_tokens=max_tokens,
        temperature=0,
        seed=1234,
    )
    assert [choice.index for choice in out.choices] == [0, 1]
    for choice, context, continuation in zip(out.choices, contexts, continuations, strict=True):
        found = choice.logprobs
        assert found is not None and found.token_logprobs is not None
        end = len(context) + len(continuation)
        scored = found.token_logprobs[len(context) : end]
        assert sum(scored) == pytest.approx(sum(map(logprob_of, continuation)))
        assert found.top_logprobs is not None
        tops = found.top_logprobs[len(context) : end]
        is_greedy = all(own == max(top.values()) for own, top in zip(scored, tops, strict=True))
        assert is_greedy == (set(continuation) == {0})


def test_offsets_go_on_through_a_stream(ai: openai.OpenAI) -> None:
    stream = ai.completions.create(
        model="fake", prompt="ab", echo=True, logprobs=0, max_tokens=2, stream=True
    )
    offsets = [chunk.choices[0].logprobs.text_offset for chunk in stream]  # type: ignore[union-attr]
    assert offsets == [[0, 0, 1, 2], [3]]


def test_a_limit_that_was_not_asked_for_is_cut_but_one_that_was_is_refused(
    ai: openai.OpenAI,
) -> None:
    out = ai.completions.create(model="fake", prompt=[1] * 250, extra_body={"ignore_eos": True})
    assert out.usage is not None and out.usage.completion_tokens == 6
    with pytest.raises(openai.BadRequestError) as caught:
        ai.completions.create(model="fake", prompt=[1] * 250, max_tokens=16)
    assert caught.value.code == "context_length_exceeded"
    assert "256" in caught.value.message and "250" in caught.value.message


def test_extras_reach_the_engine(server: Live, ai: openai.OpenAI) -> None:
    ai.completions.create(
        model="fake",
        prompt="hi",
        max_tokens=5,
        temperature=0.5,
        top_p=0.9,
        seed=3,
        logit_bias={"65": -100},
        frequency_penalty=1,
        presence_penalty=-1,
        stop=["x", "y"],
        best_of=1,
        extra_body={
            "top_k": 7,
            "min_p": 0.1,
            "ignore_eos": True,
            "repetition_penalty": 1.1,
            "min_tokens": 2,
            "stop_token_ids": [5],
            "skip_special_tokens": False,
            "no_stop_trim": True,
            "add_special_tokens": False,
            "cache_salt": "me",
        },
    )
    submit = server.client.submits[0]
    params = submit.params
    assert (params.temperature, params.top_p, params.top_k, params.min_p) == (0.5, 0.9, 7, 0.1)
    assert (params.seed, params.logit_bias, params.stop) == (3, {65: -100}, ("x", "y"))
    assert (params.frequency_penalty, params.presence_penalty) == (1, -1)
    assert (params.ignore_eos, params.repetition_penalty) == (True, 1.1)
    assert (params.min_new_tokens, params.max_new_tokens) == (2, 5)
    assert (params.stop_token_ids, params.no_stop_trim) == ((5,), True)
    assert params.skip_special_tokens is False
    assert list(submit.prompt_ids) == list(b"hi")
    assert submit.cache_salt == "me"


def test_an_abort_by_the_answers_id_ends_all_its_choices(server: Live, ai: openai.OpenAI) -> None:
    server.client.reset(TEXT, pause_after=2)
    stream = ai.completions.create(model="fake", prompt=["a", "b"], n=2, stream=True)
    first = next(stream)
    server.wait_for_requests(4)
    assert httpx.post(f"{server.url}/abort_request", json={"rid": first.id}).status_code == 200
    reasons = [chunk.choices[0].finish_reason for chunk in stream]
    assert reasons.count("abort") == 4  # type: ignore[comparison-overlap]
