"""Functions that are programs: how they are written, run, bound, traced and cached."""

import inspect

import pytest

import sgjax as sgl
from sgjax.errors import InvalidProgram
from sgjax.lang import defaults
from sgjax.lang.chat_template import get_chat_template
from sgjax.lang.function import Function
from sgjax.lang.state import ProgramState, ProgramStateGroup

pytestmark = pytest.mark.timeout(10)


@pytest.fixture(autouse=True)
def no_default_backend(monkeypatch):
    monkeypatch.setattr(defaults, "_default", None)


@sgl.function
def capital(s, country, sign="."):
    """Asks for a capital."""
    s += f"The capital of {country} is" + sgl.gen("capital", stop=sign)
    return s["capital"]


def test_a_program_is_run_by_its_name_or_by_run(fake):
    backend = fake()
    for state in (
        capital("France", backend=backend),
        capital.run("France", backend=backend),
        capital.run(country="France", backend=backend),
    ):
        assert state.text() == "The capital of France is!"
        assert state.ret_value == "!"


def test_a_decorator_may_have_arguments(fake):
    @sgl.function(num_api_spec_tokens=16)
    def guesses(s):
        s += sgl.gen("x")

    backend = fake()
    assert guesses.run(backend=backend)["x"] == "!"
    assert backend.speculates == 16


def test_a_backend_that_cannot_guess_so_far_says_so_at_once(fake):
    program = sgl.function(capital.func, num_api_spec_tokens=1000)
    with pytest.raises(InvalidProgram, match="cannot be guessed"):
        program.run("France", backend=fake())


def test_it_still_is_the_function_that_it_was():
    assert (capital.__name__, capital.__doc__) == ("capital", "Asks for a capital.")
    assert capital.__module__ == __name__
    assert list(inspect.signature(capital).parameters) == ["s", "country", "sign"]


def test_bound_arguments_are_given_once_and_for_all(fake):
    bound = capital.bind(sign=";")
    backend = fake()
    assert bound.run("France", backend=backend)["capital"] == "!"
    assert bound.bind(country="Peru")(backend=backend).text() == "The capital of Peru is!"
    assert [call.params["stop"] for call in backend.calls] == [";", ";"]
    capital.run("France", backend=backend).sync()
    assert backend.calls[-1].params["stop"] == "."


def test_a_program_within_a_program_is_a_part_of_it(fake):
    @sgl.function
    def two(s):
        first = capital(s, "France")
        s += "\n"
        capital.bind(country="Peru")(s)
        return first

    state = two.run(backend=fake())
    assert state.text() == "The capital of France is!\nThe capital of Peru is!"
    assert state.ret_value == "!"


def test_a_program_within_a_fork_is_a_part_of_that(fake):
    @sgl.function
    def both(s):
        forks = s.fork(2)
        capital(forks[0], "France")
        capital(forks[1], "Peru")
        return [fork.text() for fork in forks]

    assert both.run(backend=fake()).ret_value == [
        "The capital of France is!",
        "The capital of Peru is!",
    ]


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "'country' is missing"),
        (("a", "b", "c"), {}, "takes 2 arguments, but 3 were given"),
        (("a",), {"country": "b"}, "'country' is given twice"),
        (("a",), {"colour": "b"}, r"it has no 'colour'\..*are: country, sign"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(fake, args, kwargs, message):
    with pytest.raises(InvalidProgram, match=message):
        capital.run(*args, backend=fake(), **kwargs)


def test_a_function_may_take_any_arguments(fake):
    @sgl.function
    def free(s, first, /, second="b", *rest, only="o", **others):
        s += f"{first}{second}{rest}{only}{others}"

    backend = fake()
    assert free.run(1, backend=backend).text() == "1b()o{}"
    assert free.run(1, 2, 3, 4, backend=backend).text() == "12(3, 4)o{}"
    assert free.run(1, only=5, other=6, backend=backend).text() == "1b()5{'other': 6}"
    assert free.bind(first=0, other=7).run(1, backend=backend).text() == "01()o{'other': 7}"
    (state,) = free.run_batch([{"first": 1, "other": 2}], backend=backend)
    assert state.text() == "1b()o{'other': 2}"
    assert free.trace(first=1, other=2, backend=backend) == "1b()o{'other': 2}"


def test_what_it_does_not_take_cannot_be_bound():
    with pytest.raises(InvalidProgram, match=r"capital has no argument 'colour'.*country, sign"):
        capital.bind(colour="red")


def test_the_first_argument_is_s():
    for function in (lambda: None, lambda state: None):
        with pytest.raises(InvalidProgram, match="must be s, the program's state"):
            sgl.function(function)


def test_a_program_needs_a_backend(fake):
    for run in (
        lambda: capital.run("France"),
        lambda: capital.run_batch([["France"]]),
        lambda: capital.trace(),
        lambda: capital.cache(),
        sgl.flush_cache,
        sgl.get_server_info,
    ):
        with pytest.raises(InvalidProgram, match="There is no backend"):
            run()


def test_a_default_backend_is_for_programs_that_name_none(fake):
    default, other = fake(lambda text: "default"), fake(lambda text: "other")
    sgl.set_default_backend(default)
    assert capital.run("France")["capital"] == "default"
    assert capital.run("France", backend=other)["capital"] == "other"
    assert capital.run_batch([["France"]])[0]["capital"] == "default"


class Holder:
    """As an Engine, which has a backend."""

    def __init__(self, backend):
        self.backend = backend


def test_what_has_a_backend_is_as_good_as_one(fake):
    backend = fake()
    assert capital.run("France", backend=Holder(backend))["capital"] == "!"
    sgl.set_default_backend(Holder(backend))
    assert sgl.flush_cache() is True and backend.is_flushed
    assert sgl.get_server_info() == {"name": "fake"} == sgl.get_server_args(backend)


@pytest.mark.parametrize("wrong", [5, "http://localhost:30000", object()])
def test_what_is_no_backend_is_refused(wrong):
    for use in (sgl.set_default_backend, lambda value: capital.run("France", backend=value)):
        with pytest.raises(InvalidProgram, match=r"is no backend\. Use an Engine, Runtime"):
            use(wrong)


@sgl.function
def shots(s, question, shots=2):
    s += sgl.system("Be brief.")
    for i in range(shots):
        s += f"Shot {i}. "
    try:
        with s.user():
            s += "Ask: "
            s += question
    finally:
        s += "Never said."


BEGINNING = "SYSTEM:Be brief.\nShot 0. Shot 1. USER:Ask: "


def test_a_trace_is_what_a_program_begins_with(fake):
    assert shots.trace(backend=fake(template="default")) == BEGINNING


def test_what_is_given_is_a_part_of_it(fake):
    backend = fake(template="default")
    assert shots.trace(backend=backend, shots=1) == BEGINNING.replace("Shot 1. ", "")
    whole = shots.bind(question="Hi?").trace(backend=backend)
    assert whole == BEGINNING + "Hi?\nNever said."


LOOKS = {
    "f-string": lambda argument: f"{argument}",
    "sum": lambda argument: "a" + argument,
    "format": lambda argument: "%s" % argument,  # noqa: UP031
    "join": lambda argument: "".join([argument]),
    "attribute": lambda argument: argument.name,
    "item": lambda argument: argument[0],
    "truth": lambda argument: "a" if argument else "b",
    "equality": lambda argument: "a" if argument == 1 else "b",
    "length": lambda argument: "a" * len(argument),
    "loop": lambda argument: [str(each) for each in argument],
    "type": lambda argument: "a" if isinstance(argument, str) else "b",
    "call": lambda argument: argument(),
    "number": lambda argument: str(int(argument)),
    "member": lambda argument: "a" if 1 in argument else "b",
    "itself": lambda argument: argument,
}


@pytest.mark.parametrize("name", LOOKS)
def test_whoever_looks_at_an_argument_ends_the_trace(fake, name):
    @sgl.function
    def looks(s, argument):
        s += "Before. "
        s += LOOKS[name](argument)
        s += "Behind."

    assert looks.trace(backend=fake()) == "Before. "


ENDS = {
    "gen": lambda s: s.__iadd__(sgl.gen("x")),
    "select": lambda s: s.__iadd__(sgl.select("x", ["a"])),
    "fork": lambda s: s.fork(2),
    "read": lambda s: s["x"],
    "text": lambda s: s.text(),
    "set": lambda s: s.set_var("x", 1),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_trace_ends_where_the_model_is_needed(fake, name):
    @sgl.function
    def ends(s):
        s += "Before. "
        ENDS[name](s)
        s += "Behind."

    backend = fake()
    assert ends.trace(backend=backend) == "Before. "
    assert backend.seen == []


def test_a_program_that_fails_is_traced_up_to_there(fake):
    @sgl.function
    def fails(s):
        s += "Before. "
        raise ValueError

    assert fails.trace(backend=fake()) == "Before. "


def test_a_trace_goes_into_programs_within(fake):
    @sgl.function
    def outer(s):
        s += "First. "
        capital(s, "France")

    assert outer.trace(backend=fake()) == "First. The capital of France is"


def test_cache_computes_it(fake):
    backend = fake(template="default")
    assert shots.cache(backend) == BEGINNING
    assert [(seen.kind, seen.text) for seen in backend.seen] == [("cache_prefix", BEGINNING)]


def test_nothing_is_computed_of_a_program_that_begins_with_an_argument(fake):
    backend = fake()
    assert capital.cache(backend) == "" and backend.seen == []


def test_a_template_s_system_prompt_is_traced(fake):
    @sgl.function
    def asks(s, question):
        with s.user():
            s += question

    trace = asks.trace(backend=fake(template="qwen"))
    system = get_chat_template("qwen").default_system_prompt
    assert trace == f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n"


@pytest.mark.parametrize(
    "name", [each for each in sgl.__all__ if each[0] != "_" and each != "Engine"]
)
def test_every_public_name_says_what_it_is_and_what_it_takes(name):
    found = getattr(sgl, name)
    assert inspect.getdoc(found)
    given = inspect.signature(found).parameters.values() if callable(found) else []
    assert [each.name for each in given if each.annotation is each.empty] == []
    rest = [each for each in given if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    assert isinstance(found, type) or not rest, "what a function takes has names"


@pytest.mark.parametrize("kind", [ProgramState, ProgramStateGroup, Function, sgl.Runtime])
def test_every_method_says_what_it_does(kind):
    methods = {name: each for name, each in vars(kind).items() if name[0] != "_"}
    assert [name for name, each in methods.items() if not inspect.getdoc(each)] == []


@pytest.mark.parametrize("make", [sgl.gen_int, sgl.gen_string])
def test_a_typed_gen_takes_what_a_gen_takes_in_the_same_order(make):
    given = list(inspect.signature(sgl.gen).parameters)
    assert list(inspect.signature(make).parameters) == given[: given.index("dtype")]
