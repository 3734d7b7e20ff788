"""Text as it comes: all of it, one variable's, and in a coroutine."""

import asyncio

import sgjax as sgl


@sgl.function
def story(s, hero):
    s += sgl.user(f"Tell me a story about {hero}.")
    s += sgl.assistant(sgl.gen("story", max_tokens=48))


def whole(backend):
    """The texts of roles are in it too."""
    state = story.run("a cat", stream=True, temperature=0, backend=backend)
    return list(state.text_iter())


async def told(backend):
    """Only what the model says; meta_info grows with it."""
    state = story.run("a cat", stream=True, temperature=0, backend=backend)
    pieces, counts = [], []
    async for piece, meta_info in state.text_async_iter("story", return_meta_data=True):
        pieces.append(piece)
        counts.append(meta_info["completion_tokens"])
    return pieces, counts


def main(backend):
    return whole(backend), *asyncio.run(told(backend))


if __name__ == "__main__":
    with sgl.Engine(model_path="demo") as engine:
        for piece in story.run("a dog", stream=True, backend=engine).text_iter("story"):
            print(piece, end="", flush=True)
        print()
