"""`run_batch`: many items, what they share, and those that fail."""

import asyncio
import threading
import traceback

import pytest

import sgjax as sgl
from sgjax.errors import EngineDead, InvalidProgram, ProgramFailed

pytestmark = pytest.mark.timeout(10)

EXAMPLES = "An example that every item of the batch begins with, long enough to be shared. "


@sgl.function
def ask(s, question, examples=EXAMPLES):
    s += examples
    s += sgl.user(question) + sgl.assistant(sgl.gen("answer"))
    return question * 2


def test_items_answer_in_their_order(fake):
    async def slower_for_the_first(text):
        number = int(text.split("Q")[1][:2])
        await asyncio.sleep((20 - number) / 1000)
        return f"A{number}"

    items = [{"question": f"Q{i:02}"} for i in range(20)]
    states = ask.run_batch(items, backend=fake(slower_for_the_first))
    assert [state["answer"] for state in states] == [f"A{i}" for i in range(20)]
    assert states[3].ret_value == "Q03Q03"
    assert states[3].messages()[0] == {"role": "user", "content": "Q03"}


def test_what_all_begin_with_is_computed_once_before(fake):
    backend = fake()
    ask.run_batch([{"question": f"Q{i}"} for i in range(5)], backend=backend)
    assert backend.seen[0].text == EXAMPLES
    assert backend.kinds == ["cache_prefix"] + ["generate"] * 5


def test_arguments_that_are_the_same_are_part_of_it(fake):
    backend = fake()
    examples = ["One. " * 20, "Two. " * 20]
    items = [{"question": f"Q{i}", "shots": examples, "sign": "#"} for i in range(3)]

    @sgl.function
    def few(s, question, shots, sign):
        with s.var_scope("shots"):
            for shot in shots:
                s += sign + shot
        s += question + sgl.gen("x")

    few.run_batch(items, backend=backend)
    assert backend.kinds == ["cache_prefix"] + ["generate"] * 3
    assert backend.seen[0].text == "#" + "#".join(examples)


def test_looking_for_it_changes_no_argument(fake):
    shared = []

    @sgl.function
    def notes(s, log, question):
        log.append("begun")
        s += EXAMPLES + question

    backend = fake()
    notes.run_batch([[shared, "a"], [shared, "b"]], backend=backend)
    assert shared == ["begun", "begun"]
    assert backend.kinds == []  # the question stands in the same text


@pytest.mark.parametrize("items", [[["Q"]], [["Q0", "short "], ["Q1", "short "]]])
def test_one_item_or_a_short_beginning_is_not_worth_a_call(fake, items):
    backend = fake()
    ask.run_batch(items, backend=backend)
    assert backend.kinds == ["generate"] * len(items)


def test_an_argument_that_some_leave_out_is_not_the_same_for_all(fake):
    backend = fake()
    ask.run_batch([{"question": "Q", "examples": "a" * 80}, {"question": "Q"}], backend=backend)
    assert backend.kinds == ["generate"] * 2


def test_a_beginning_that_cannot_be_computed_fails_nothing(fake, monkeypatch):
    backend = fake()

    async def too_long(text):
        raise ValueError("too long")

    monkeypatch.setattr(backend, "cache_prefix", too_long)
    states = ask.run_batch([["Q0"], ["Q1"]], backend=backend)
    assert [state["answer"] for state in states] == ["!", "!"]


def test_it_may_be_switched_off(fake, monkeypatch):
    monkeypatch.setattr(sgl.global_config, "enable_precache_with_tracing", False)
    backend = fake()
    ask.run_batch([["Q0"], ["Q1"]], backend=backend)
    assert backend.kinds == ["generate"] * 2


def test_items_are_dicts_or_lists_of_arguments(fake):
    states = ask.run_batch([["Q0"], ("Q1", "E "), {"question": "Q2"}], backend=fake())
    assert [state.messages()[0]["content"] for state in states] == ["Q0", "Q1", "Q2"]
    assert states[1].text().startswith("E ")


def test_sampling_arguments_are_every_item_s(fake):
    backend = fake()
    ask.run_batch([["Q0"], ["Q1"]], backend=backend, temperature=0, stop="\n", max_new_tokens=7)
    for call in backend.calls:
        assert (call.params["temperature"], call.params["max_new_tokens"]) == (0, 7)
        assert call.params["stop"] == ["\n", "<|im_end|>"]


@sgl.function
def fragile(s, number):
    s += "1" + sgl.gen("first")
    s["ratio"] = 6 / number
    s += "2" + sgl.gen("second")
    return "done"


def test_an_item_that_raises_fails_alone(fake):
    good, bad, last = fragile.run_batch([[1], [0], [3]], backend=fake())
    assert (good["ratio"], last["ratio"], good.error(), last.error()) == (6, 2, None, None)
    assert isinstance(bad.error(), ProgramFailed)
    for read in (
        lambda: bad["second"],
        lambda: bad["typo"],
        bad.text,
        bad.messages,
        lambda: bad.ret_value,
        lambda: list(bad.text_iter("second")),
        lambda: bad.get_meta_info("second"),
    ):
        with pytest.raises(ProgramFailed, match="ZeroDivisionError: division by zero") as caught:
            read()
        cause = caught.value.__cause__
        assert isinstance(cause, ZeroDivisionError)
        last = traceback.extract_tb(cause.__traceback__)[-1]
        assert (last.name, last.line) == ("fragile", 's["ratio"] = 6 / number')


def test_what_an_item_that_fails_had_before_may_be_read(fake):
    @sgl.function
    def late(s, number):
        s += "1" + sgl.gen("first")
        return s["first"] and 6 / number

    _, bad = late.run_batch([[1], [0]], backend=fake())
    assert bad["first"] == "!"
    assert "".join(pieces_before(bad)) == "1!"


def pieces_before(state):
    with pytest.raises(ProgramFailed):
        yield from state.text_iter()


def test_an_item_whose_call_fails_fails_alone(fake):
    def answer(text):
        if text.endswith("Q1<|im_end|>\n<|im_start|>assistant\n"):
            raise OSError("no answer")
        return "!"

    states = ask.run_batch([["Q0"], ["Q1"], ["Q2"]], backend=fake(answer))
    assert [state.error() is None for state in states] == [True, False, True]
    with pytest.raises(ProgramFailed, match=r"gen\('answer'\) failed, at .*test_batches.py:\d+"):
        states[1]["answer"]


def test_a_backend_that_ends_fails_every_item_that_is_not_done(fake):
    backend = fake()

    def answer(text):
        if "Q3" in text:
            threading.Thread(target=backend.shutdown).start()
            return asyncio.Event().wait()
        return "!"

    backend.script = answer
    states = ask.run_batch([[f"Q{i}"] for i in range(6)], backend=backend, num_threads=1)
    assert [state.error() is None for state in states] == [True] * 3 + [False] * 3
    for state in states[3:]:
        with pytest.raises((ProgramFailed, EngineDead), match="shut down"):
            state["answer"]
    assert states[0].text().endswith("!<|im_end|>\n")  # what is done stays


@sgl.function
def end_without_a_name(s, question):
    s += question + sgl.gen("answer", max_tokens=4)
    assert s["answer"] == "!"
    s += " And?" + sgl.gen(max_tokens=4)
    s += "."


@pytest.mark.parametrize("program", [ask, end_without_a_name])
@pytest.mark.parametrize("num_threads", [1, 3])
def test_so_many_items_are_under_way_at_a_time(fake, program, num_threads):
    under_way, most = 0, 0

    async def answer(text):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.005)
        under_way -= 1
        return "!"

    items = [[f"Q{i}"] for i in range(12)]
    program.run_batch(items, backend=fake(answer), num_threads=num_threads)
    assert (most, under_way) == (num_threads, 0)


def test_many_items_are_under_way_by_default(fake):
    arrived = asyncio.Event()
    count = 0

    async def answer(text):
        nonlocal count
        count += 1
        if count == 96:
            arrived.set()
        await asyncio.wait_for(arrived.wait(), 5)
        return "!"

    states = ask.run_batch([[f"Q{i}"] for i in range(96)], backend=fake(answer))
    assert all(state.error() is None for state in states)


def test_a_progress_bar_counts_them(fake, capfd):
    ask.run_batch([["Q0"], ["Q1"]], backend=fake(), progress_bar=True)
    assert "100%" in capfd.readouterr().out


def test_there_is_none_unless_it_is_wanted(fake, capfd):
    ask.run_batch([["Q0"], ["Q1"]], backend=fake())
    assert capfd.readouterr() == ("", "")


def test_an_empty_batch_is_empty(fake):
    assert ask.run_batch([], backend=fake()) == []
    assert ask.run_batch([]) == []


@pytest.mark.parametrize("count", [0, -2, 1.5, "many", True, None])
def test_threads_are_a_number_from_1_on(fake, count):
    with pytest.raises(InvalidProgram, match='num_threads must be "auto" or a number from 1 on'):
        ask.run_batch([["Q"]], backend=fake(), num_threads=count)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"question": "Q"}, "run_batch takes a list"),
        ("Q", "run_batch takes a list"),
        (["Q"], "must be a dict or a list of arguments, not str"),
        ([{"query": "Q"}], "do not fit ask.*Its arguments are: question, examples"),
        ([["Q", "E", "more"]], "takes 2 arguments, but 3 were given"),
    ],
)
def test_a_batch_is_a_list_of_arguments_that_fit(fake, batch, message):
    backend = fake()
    with pytest.raises(InvalidProgram, match=message):
        ask.run_batch(batch, backend=backend)
    assert backend.seen == []


def test_an_interrupt_ends_a_batch(fake):
    backend = fake(lambda text: asyncio.Event().wait())

    @sgl.function
    def interrupted(s, number):
        if number == 3:
            raise KeyboardInterrupt
        s += sgl.gen("x")

    with pytest.raises(KeyboardInterrupt):
        interrupted.run_batch([[i] for i in range(6)], backend=backend)
