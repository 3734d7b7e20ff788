"""The generator in front of a fake engine: checks, text, stop strings, samples, aborts."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from sgjax.errors import (
    ContextTooLong,
    EngineDead,
    InvalidRequest,
    NeverFits,
    QueueFull,
    RequestFailed,
)
from sgjax.front.generator import Generator
from sgjax.front.piece import Piece
from sgjax.front.request import GenerationRequest, seed_of_sample
from sgjax.sampling_params import SamplingParams
from tests.front.fakes import (
    BOS,
    CONTEXT,
    EOS,
    VOCAB_SIZE,
    FakeEngineClient,
    byte_tokenizer,
    logprob_of,
    make_info,
)

TOKENIZER = byte_tokenizer()


def ask(prompt: str | list[int] = "hi", **fields: Any) -> GenerationRequest:
    """A request; names of SamplingParams go there, the others are the request's own."""
    own = {"rid", "return_logprob", "logprob_start", "top_logprobs", "overflow"}
    params = {name: value for name, value in fields.items() if name not in own}
    rest = {name: value for name, value in fields.items() if name in own}
    return GenerationRequest(prompt=prompt, params=SamplingParams(**params), **rest)


async def collect(generator: Generator, *requests: GenerationRequest, **how: Any) -> list[Piece]:
    """The whole output of every sample."""
    generation = await generator.start(requests, **how)
    wholes = [Piece("", []) for _ in generation.samples]
    async for pieces in generation:
        for index, piece in pieces:
            wholes[index].extend(piece)
    return wholes


async def pieces(generator: Generator, request: GenerationRequest) -> list[str]:
    generation = await generator.start([request], is_streamed=True)
    return [piece.text async for pieces in generation for _, piece in pieces]


def generator_of(client: FakeEngineClient, **options: Any) -> Generator:
    return Generator(client, TOKENIZER, **options)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def one(client: FakeEngineClient, request: GenerationRequest) -> Piece:
    return run(collect(generator_of(client), request))[0]


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_text_is_that_of_the_tokens_however_they_are_split(chunk: int) -> None:
    client = FakeEngineClient("Grüße, 👋!", chunk=chunk)
    whole = one(client, ask())
    assert whole.text == "Grüße, 👋!"
    assert whole.token_ids == [*"Grüße, 👋!".encode(), EOS]
    assert whole.finish is not None and whole.finish.to_dict() == {"type": "stop", "matched": EOS}
    assert client.aborted == []


def test_a_stream_holds_back_half_a_character() -> None:
    client = FakeEngineClient("aü")
    assert run(pieces(generator_of(client), ask())) == ["a", "", "ü", ""]


def test_text_prompts_get_a_bos_and_ids_go_as_they_are() -> None:
    client = FakeEngineClient("x")
    run(collect(generator_of(client), ask("hi"), ask([104, 105])))
    assert [list(submit.prompt_ids) for submit in client.submits] == [[BOS, 104, 105], [104, 105]]


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_a_stop_string_across_tokens_ends_the_request_and_nothing_past_it_counts(
    chunk: int,
) -> None:
    client = FakeEngineClient("one END two", chunk=chunk)
    whole = one(client, ask(stop=("END",), return_logprob=True))
    assert whole.text == "one "
    assert bytes(whole.token_ids) == b"one END"
    assert whole.finish is not None
    assert whole.finish.to_dict() == {"type": "stop", "matched": "END"}
    assert whole.logprobs is not None and whole.logprobs.tokens == whole.token_ids
    ended_early = chunk < 100
    assert bool(client.aborted) == ended_early
    assert not client.live


def test_no_stop_trim_leaves_the_stop_in_the_text() -> None:
    client = FakeEngineClient("one END two")
    assert one(client, ask(stop=("END",), no_stop_trim=True)).text == "one END"


def test_what_only_began_a_stop_string_comes_with_the_end() -> None:
    client = FakeEngineClient("one EN")
    whole = one(client, ask(stop=("END",), max_new_tokens=6))
    assert whole.text == "one EN"
    assert whole.finish is not None and whole.finish.to_dict() == {"type": "length", "length": 6}


def test_a_stop_token_counts_but_has_no_text() -> None:
    client = FakeEngineClient("abcabc")
    whole = one(client, ask(stop_token_ids=(ord("c"),)))
    assert (whole.text, bytes(whole.token_ids)) == ("ab", b"abc")


def test_a_stream_interval_gives_the_first_token_at_once_and_then_runs() -> None:
    client = FakeEngineClient("abcdefgh")
    generator = generator_of(client, stream_interval=3)
    assert run(pieces(generator, ask(max_new_tokens=8))) == ["a", "bcd", "efg", "h"]


def test_samples_of_a_seed_differ_and_repeat() -> None:
    client = FakeEngineClient("abcdefghijklmnopqrstuvwxyz")
    request = ask(n=4, seed=7, max_new_tokens=5)
    first = [whole.text for whole in run(collect(generator_of(client), request))]
    again = [whole.text for whole in run(collect(generator_of(client), request))]
    assert first == again
    assert len(set(first)) > 1
    seeds = [submit.params.seed for submit in client.submits[:4]]
    assert seeds == [seed_of_sample(7, i) for i in range(4)]
    assert seeds[0] == 7 and len(set(seeds)) == 4
    assert all(submit.params.n == 1 for submit in client.submits)


def test_samples_without_a_seed_have_none() -> None:
    client = FakeEngineClient("abc")
    run(collect(generator_of(client), ask(n=2)))
    assert [submit.params.seed for submit in client.submits] == [None, None]


def test_many_prompts_come_prompt_by_prompt() -> None:
    client = FakeEngineClient("abc")
    wholes = run(collect(generator_of(client), ask("x", n=2), ask("y", max_new_tokens=1)))
    assert [whole.text for whole in wholes] == ["abc", "abc", "a"]


def test_closing_early_aborts_and_makes_room() -> None:
    async def story() -> None:
        client = FakeEngineClient("abcdef")
        client.reset("abcdef", pause_after=2)
        generator = generator_of(client)
        generation = await generator.start([ask(n=2)], is_streamed=True)
        await anext(generation)
        assert generator.num_live == 2
        await generation.aclose()
        assert generator.num_live == 0
        assert len(client.aborted) == 2 and not client.live

    run(story())


def test_a_generation_that_was_never_read_makes_room_when_closed() -> None:
    async def story() -> None:
        generator = generator_of(FakeEngineClient("abc"))
        generation = await generator.start([ask(rid="a"), ask(rid="b")])
        await generation.aclose()
        assert generator.num_live == 0
        await collect(generator, ask(rid="a"))

    run(story())


def test_cancelling_the_reader_aborts() -> None:
    async def story() -> None:
        client = FakeEngineClient("abcdef")
        client.reset("abcdef", pause_after=2)
        generator = generator_of(client)
        for count in (1, 3):
            task = asyncio.create_task(collect(generator, ask(n=count)))
            while len(client.live) < count:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert generator.num_live == 0 and not client.live

    run(story())


def test_abort_by_name_ends_all_samples_and_returns_what_there_is() -> None:
    async def story() -> None:
        client = FakeEngineClient("abcdef")
        client.reset("abcdef", pause_after=2)
        generator = generator_of(client)
        task = asyncio.create_task(collect(generator, ask(n=2, rid="mine")))
        other = asyncio.create_task(collect(generator, ask(rid="other")))
        while len(client.live) < 3:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        await generator.abort("nobody")
        await generator.abort("mine")
        wholes = await task
        assert [whole.text for whole in wholes] == ["ab", "ab"]
        assert all(whole.finish.type == "abort" for whole in wholes)
        assert not other.done()
        client.go_on()
        assert (await other)[0].text == "abcdef"

    run(story())


def test_a_name_in_use_is_refused_and_free_again_later() -> None:
    async def story() -> None:
        generator = generator_of(FakeEngineClient("abc"))
        generation = await generator.start([ask(rid="a")])
        with pytest.raises(InvalidRequest, match="'a' is under way"):
            await generator.start([ask(rid="b"), ask(rid="a")])
        assert generator.num_live == 1
        await generation.aclose()
        await collect(generator, ask(rid="a"), ask(rid="b"))

    run(story())


def test_a_full_house_refuses_before_it_tokenises() -> None:
    async def story() -> None:
        generator = generator_of(FakeEngineClient("abc"), max_live=2)
        generation = await generator.start([ask(n=2)])
        with pytest.raises(QueueFull, match="at most 2"):
            await generator.start([ask([VOCAB_SIZE])])  # its id would be refused otherwise
        async for _ in generation:
            pass
        await collect(generator, ask())
        with pytest.raises(InvalidRequest, match="wants 3 outputs"):
            await generator.start([ask(n=3)])
        assert generator.num_live == 0

    run(story())


@pytest.mark.parametrize("token", [-1, VOCAB_SIZE, 2**63, 1.5, True, "a"])
def test_an_id_outside_the_vocabulary_is_refused(token: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"oken id"):
        one(FakeEngineClient("abc"), ask([1, token]))


def test_a_prompt_without_tokens_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no tokens"):
        one(FakeEngineClient("abc"), ask([]))


@pytest.mark.parametrize(
    "fields",
    [
        {"stop_token_ids": (VOCAB_SIZE,)},
        {"logit_bias": {VOCAB_SIZE: 1.0}},
        {"top_logprobs": 21},
        {"logprob_start": 3},
    ],
)
def test_indices_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(fields))):
        one(FakeEngineClient("abc"), ask([1, 2, 3], return_logprob=True, **fields))


def test_a_prompt_over_the_context_is_refused_with_both_numbers() -> None:
    for count in (CONTEXT, CONTEXT + 10):
        for overflow in ("refuse", "cut"):
            with pytest.raises(ContextTooLong, match=rf"{CONTEXT} tokens.* {count} "):
                one(FakeEngineClient("abc"), ask([1] * count, overflow=overflow))


def test_what_is_asked_beyond_the_context_is_refused_or_cut() -> None:
    client = FakeEngineClient("abc")
    fits = ask([1] * (CONTEXT - 5), max_new_tokens=5, ignore_eos=True)
    assert len(one(client, fits).token_ids) == 5
    with pytest.raises(ContextTooLong, match=r"6 more .* Use 1 fewer"):
        one(client, ask([1] * (CONTEXT - 5), max_new_tokens=6))
    cut = ask(
        [1] * (CONTEXT - 5), max_new_tokens=9, min_new_tokens=9, overflow="cut", ignore_eos=True
    )
    whole = one(client, cut)
    assert whole.finish is not None and whole.finish.to_dict() == {"type": "length", "length": 5}


def test_no_limit_means_to_the_end_of_the_context() -> None:
    client = FakeEngineClient("abc")
    whole = one(client, ask([1] * 10, max_new_tokens=None, ignore_eos=True))
    assert len(whole.token_ids) == CONTEXT - 10


def test_what_the_cache_cannot_hold_is_refused_or_cut() -> None:
    client = FakeEngineClient("abc", info=make_info(max_total_tokens=32))
    with pytest.raises(NeverFits, match="33"):
        one(client, ask([1] * 30, max_new_tokens=4))
    assert len(one(client, ask([1] * 30, max_new_tokens=3, ignore_eos=True)).token_ids) == 3
    cut = ask([1] * 30, max_new_tokens=9, overflow="cut", ignore_eos=True)
    assert len(one(client, cut).token_ids) == 3
    with pytest.raises(NeverFits):
        one(client, ask([1] * 33, overflow="cut"))


def test_no_new_tokens_is_an_empty_output() -> None:
    whole = one(FakeEngineClient("abc"), ask(max_new_tokens=0))
    assert (whole.text, whole.token_ids) == ("", [])
    assert whole.finish is not None and whole.finish.type == "length"


def test_prompt_logprobs_begin_with_a_token_that_nothing_predicts() -> None:
    request = ask([1, 2, 3], return_logprob=True, logprob_start=0, top_logprobs=1, max_new_tokens=1)
    whole = one(FakeEngineClient("abc"), request)
    assert whole.prompt_logprobs is not None
    assert whole.prompt_logprobs.tokens == [1, 2, 3]
    assert whole.prompt_logprobs.logprobs == [None, logprob_of(2), logprob_of(3)]
    assert whole.prompt_logprobs.top is not None and whole.prompt_logprobs.top[0] == []
    later = ask([1, 2, 3], return_logprob=True, logprob_start=1)
    found = one(FakeEngineClient("abc"), later).prompt_logprobs
    assert found is not None and found.tokens == [3]
    alone = ask([1], return_logprob=True, logprob_start=0)
    found = one(FakeEngineClient("abc"), alone).prompt_logprobs
    assert found is not None and (found.tokens, found.logprobs) == ([1], [None])


def test_an_engine_that_fails_on_a_request_says_so() -> None:
    client = FakeEngineClient("abc")
    client.fails = True
    with pytest.raises(RequestFailed, match="NaN"):
        one(client, ask(n=2))


def test_a_dead_engine_is_told_to_all_who_wait() -> None:
    async def story() -> None:
        client = FakeEngineClient("abcdef")
        client.reset("abcdef", pause_after=2)
        generator = generator_of(client)
        tasks = [asyncio.create_task(collect(generator, ask(n=n))) for n in (1, 2)]
        while len(client.live) < 3:
            await asyncio.sleep(0)
        client.die()
        for task in tasks:
            with pytest.raises(EngineDead):
                await task
        assert generator.num_live == 0

    run(story())


def test_without_a_tokenizer_ids_work_and_text_is_refused() -> None:
    client = FakeEngineClient("abc")
    generator = Generator(client, None)
    whole = run(collect(generator, ask([1])))[0]
    assert (whole.text, bytes(whole.token_ids[:3])) == ("", b"abc")
    for request in (ask("text"), ask([1], stop=("x",))):
        with pytest.raises(InvalidRequest, match="skip-tokenizer-init"):
            run(collect(generator, request))


def test_a_long_text_is_tokenised_all_the_same() -> None:
    client = FakeEngineClient("x", info=make_info(context_length=1 << 20))
    one(client, ask("ab" * 20_000))
    assert len(client.submits[0].prompt_ids) == 40_001


def test_an_observer_hears_of_first_tokens_gaps_and_ends() -> None:
    class Ear:
        def __init__(self) -> None:
            self.heard: list[Any] = []

        def saw_first_token(self, since_submit_s: float) -> None:
            self.heard.append("first")

        def saw_next_tokens(self, since_last_s: float, num_tokens: int) -> None:
            self.heard.append(num_tokens)

        def saw_end(self, since_submit_s: float, reason: str) -> None:
            self.heard.append(reason)

    ear = Ear()
    client = FakeEngineClient("abcdef", chunk=3)
    run(collect(Generator(client, TOKENIZER, ear), ask(max_new_tokens=5)))
    assert ear.heard == ["first", 2, "length"]
