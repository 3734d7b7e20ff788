from array import array

from sgjax.engine.messages import Delta, Tokens
from sgjax.engine.outbox import Outbox
from sgjax.engine.request import FinishReason, Request
from sgjax.engine.results import Drawn, Output
from sgjax.sampling_params import SamplingParams


def request(rid="r", **options):
    return Request(rid, array("i", [7, 7, 7]), SamplingParams(), **options)


def drawn(outbox, *pairs):
    for one, token in pairs:
        one.tokens.append(token)
    return outbox.news(Drawn([one for one, _ in pairs], [token for _, token in pairs]), [])


def output(outbox, one, token, finish=None):
    one.tokens.append(token)
    one.finish_reason = finish
    return outbox.news(Drawn([], []), [Output(one, [token], finish)])


def test_tokens_of_many_requests_are_one_event():
    outbox, a, b = Outbox(), request("a"), request("b")
    assert drawn(outbox, (a, 1), (b, 2)) == [Tokens(["a", "b"], [1, 2])]


def test_a_request_that_is_not_streamed_is_told_its_first_token_and_the_rest_at_the_end():
    outbox, quiet, loud = Outbox(), request("quiet", is_streamed=False), request("loud")
    assert output(outbox, quiet, 1) == [Delta("quiet", [1])]
    assert drawn(outbox, (quiet, 2), (loud, 5)) == [Tokens(["loud"], [5])]
    assert drawn(outbox, (quiet, 3)) == []
    end = FinishReason("length", length=4)
    assert output(outbox, quiet, 4, end) == [Delta("quiet", [2, 3, 4], end)]


def test_a_retracted_request_is_told_nothing_twice():
    outbox, quiet = Outbox(), request(is_streamed=False)
    output(outbox, quiet, 1)
    drawn(outbox, (quiet, 2))
    assert output(outbox, quiet, 3) == []  # its tokens were computed again
    quiet.finish_reason = FinishReason("abort")
    assert outbox.last(quiet) == Delta("r", [2, 3], FinishReason("abort"))


def test_an_aborted_request_gives_what_it_has():
    outbox, quiet, loud = Outbox(), request("quiet", is_streamed=False), request("loud")
    output(outbox, quiet, 1)
    drawn(outbox, (quiet, 2), (loud, 2))
    for one in (quiet, loud):
        one.finish_reason = FinishReason("abort")
    assert outbox.last(quiet).token_ids == [2]
    assert outbox.last(loud).token_ids == []


def test_logprobs_are_told_as_they_come():
    outbox, one = Outbox(), request(is_streamed=False, return_logprob=True)
    assert output(outbox, one, 1) == [Delta("r", [1])]
    assert output(outbox, one, 2) == [Delta("r", [2])]
