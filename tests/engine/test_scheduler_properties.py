"""Random lives of a scheduler: whatever happens, in whatever order, each request gets the tokens
that the model alone would give it, and every page is where it belongs."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from sgjax.engine.limits import Limits
from sgjax.engine.pace import Pace, StepCost
from sgjax.engine.sharing import Sharing
from sgjax.errors import NeverFits
from tests.engine.paged_device import VOCAB, make_limits
from tests.engine.simulation import Simulation

# Prompts are a part of one of these and a few tokens of their own, so that they share prefixes.
STEMS = [list(range(1, 41)), list(range(1, 18)) + list(range(30, 2, -1)), [7] * 24]

prompts = st.builds(
    lambda stem, length, tail: stem[:length] + tail,
    st.sampled_from(STEMS),
    st.integers(0, 40),
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=5),
)
policies = st.sampled_from(["lpm", "fcfs", "random", "dfs-weight"])


@st.composite
def limits(draw) -> Limits:
    page_size = draw(st.sampled_from([1, 4, 16]))
    num_tokens = draw(st.sampled_from([80, 80, 112, 400]))
    num_slots = draw(st.integers(1, 6))
    return make_limits(
        page_size=page_size,
        num_pages=num_tokens // page_size,
        num_slots=num_slots,
        max_step_tokens=draw(st.sampled_from([4, 9, 16, 64])),
        max_prefill_tokens=draw(st.sampled_from([4, 20, 64])),
        max_logits=draw(st.sampled_from([3, 8, 16])),
    )


@st.composite
def paces(draw) -> Pace:
    cost = StepCost(
        step=draw(st.sampled_from([0.0, 8.0])),
        per_cached=draw(st.sampled_from([0.0, 0.1])),
        per_pair=draw(st.sampled_from([0.0, 0.5])),
    )
    return Pace(
        cost=cost,
        sizes=draw(st.sampled_from([(), (4, 8, 16, 32, 64)])),
        max_ratio=draw(st.sampled_from([0.0, 1.0, 2.5])),
        many=draw(st.integers(0, 3)),
        burst=draw(st.sampled_from([1, 6, 64])),
        long=draw(st.sampled_from([0, 3, 20])),
        min_share=draw(st.sampled_from([1, 4])),
        worth_trimming=draw(st.sampled_from([1, 8])),
    )


@st.composite
def requests(draw) -> dict:
    """The fields of a request."""
    prompt = draw(prompts)
    fields = {
        "prompt": prompt,
        "max_new_tokens": draw(st.sampled_from([0, 1, 2, 5, 17, 40, 40])),
        "seed": draw(st.integers(0, 2)),
        "cache_salt": draw(st.sampled_from(["", "", "salt"])),
    }
    if draw(st.booleans()):
        fields["stop_ids"] = frozenset(draw(st.lists(st.integers(0, VOCAB - 1), max_size=3)))
    if draw(st.integers(0, 3)) == 0:
        fields["return_logprob"] = True
        fields["logprob_start"] = draw(st.none() | st.integers(0, len(prompt)))
        fields["top_logprobs"] = draw(st.integers(0, 2))
    return fields


class Life(RuleBasedStateMachine):
    """Calls in any order that an engine may make them in, up to two steps ahead."""

    @initialize(
        limits=limits(),
        enabled=st.sampled_from([True, True, True, False]),
        policy=policies,
        conservativeness=st.sampled_from([0.01, 0.01, 1.0, 10.0]),
        min_shared_rows=st.sampled_from([None, 1, 3]),
        wave=st.lists(requests(), min_size=1, max_size=6),
    )
    def begin(self, limits, enabled, policy, conservativeness, min_shared_rows, wave):
        self.count = 0
        sharing = None
        if min_shared_rows is not None:
            sharing = Sharing(limits.page_size, min_rows=min_shared_rows, min_part=0, min_tokens=0)
        self.simulation = Simulation(
            limits,
            enabled=enabled,
            policy=policy,
            conservativeness=conservativeness,
            sharing=sharing,
        )
        for fields in wave:
            self.add(fields, 1)

    @rule(pace=paces())
    def get_another_pace(self, pace):
        self.simulation.scheduler.pace = pace

    def check_refusal(self, fields):
        limits = self.simulation.scheduler.limits
        needed = len(fields["prompt"]) + max(fields["max_new_tokens"] - 1, 0)
        assert needed > limits.num_pages * limits.page_size

    @rule(fields=requests(), copies=st.integers(1, 3))
    def add(self, fields, copies):
        for _ in range(copies):
            self.count += 1
            try:
                self.simulation.add(str(self.count), **fields)
            except NeverFits:
                self.check_refusal(fields)

    @precondition(lambda self: self.simulation.requests)
    @rule(data=st.data(), tail=st.lists(st.integers(0, VOCAB - 1), max_size=3))
    def follow_up(self, data, tail):
        """A prompt that goes on where another request is, or has ended."""
        rid = data.draw(st.sampled_from(sorted(self.simulation.requests)))
        request = self.simulation.requests[rid]
        prompt = request.prompt_ids + request.output_ids + tail
        self.add({"prompt": prompt, "max_new_tokens": 5, "cache_salt": request.cache_salt}, 1)

    @precondition(lambda self: self.simulation.requests)
    @rule(data=st.data())
    def abort(self, data):
        self.simulation.abort(data.draw(st.sampled_from(sorted(self.simulation.requests))))

    @rule(steps=st.integers(1, 20), depth=st.integers(0, 2))
    def go_on(self, steps, depth):
        for _ in range(steps):
            self.simulation.step(depth)

    @precondition(lambda self: len(self.simulation.pending) <= 2)
    @rule()
    def plan(self):
        self.simulation.plan()

    @precondition(lambda self: self.simulation.pending)
    @rule()
    def read(self):
        self.simulation.read()

    @rule(copies=st.integers(2, 4), length=st.integers(1, 12), depth=st.integers(0, 2))
    def crowd(self, copies, length, depth):
        """Requests with short prompts that grow long together, until one has to give way."""
        for i in range(copies):
            fields = {"prompt": [7] * length + [i], "max_new_tokens": 40, "stop_ids": frozenset()}
            self.add(fields, 1)
        self.go_on(30, depth)

    @rule(kind=st.sampled_from(["NaN", "launch", "step", "device"]), entry=st.integers(0, 100))
    def accident(self, kind, entry):
        simulation = self.simulation
        if kind == "launch":
            simulation.fail_plan()
        elif kind == "device":
            simulation.lose_device()
        elif simulation.pending and kind == "NaN":
            simulation.read(poisoned=entry)
        elif simulation.pending:
            simulation.fail_oldest()

    @rule()
    def flush(self):
        simulation = self.simulation
        idle = not simulation.scheduler.has_work
        assert simulation.scheduler.flush_cache() == idle
        assert not idle or simulation.cache.pool.num_free == simulation.cache.pool.num_pages

    @rule()
    def get_larger_programs(self):
        scheduler = self.simulation.scheduler
        scheduler.limits = self.simulation.device.limits = dataclasses.replace(
            scheduler.limits,
            max_step_tokens=scheduler.limits.max_step_tokens + 16,
            max_logits=scheduler.limits.max_logits + 4,
        )

    def teardown(self):
        if hasattr(self, "simulation"):
            self.simulation.run()
            self.simulation.check_ended()


TestLife = pytest.mark.timeout(1800)(Life.TestCase)  # for the profile "soak"
TestLife.settings = settings(stateful_step_count=40)


@pytest.mark.parametrize("depth", [0, 1, 2])
@given(
    limits=limits(), waves=st.lists(st.lists(requests(), max_size=6), max_size=4), policy=policies
)
@settings(max_examples=settings.default.max_examples // 2)
def test_the_same_events_give_the_same_plans(depth, limits, waves, policy):
    def live() -> list:
        simulation = Simulation(limits, policy=policy, seed=3)
        for i, wave in enumerate(waves):
            for j, fields in enumerate(wave):
                try:
                    simulation.add(f"{i}.{j}", **fields)
                except NeverFits:
                    continue
            for _ in range(3):
                simulation.step(depth)
        simulation.run(depth)
        simulation.check_ended()
        return simulation.plans

    assert live() == live()
