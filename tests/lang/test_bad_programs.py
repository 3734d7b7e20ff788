"""What a program does wrong is said where it does it; nobody waits for what does not come."""

import asyncio
import threading
import traceback

import pytest

import sgjax as sgl
from sgjax.errors import EngineDead, InvalidProgram, ProgramFailed, UnknownVariable

pytestmark = pytest.mark.timeout(10)


def run(backend, function, **options):
    return sgl.function(function).run(backend=backend, **options)


@pytest.mark.parametrize("value", [0, -1, 1.5, "8", True])
def test_a_gen_makes_at_least_one_token(fake, value):
    with pytest.raises(InvalidProgram, match="max_tokens must be a number from 1 on"):
        sgl.gen("x", max_tokens=value)
    for run in (sgl.function(lambda s: None).run, sgl.function(lambda s: None).run_batch):
        with pytest.raises(InvalidProgram, match="max_new_tokens must be a number from 1 on"):
            run(*([[{}]] if run.__name__ == "run_batch" else []), max_new_tokens=value)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([], "a list with at least one text"),
        (None, "a list with at least one text"),
        ("abc", "a list with at least one text"),
        (["a", ""], "texts that are not empty, not ''"),
        (["a", 5], "texts that are not empty, not 5"),
        (["a", "b", "a"], "must differ, but 'a' is there twice"),
    ],
)
def test_choices_are_different_texts(choices, message):
    with pytest.raises(InvalidProgram, match=message):
        sgl.select("x", choices)
    if choices is not None:
        with pytest.raises(InvalidProgram, match=message):
            sgl.gen("x", choices=choices)


BOUNDS = {
    "regex": "a+",
    "json_schema": "{}",
    "ebnf": 'root ::= "a"',
    "dtype": int,
    "choices": ["a"],
}


@pytest.mark.parametrize("first", BOUNDS)
@pytest.mark.parametrize("second", BOUNDS)
def test_a_text_is_bound_in_one_way(first, second):
    if first == second:
        return
    with pytest.raises(InvalidProgram, match="in one way only, but both"):
        sgl.gen("x", **{first: BOUNDS[first], second: BOUNDS[second]})


@pytest.mark.parametrize("regex", ["(", "a{2,1}", 5])
def test_a_regex_must_be_one(regex):
    with pytest.raises(InvalidProgram, match=r"regex .* cannot be read"):
        sgl.gen("x", regex=regex)


@pytest.mark.parametrize("dtype", ["integer", list, 5, [int]])
def test_a_type_is_one_of_four(dtype):
    with pytest.raises(InvalidProgram, match="dtype must be one of int, float, bool, str"):
        sgl.gen("x", dtype=dtype)


@pytest.mark.parametrize("temperature", [0.5, 1, "0"])
def test_a_select_has_no_temperature(temperature):
    with pytest.raises(InvalidProgram, match="its temperature is 0"):
        sgl.select("x", ["a"], temperature=temperature)


@pytest.mark.parametrize("name", [5, ["x"], b"x"])
def test_a_name_is_a_text(fake, name):
    def program(s):
        for make in (
            lambda: sgl.gen(name),
            lambda: sgl.select(name, ["a"]),
            lambda: s.var_scope(name),
            lambda: s.set_var(name, 1),
        ):
            with pytest.raises(InvalidProgram, match="name must be a string"):
                make()

    assert run(fake(), program).error() is None


def test_a_scope_and_a_value_need_a_name(fake):
    def program(s):
        for make in (lambda: s.var_scope(None), lambda: s.set_var(None, 1)):
            with pytest.raises(InvalidProgram, match="name must be a string"):
                make()

    assert run(fake(), program).error() is None


@pytest.mark.parametrize("value", [5, b"a", {"a": 1}, object(), None, ["a", 5], {"a"}])
def test_what_is_no_text_cannot_be_appended(fake, value):
    def program(s):
        s += "a"
        for append in (
            lambda: s.__iadd__(value),
            lambda: sgl.gen("x") + value,
            lambda: value + sgl.gen("x"),
        ):
            with pytest.raises(InvalidProgram, match="cannot be appended"):
                append()
        if value is not None:
            with pytest.raises(InvalidProgram, match="cannot be appended"):
                s.user(value)
        s += "b"

    assert run(fake(), program).text() == "ab"


def test_a_variable_that_nothing_makes_is_unknown(fake):
    def program(s):
        with pytest.raises(UnknownVariable, match=r"variable 'x'. There are: none yet\."):
            s["x"]
        s += sgl.gen("first")
        s["second"] = 2
        for read in (s.get_var, s.get_meta_info, lambda name: list(s.text_iter(name))):
            with pytest.raises(UnknownVariable, match=r"'x'. There are: 'first', 'second'\."):
                read("x")

    state = run(fake(), program)
    with pytest.raises(KeyError) as caught:  # as it is one for SGLang's scripts
        state["x"]
    assert str(caught.value).startswith("No part of the program makes a variable 'x'.")


def fail(text):
    raise OSError("no answer")


def test_an_error_is_raised_where_the_value_is_read_and_leads_to_the_program(fake):
    def ask(s):
        s += "a" + sgl.gen("x")

    def program(s):
        ask(s)
        s += "b"

    state = run(fake(fail), program)
    for _ in range(3):
        with pytest.raises(ProgramFailed) as caught:
            state["x"]
        steps = traceback.extract_tb(caught.value.__traceback__)
        ours = [(step.name, step.line) for step in steps if step.filename == __file__]
        assert ours == [  # of each reading its own
            (test_an_error_is_raised_where_the_value_is_read_and_leads_to_the_program.__name__,
             'state["x"]'),
            ("program", "ask(s)"),
            ("ask", 's += "a" + sgl.gen("x")'),
        ]  # fmt: skip
        assert f"{__file__}:{steps[-1].lineno}" in str(caught.value)
        assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("append", "what"),
    [
        (lambda s: s.__iadd__(sgl.gen()), r"gen\(\) failed"),
        (lambda s: s.user(sgl.gen("y")), r"gen\('y'\) failed"),
        (lambda s: [s.fork(2).__iadd__(sgl.gen()).join("concate_and_append")], r"join\(\) failed"),
    ],
)
def test_an_error_names_what_failed_and_its_line(fake, append, what):
    def program(s):
        append(s)
        s += sgl.gen("x")

    state = run(fake(fail), program)
    with pytest.raises(ProgramFailed, match=rf"{what}, at .*test_bad_programs.py:\d+: ") as caught:
        state["x"]
    assert "OSError: no answer" in str(caught.value)


def test_the_line_of_a_block_is_that_of_the_program(fake, monkeypatch):
    backend = fake()

    def refuse(transcript):
        raise OSError("no roles")

    monkeypatch.setattr(backend, "end_role", refuse)

    def program(s):
        with s.user():
            s += "a"

    state = run(backend, program)
    with pytest.raises(ProgramFailed, match=r"user_end\(\) failed, at .*test_bad_programs.py"):
        state.text()


def test_what_is_behind_an_error_is_not_asked_for(fake):
    backend = fake(fail)
    state = run(backend, lambda s: s.__iadd__(sgl.gen("x") + sgl.gen("y") + "a") and None)
    for read in (lambda: state["x"], lambda: state["y"], state.text, state.messages):
        with pytest.raises(ProgramFailed, match=r"gen\('x'\) failed"):
            read()
    assert len(backend.calls) == 1
    assert isinstance(state.error(), ProgramFailed)
    assert state.sync() is state


def test_what_was_there_before_an_error_stays(fake):
    def answer(text):
        return fail(text) if "b" in text else "!"

    state = run(fake(answer), lambda s: s.__iadd__(sgl.gen("x") + "b" + sgl.gen("y")) and None)
    assert state["x"] == "!"
    with pytest.raises(ProgramFailed):
        state["y"]


def test_a_program_may_go_on_after_an_error_that_it_catches(fake):
    def program(s):
        s += sgl.gen("x")
        try:
            s["x"]
        except ProgramFailed:
            s += "still"
        with pytest.raises(ProgramFailed):
            s["x"]
        return "end"

    state = run(fake(fail), program)
    assert state.ret_value == "end"


def test_what_a_function_raises_is_raised_by_run_as_it_is(fake):
    backend = fake(lambda text: asyncio.Event().wait())
    kept = []

    def program(s):
        kept.append(s)
        s += sgl.gen("x")
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine") as caught:
        run(backend, program)
    assert caught.value.__cause__ is None
    with pytest.raises(ProgramFailed, match="The program failed: LookupError: mine"):
        kept[0]["x"]


def ended_backend(fake):
    backend = fake()
    backend.shutdown()
    return backend


def test_a_backend_that_was_shut_down_is_said_at_the_line_that_calls_it(fake):
    kept = []

    def program(s):
        kept.append(s)
        s += "a"
        s += sgl.gen("x")

    with pytest.raises(EngineDead, match=r"shut down\. Make a new one"):
        run(ended_backend(fake), program)
    with pytest.raises(ProgramFailed, match="shut down"):
        kept[0]["x"]


def test_what_a_program_had_said_may_be_read_after_its_backend_s_end(fake):
    backend = fake()
    state = run(backend, lambda s: s.__iadd__(sgl.user("a") + sgl.gen("x")) and 5).sync()
    backend.shutdown()
    assert (state["x"], state.ret_value, state.error()) == ("!", 5, None)
    assert state.text().endswith("<|im_end|>\n!") and len(state.messages()) == 1
    assert "".join(state.text_iter()) == state.text()


def test_a_backend_that_ends_in_the_middle_fails_what_is_under_way(fake):
    backend = fake(lambda text: asyncio.Event().wait())

    def program(s):
        forks = s.fork(3)
        forks += sgl.gen("x")
        forks.join()
        s += sgl.gen("y")
        return list(forks)

    state = run(backend, program)
    threading.Thread(target=backend.shutdown).start()
    for read in (
        lambda: state["x"],
        lambda: state["y"],
        *(lambda fork=fork: fork["x"] for fork in state.ret_value),
    ):
        with pytest.raises(ProgramFailed, match="The backend was shut down"):
            read()
    assert state.error() is not None


def test_a_backend_may_end_at_any_moment(fake):
    """Whoever reads hears of it, whatever was on its way."""
    for _ in range(30):
        backend = fake(lambda text: asyncio.Event().wait())
        ending = threading.Thread(target=backend.shutdown)

        def program(s, ending=ending):
            ending.start()
            for _ in range(50):
                forks = s.fork(2)
                forks += "a" + sgl.gen("x")
                s += "b"
            forks.join()
            return s["x"]

        with pytest.raises((ProgramFailed, EngineDead), match="shut down"):
            run(backend, program)
        ending.join()


def test_a_backend_that_gives_its_own_call_up_is_an_error(fake):
    def cancelled(text):
        raise asyncio.CancelledError

    state = run(fake(cancelled), lambda s: s.__iadd__(sgl.gen("x")) and None)
    with pytest.raises(ProgramFailed, match=r"gen\('x'\) failed"):
        state["x"]


@pytest.mark.parametrize("stop", [3, b"x", ["a", 3], {"a": 1}.items()])
def test_stops_are_texts(fake, stop):
    program = sgl.function(lambda s: None)
    for say in (
        lambda: sgl.gen("x", stop=stop),
        lambda: program.run(stop=stop, backend=fake()),
        lambda: program.run_batch([{}], stop=stop, backend=fake()),
    ):
        with pytest.raises(InvalidProgram, match="stop must be a text or a list of texts"):
            say()


def test_a_way_to_compare_choices_can_be_called_and_has_some():
    with pytest.raises(InvalidProgram, match=r"choices_method must be .* not 'greedy'"):
        sgl.select("x", ["a", "b"], choices_method="greedy")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidProgram, match="There are no choices"):
        sgl.gen("x", choices_method=sgl.greedy_token_selection)


def test_a_program_is_a_function_that_a_call_runs():
    async def waits(s):
        s += "a"

    def yields(s):
        yield s

    for function in (waits, yields):
        with pytest.raises(InvalidProgram, match=f"{function.__name__} must be a plain function"):
            sgl.function(function)
