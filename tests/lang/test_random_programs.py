"""Random programs against an interpreter that does one thing after the other.

The model is a function of the prompt alone, so that what a program says depends on nothing else:
neither on what runs at the same time, nor on whether it is streamed.
"""

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sgjax as sgl
from sgjax.lang.chat_template import get_chat_template
from sgjax.lang.state import ProgramState
from tests.lang.fake_backend import FakeBackend

pytestmark = pytest.mark.timeout(120)


def model(prompt: str) -> str:
    """Answers of one to eight letters, some with white space at their ends."""
    digest = hashlib.sha256(prompt.encode()).hexdigest()
    return f"{' ' * (int(digest[0], 16) % 2)}{digest[1 : 2 + int(digest[1], 16) % 8]}"


@dataclasses.dataclass(frozen=True)
class Say:
    """Text, and a gen behind it where there is a name."""

    text: str
    name: str | None = None


@dataclasses.dataclass(frozen=True)
class Message:
    """In one of three forms."""

    role: str
    form: str
    inside: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Scope:
    name: str
    inside: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Forks:
    """What each of them does, and how they are joined: "gather", "append" or "leave"."""

    ways: tuple[tuple[Any, ...], ...]
    join: str


@dataclasses.dataclass(frozen=True)
class Read:
    """Appends the value of a variable, if there is one: the program waits."""

    name: str


NAMES = st.sampled_from("xyz")
TEXTS = st.sampled_from(["a", " b", "c\n", "", "<|im_end|>"])
SAYS = st.builds(Say, TEXTS, st.none() | NAMES)
SMALL = SAYS | st.builds(Read, NAMES)


def steps_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(inner, max_size=4).map(tuple)


def scopes_of(inside: st.SearchStrategy[Any]) -> st.SearchStrategy[Scope]:
    return st.builds(Scope, st.sampled_from("uvw"), steps_of(inside))


IN_MESSAGE = SMALL | scopes_of(SMALL)
MESSAGES = st.builds(
    Message,
    st.sampled_from(["system", "user", "assistant"]),
    st.sampled_from(["block", "ends"]),
    steps_of(IN_MESSAGE),
)
OUTSIDE = st.recursive(
    SMALL | MESSAGES,
    lambda inner: (
        scopes_of(inner)
        | st.builds(
            Forks,
            st.lists(steps_of(inner), min_size=1, max_size=3).map(tuple),
            st.sampled_from(["gather", "append", "leave"]),
        )
    ),
    max_leaves=12,
)
PROGRAMS = steps_of(OUTSIDE)


def run(s: ProgramState, steps: tuple[Any, ...]) -> None:
    """As a program of the language."""
    for step in steps:
        match step:
            case Say(text, None):
                s += text
            case Say(text, name):
                s += text + sgl.gen(name)
            case Read(name):
                if name in s:
                    s += str(s[name])
            case Message(role, "block", inside):
                with getattr(s, role)():
                    run(s, inside)
            case Message(role, _, inside):
                s += getattr(sgl, f"{role}_begin")()
                run(s, inside)
                s += getattr(sgl, f"{role}_end")()
            case Scope(name, inside):
                with s.var_scope(name):
                    run(s, inside)
            case Forks(ways, join):
                forks = s.fork(len(ways))
                for fork, way in zip(forks, ways, strict=True):
                    run(fork, way)
                if join != "leave":
                    forks.join("gather_variable" if join == "gather" else "concate_and_append")


class Interpreter:
    """What a program says, without futures, queues and loops."""

    def __init__(self, template: str):
        self.template = get_chat_template(template)
        self.text = ""
        self.messages: list[dict[str, str]] = []
        self.variables: dict[str, Any] = {}
        self.made: set[str] = set()

    def run(self, steps: tuple[Any, ...]) -> "Interpreter":
        for step in steps:
            match step:
                case Say(text, name):
                    self.text += text
                    if name is not None:
                        answer = model(self.text)
                        self.text += answer
                        self.keep(name, answer)
                case Read(name):
                    self.text += str(self.variables.get(name, ""))
                case Message(role, _, inside):
                    self.message(role, inside)
                case Scope(name, inside):
                    begin = len(self.text)
                    self.run(inside)
                    self.keep(name, self.text[begin:])
                case Forks(ways, join):
                    self.join([self.fork().run(way) for way in ways], join)
        return self

    def keep(self, name: str, value: Any) -> None:
        self.variables[name] = value
        self.made.add(name)

    def message(self, role: str, inside: tuple[Any, ...]) -> None:
        default = self.template.default_system_prompt
        if role != "system" and not self.messages and default is not None:
            self.message("system", (Say(default),))
        prefix, suffix = self.template.prefix_and_suffix(role, self.messages)
        self.text += prefix
        begin = len(self.text)
        self.run(inside)
        self.messages.append({"role": role, "content": self.text[begin:].lstrip()})
        self.text += suffix

    def fork(self) -> "Interpreter":
        other = Interpreter(self.template.name)
        other.text, other.messages = self.text, list(self.messages)
        other.variables = dict(self.variables)
        return other

    def join(self, forks: list["Interpreter"], how: str) -> None:
        if how == "append":
            begin = len(self.text)
            self.text += "".join(fork.text[begin:] for fork in forks)
        elif how == "gather":
            for name in sorted({name for fork in forks for name in fork.made}):
                self.keep(name, [fork.variables[name] for fork in forks if name in fork.made])


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, FakeBackend]]:
    made = {name: FakeBackend(model, template=name) for name in ("qwen", "llama-2-chat")}
    yield made
    for backend in made.values():
        backend.shutdown()


program = sgl.function(lambda s, steps: run(s, steps))


@given(steps=PROGRAMS, template=st.sampled_from(["qwen", "llama-2-chat"]), stream=st.booleans())
def test_a_program_says_what_its_steps_say_one_after_the_other(backends, steps, template, stream):
    expected = Interpreter(template).run(steps)
    state = program.run(steps, backend=backends[template], stream=stream)
    assert state.error() is None
    assert state.text() == expected.text == "".join(state.text_iter())
    assert state.messages() == expected.messages
    assert {name: state[name] for name in "xyzuvw" if name in state} == expected.variables
    for name, value in expected.variables.items():
        if isinstance(value, str):
            assert "".join(state.text_iter(name)) == value


@given(programs=st.lists(PROGRAMS, min_size=2, max_size=4))
def test_programs_of_a_batch_do_not_disturb_one_another(backends, programs):
    states = program.run_batch([[steps] for steps in programs], backend=backends["qwen"])
    for state, steps in zip(states, programs, strict=True):
        assert state.text() == Interpreter("qwen").run(steps).text
