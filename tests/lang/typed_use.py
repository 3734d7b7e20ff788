# pyright: basic, reportUnnecessaryTypeIgnoreComment=true
"""What a type checker sees of a program: read by `make types`, never run."""

from typing import assert_type

import sgjax as sgl


@sgl.function
def ask(s: sgl.ProgramState, question: str) -> None:
    s += sgl.user(question)
    with s.assistant():
        s += sgl.gen("answer", max_tokens=8)


def name_a_backend(
    engine: sgl.Engine,
    runtime: sgl.Runtime,
    endpoint: sgl.RuntimeEndpoint,
    openai: sgl.OpenAI,
    anthropic: sgl.Anthropic,
    litellm: sgl.LiteLLM,
    vertexai: sgl.VertexAI,
) -> None:
    for backend in (engine, runtime, endpoint, openai, anthropic, litellm, vertexai):
        sgl.set_default_backend(backend)
        assert_type(ask.run("Why?", backend=backend), sgl.ProgramState)
        assert_type(ask.run_batch([{"question": "Why?"}], backend=backend), list[sgl.ProgramState])
    ask.run("Why?", backend=3)  # pyright: ignore[reportArgumentType]
    sgl.set_default_backend("engine")  # pyright: ignore[reportArgumentType]


async def read(state: sgl.ProgramState) -> None:
    assert_type(state.text(), str)
    async for piece in state.text_async_iter("answer"):
        assert_type(piece, str)
    state.user("Why?")
    with state.user() as same:
        assert_type(same, sgl.ProgramState)
