"""An engine process without a model: every request gets a token, every few milliseconds.

    python -m sgjax.bench.recital MILLISECONDS FOLDER

It says what an engine would say, in the same messages, so that what stands in front of an engine
can be measured by itself: `sgjax.bench.streams` starts it.
"""

import itertools
import queue
import sys
import time
from collections.abc import Iterator

from sgjax.config import ServeConfig
from sgjax.engine import process
from sgjax.engine.messages import (
    Abort,
    Call,
    Command,
    Delta,
    EngineInfo,
    EngineStats,
    Event,
    Ready,
    Reply,
    Serving,
    Submit,
    Tokens,
)
from sgjax.engine.process import Send
from sgjax.engine.request import FinishReason

SCRIPT = range(1000, 1400)
"""The tokens of every answer, over and over."""


def recite(
    config: ServeConfig, inbox: "queue.SimpleQueue[Command]", send: Send, *, interval_s: float
) -> None:
    """Answers commands until a Shutdown comes; `config` says how many may run."""
    send([Serving(_info(config)), Ready(0.0)])
    left: dict[str, int] = {}
    token = itertools.cycle(SCRIPT)
    next_step = time.monotonic()
    while True:
        next_step = max(next_step + interval_s, time.monotonic())
        time.sleep(max(next_step - time.monotonic(), 0))
        while not inbox.empty():
            match inbox.get():
                case Submit(rid=rid, params=params):
                    left[rid] = params.max_new_tokens or 1  # the front says how many
                case Abort(rid=str(rid)):
                    left.pop(rid, None)
                case Call(id=id):
                    send([Reply(id, EngineStats())])
                case _:
                    return
        if left:
            send(_step(left, token))


def _step(left: dict[str, int], token: Iterator[int]) -> list[Event]:
    """A token for everybody; who has none left then has ended."""
    for rid in left:
        left[rid] -= 1
    ended = [rid for rid, count in left.items() if not count]
    for rid in ended:
        del left[rid]
    events: list[Event] = [
        Delta(rid, [next(token)], FinishReason("length", length=0)) for rid in ended
    ]
    return [*events, Tokens(list(left), [next(token) for _ in left])]


def _info(config: ServeConfig) -> EngineInfo:
    return EngineInfo(
        architecture="Recital",
        vocab_size=1 << 17,
        context_length=1 << 17,
        max_total_tokens=1 << 30,
        max_running_requests=config.max_running_requests or 1,
        page_size=16,
        tp_size=1,
        eos_ids=[],
        dtype="none",
        device="none",
        default_sampling={},
    )


def main() -> None:
    milliseconds, folder = sys.argv[1:]

    def run(
        config: ServeConfig, inbox: "queue.SimpleQueue[Command]", send: Send, **_: bool
    ) -> None:
        recite(config, inbox, send, interval_s=float(milliseconds) / 1e3)

    process.main(folder, run)


if __name__ == "__main__":
    main()
