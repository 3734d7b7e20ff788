"""sgjax_server.run.serve as a process, in front of a slow fake engine, for tests of signals.

python -m tests.server.served PORT DELAY DRAIN: a token takes DELAY seconds, a stop at most DRAIN.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from sgjax_server import run

from sgjax.config import ServeConfig
from sgjax.engine.messages import Delta, Event, Ready, Submit
from tests.front.fakes import FakeEngineClient, byte_tokenizer, chat_template

TEXT = "a text of forty tokens, recited slowly.."


class SlowFake(FakeEngineClient):
    def __init__(self, delay_s: float):
        super().__init__(TEXT)
        self._delay_s = delay_s

    async def recital(self, submit: Submit, wake: asyncio.Event) -> AsyncGenerator[Delta, None]:
        async with aclosing(super().recital(submit, wake)) as deltas:
            async for delta in deltas:
                await asyncio.sleep(self._delay_s)
                yield delta


async def start(config: ServeConfig, on_event: Callable[[Event], None]) -> SlowFake:
    on_event(Ready(0.1))
    return SlowFake(float(sys.argv[2]))


if __name__ == "__main__":
    run.tokenizer_of = lambda config: byte_tokenizer()
    run.chat_template_of = lambda config: chat_template()
    config = ServeConfig(
        model_path="fake", port=int(sys.argv[1]), drain_timeout_s=float(sys.argv[3])
    )
    sys.exit(run.serve(config, start))
