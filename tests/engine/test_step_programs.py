"""What lies where on the device, from step to step."""

import itertools

import pytest

from tests.engine.lockstep import Lockstep
from tests.tiny import TinyLlama


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    engine = Lockstep(
        model_path=str(TinyLlama().save(tmp_path_factory.mktemp("tiny"))),
        page_size=4,
        max_total_tokens=400,
        chunked_prefill_size=16,
        max_running_requests=4,
    )
    yield engine
    engine.close()


def test_tokens_go_to_two_arrays_in_turn_and_nothing_else_moves(engine):
    """A recorded CUDA graph must be told of every array that does."""
    engine.submit("one", [5, 9, 20, 30], max_new_tokens=12, ignore_eos=True)
    states = []
    while not engine.is_idle:
        engine.turn()
        states.append(engine.setup.runner.state)
        kv = states[-1].kv
        found = kv[0].k, kv[-1].v, states[-1].tables, states[-1].last_tokens, states[-1].inbox
        where = [x.unsafe_buffer_pointer() for x in found]
        first = where if len(states) == 1 else first
        assert where == first
    pairs = [pair for pair in itertools.pairwise(states) if pair[0] is not pair[1]]
    assert len(pairs) >= 10
    assert all(after.outbox is before.unread for before, after in pairs)
