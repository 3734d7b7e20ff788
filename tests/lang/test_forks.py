"""Going several ways: fork, join, copy; and scopes, whose text is a variable."""

import asyncio
import threading

import pytest

import sgjax as sgl
from sgjax.errors import InvalidProgram, ProgramFailed, UnknownVariable

pytestmark = pytest.mark.timeout(10)


def run(backend, function, **options):
    return sgl.function(function).run(backend=backend, **options)


def test_forks_go_on_from_what_there_is_and_leave_it_as_it_is(fake):
    backend = fake(lambda text: text[-1] * 2)

    def program(s):
        s += "a" + sgl.gen("before")
        forks = s.fork(2)
        forks[0] += "b" + sgl.gen("x")
        forks[1] += "c" + sgl.gen("x")
        s += "d"
        return [fork.text() for fork in forks], [fork["x"] for fork in forks], forks[0]["before"]

    state = run(backend, program)
    assert state.ret_value == (["aaabbb", "aaaccc"], ["bb", "cc"], "aa")
    assert state.text() == "aaad"
    assert [(seen.kind, seen.text) for seen in backend.seen[:2]] == [
        ("generate", "a"),
        ("before_fork", "aaa"),
    ]


def test_one_fork_needs_no_preparation(fake):
    backend = fake()
    run(backend, lambda s: s.fork()[0].sync() and None)
    assert backend.seen == []


def meeting(count):
    """A script that answers only when so many calls are under way at once."""
    arrived = asyncio.Event()
    num_under_way = 0

    async def answer(text):
        nonlocal num_under_way
        num_under_way += 1
        if num_under_way == count:
            arrived.set()
        await asyncio.wait_for(arrived.wait(), 5)
        return text[-1]

    return answer


def test_calls_of_forks_run_at_the_same_time(fake):
    def program(s):
        forks = s.fork(8)
        forks += lambda i: str(i) + sgl.gen("x")
        forks.join()
        s += "done"

    state = run(fake(meeting(8)), program)
    assert state["x"] == list("01234567")
    assert state.error() is None


def test_so_do_those_of_forks_of_forks(fake):
    def program(s):
        forks = s.fork(3)
        for i, fork in enumerate(forks):
            inner = fork.fork(2)
            inner += [f"{i}a" + sgl.gen("x"), f"{i}b" + sgl.gen("x")]
            inner.join()
        forks.join()

    assert run(fake(meeting(6)), program)["x"] == [["a", "b"]] * 3


def test_the_program_does_not_wait_for_its_calls(fake):
    may_answer = asyncio.Event()

    async def answer(text):
        await may_answer.wait()
        return "x"

    backend = fake(answer)
    state = run(backend, lambda s: s.__iadd__("a" + sgl.gen("x") + "b") and None)
    assert "x" in state
    backend.loop.call_soon(may_answer.set)
    assert state.text() == "axb"


def test_parts_are_the_same_for_all_forks_or_each_s_own(fake):
    def program(s):
        forks = s.fork(2)
        forks += "a"
        forks += ["b", "c"]
        forks += lambda i: f"{i}"
        forks[1] += "d"
        assert len(forks) == 2 and list(forks) == forks.states
        return [fork.text() for fork in forks]

    assert run(fake(), program).ret_value == ["ab0", "ac1d"]


def test_joined_variables_are_lists_of_those_that_made_them(fake):
    def program(s):
        s["kept"] = "parent's"
        s["late"] = "early"
        forks = s.fork(3)
        s["late"] = "parent's"
        for i, fork in enumerate(forks):
            fork["number"] = i
            fork += sgl.gen("all")
            if i != 1:
                fork["some"] = f"of {i}"
        forks.join()
        return s["number"], s["all"], s["some"], s["kept"], s["late"]

    state = run(fake(), program)
    assert state.ret_value == ([0, 1, 2], ["!"] * 3, ["of 0", "of 2"], "parent's", "parent's")
    assert state.get_meta_info("all") == [{"prompt": ""}] * 3


def test_forks_in_a_loop_leave_the_last_values(fake):
    def program(s):
        for round in range(3):
            with s.fork(2) as forks:
                forks += lambda i, round=round: f"{round}{i}" + sgl.gen("x")
        return s["x"]

    assert run(fake(lambda text: text[-2:]), program).ret_value == ["20", "21"]


def test_texts_are_joined_one_behind_the_other(fake):
    def program(s):
        s += "0"
        forks = s.fork(2)
        forks += [" a" + sgl.gen("x"), " b" + sgl.gen("x")]
        forks.join("concate_and_append")
        forks[0] += " later"
        s += " end" + sgl.gen("y")

    backend = fake(lambda text: "?")
    state = run(backend, program)
    assert state.text() == "0 a? b? end?"
    assert backend.calls[-1].text == "0 a? b? end"
    assert "x" not in state


def test_what_a_fork_said_before_it_was_joined_counts_however_long_the_parent_takes(fake):
    may_answer = asyncio.Event()

    async def answer(text):
        await may_answer.wait()
        return "!"

    backend = fake(answer)

    def program(s):
        forks = s.fork(1)
        forks += "a"
        s += sgl.gen()
        forks.join("concate_and_append")
        forks += "b"
        forks[0].sync()

    state = run(backend, program)
    backend.loop.call_soon(may_answer.set)
    assert state.text() == "!a"


def test_a_copy_is_a_fork_for_a_while(fake):
    def program(s):
        s += "a"
        with s.copy() as copy:
            copy += "b" + sgl.gen("x")
        s += "c"

    state = run(fake(), program)
    assert state.text() == "ac" and state["x"] == ["!"]


@pytest.mark.parametrize("size", [0, -1, True, 1.0, "2"])
def test_there_is_no_fork_into_nothing(fake, size):
    with pytest.raises(InvalidProgram, match="fork takes a number of states from 1 on"):
        run(fake(), lambda s: s.fork(size))


def test_a_join_happens_once_and_in_a_way_that_there_is(fake):
    def program(s):
        forks = s.fork(2)
        with pytest.raises(InvalidProgram, match="join takes 'gather_variable' or"):
            forks.join("all")
        forks.join()
        with pytest.raises(InvalidProgram, match="were joined before"):
            forks.join()

    assert run(fake(), program).error() is None


def test_a_list_has_a_part_for_each_fork(fake):
    def program(s):
        forks = s.fork(2)
        with pytest.raises(InvalidProgram, match="3 parts, but there are 2 forks"):
            forks += ["a", "b", "c"]
        with pytest.raises(InvalidProgram, match="int cannot be appended"):
            forks += ["a", 5]
        with pytest.raises(InvalidProgram, match="cannot be replaced"):
            forks[0] = s
        return [fork.text() for fork in forks]

    assert run(fake(), program).ret_value == ["", ""]


def fails_at(bad):
    def answer(text):
        if text.endswith(bad):
            raise OSError("no answer")
        return "!"

    return answer


def test_a_fork_that_fails_fails_what_was_to_be_joined(fake):
    def program(s):
        forks = s.fork(2)
        forks += ["good" + sgl.gen("x"), "bad" + sgl.gen("x")]
        forks.join()
        return forks

    state = run(fake(fails_at("bad")), program)
    with pytest.raises(ProgramFailed, match=r"gen\('x'\) failed, at .*test_forks.py:\d+: OSError"):
        state["x"]
    good, bad = state.ret_value
    assert good["x"] == "!" and good.error() is None
    assert isinstance(bad.error(), ProgramFailed) and isinstance(bad.error().__cause__, OSError)
    assert state.error() is None


def test_a_fork_that_fails_fails_the_text_that_joins_it(fake):
    def program(s):
        forks = s.fork(2)
        forks += ["good" + sgl.gen(), "bad" + sgl.gen()]
        forks.join("concate_and_append")
        s += sgl.gen("after")

    state = run(fake(fails_at("bad")), program)
    with pytest.raises(ProgramFailed, match=r"join\(\) failed, at .*gen\(\) failed, at .*OSError"):
        state["after"]


def dies_under(count):
    """A backend's end: so many calls wait for ever, and then one behind "bad" fails."""
    waiting = asyncio.Event()
    num_waiting = 0

    async def answer(text):
        nonlocal num_waiting
        if text.endswith("bad"):
            await asyncio.wait_for(waiting.wait(), 5)
            raise OSError("gone")
        num_waiting += 1
        if num_waiting == count:
            waiting.set()
        await asyncio.Event().wait()

    return answer


def test_a_program_that_fails_stops_its_forks(fake):
    backend = fake(dies_under(4))

    def program(s):
        forks = s.fork(3)
        inner = forks[0].fork(1)
        inner += "b" + sgl.gen("x")
        forks += "a" + sgl.gen("x")
        s += "bad" + sgl.gen("y")
        return [*forks, *inner]

    state = run(backend, program)
    for fork in state.ret_value:
        with pytest.raises(ProgramFailed, match=r"gen\('y'\) failed.*OSError"):
            fork["x"]
        assert isinstance(fork.error(), ProgramFailed)
    assert backend.num_given_up == 4


def test_a_program_that_raises_stops_its_forks(fake):
    backend, states = fake(dies_under(2)), []

    def program(s):
        forks = s.fork(2)
        forks += sgl.gen("x")
        states.extend(forks)
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        run(backend, program)
    for fork in states:
        with pytest.raises(ProgramFailed, match="ValueError: enough"):
            fork["x"]


def test_a_scope_s_text_is_a_variable(fake):
    def program(s):
        s += "a"
        with s.var_scope("all"):
            s += "b" + sgl.gen("x")
            with s.var_scope("inner"):
                s += "c"
        s += "d"

    state = run(fake(), program)
    assert (state["all"], state["inner"], state["x"]) == ("b!c", "c", "!")
    assert list(state.text_iter("all")) == ["b!c"]
    assert state.get_meta_info("all") is None


def test_a_scope_holds_the_texts_around_messages_too(fake):
    def program(s):
        with s.var_scope("turn"):
            s += sgl.user("Hi?")

    assert run(fake(template="default"), program)["turn"] == "USER:Hi?\n"


def test_a_scope_that_is_open_cannot_be_read_from_within(fake):
    def program(s):
        with s.var_scope("all"):
            s += "b"
            fork = s.fork()[0]
            for state in (s, fork):
                with pytest.raises(InvalidProgram, match="'all' is still open"):
                    state["all"]
        return s["all"], fork["all"]

    assert run(fake(), program).ret_value == ("b", "b")


def test_a_scope_ends_where_its_block_raises(fake):
    def program(s):
        try:
            with s.var_scope("all"):
                s += "b"
                raise ValueError
        except ValueError:
            s += "c"
        return s["all"]

    assert run(fake(), program).ret_value == "b"


def test_a_gen_within_a_scope_of_its_name_is_what_is_read_there(fake):
    def program(s):
        with s.var_scope("x"):
            s += "a" + sgl.gen("x")
            inner = s["x"]
        return inner, s["x"]

    assert run(fake(), program).ret_value == ("!", "a!")


def test_a_scope_that_fails_has_no_value(fake):
    def program(s):
        with s.var_scope("all"):
            s += "bad" + sgl.gen("x")

    with pytest.raises(ProgramFailed, match="OSError"):
        run(fake(fails_at("bad")), program)["all"]


def test_a_name_that_is_generated_twice_keeps_the_later_value(fake):
    def program(s):
        found = []
        for _ in range(3):
            s += sgl.gen("x")
            found.append(s["x"])
        return found

    state = run(fake(lambda text: str(len(text))), program)
    assert state.ret_value == ["0", "1", "2"] and state["x"] == "2"


def test_variables_may_be_set(fake):
    def program(s):
        s["number"] = 5
        s.set_var("text", "abc")
        return "number" in s, "other" in s, s.get_var("number")

    state = run(fake(), program)
    assert state.ret_value == (True, False, 5)
    assert list(state.text_iter("text")) == ["abc"]
    with pytest.raises(UnknownVariable, match=r"'other'. There are: 'number', 'text'\."):
        state["other"]


def test_many_threads_may_append_to_forks_of_one_program(fake):
    def program(s):
        forks = s.fork(8)

        def work(i):
            for _ in range(20):
                forks[i] += f"{i}" + sgl.gen("x")
                assert forks[i]["x"] == str(i)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [fork.text() for fork in forks]

    state = run(fake(lambda text: text[-1]), program)
    assert state.ret_value == [str(i) * 40 for i in range(8)]
