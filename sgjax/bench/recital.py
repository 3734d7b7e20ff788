"""An engine process without a model: every request gets a token, every few milliseconds.

    python -m sgjax.bench.recital MILLISECONDS FOLDER

It says what an engine would say, in the same messages, so that what stands in front of an engine
can be measured by itself: `sgjax.bench.streams` starts it.
"""

import itertools
import queue
import sys
import time

from sgjax.config import ServeConfig
from sgjax.engine import process
from sgjax.engine.messages import (
    Abort,
    Call,
    Command,
    Delta,
    EngineInfo,
    EngineStats,
    Ready,
    Reply,
    Serving,
    Submit,
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
            send([_delta(rid, next(token), left) for rid in list(left)])


def _delta(rid: str, token: int, left: dict[str, int]) -> Delta:
    left[rid] -= 1
    if left[rid]:
        return Delta(rid, [token])
    del left[rid]
    return Delta(rid, [token], FinishReason("length", length=0))


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
