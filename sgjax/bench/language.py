"""What the language costs, and what it saves.

    python -m sgjax.bench.language overhead [--threads 64] [--programs 2000]
    python -m sgjax.bench.language programs [--model-path demo | --shape llama-3.1-8b]
        [--items 200] [--unshared-items 200]

"overhead": microseconds of a call where the model takes no time: programs of three calls, each of
which is read before the next, by so many threads; by wall clock, and by this process's processor
time.

"programs": items a second of `run_batch`, each of three calls behind examples of 2,000 tokens that
all share; then the same with the prefix cache off, where every call computes all of its prompt: of
fewer items where that takes long, which each line says. A shape has no knowledge and no end: every
call makes all of its tokens.
"""

import argparse
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from sgjax.bench.shapes import shape_folder
from sgjax.front.engine import Engine
from sgjax.front.loop_thread import LoopThread
from sgjax.lang import api, switches
from sgjax.lang.backends.contract import Answer, Call
from sgjax.lang.chat_template import ChatTemplate, get_chat_template
from sgjax.lang.choices import ChoicesDecision, ChoicesMethod
from sgjax.lang.function import Function
from sgjax.lang.state import ProgramState
from sgjax.lang.transcript import Transcript

CALLS = 3
PREFIX_TOKENS = 2000
OUTPUT_TOKENS = 16
RUNS = 3


class Instant:
    """A backend that answers at once."""

    reads: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.loop = LoopThread("instant")
        self.chat_template: ChatTemplate = get_chat_template("default")

    async def generate(self, transcript: Transcript, call: Call) -> Answer:
        return Answer(" yes", {})

    async def stream(self, transcript: Transcript, call: Call) -> AsyncIterator[Answer]:
        yield Answer(" yes", {})

    async def select(
        self,
        transcript: Transcript,
        choices: Sequence[str],
        *,
        method: ChoicesMethod,
        temperature: float,
    ) -> ChoicesDecision:
        return ChoicesDecision(choices[0])

    async def cache_prefix(self, text: str) -> None:
        pass

    async def before_fork(self, transcript: Transcript) -> None:
        pass

    def speculating(self, num_tokens: int) -> "Instant":
        return self

    def end_role(self, transcript: Transcript) -> None:
        pass

    def flush_cache(self) -> bool:
        return True

    def get_server_info(self) -> dict[str, Any]:
        return {}

    def shutdown(self) -> None:
        self.loop.close()


def asking(examples: str, *, ignore_eos: bool) -> Function:
    """A program of CALLS questions behind examples, each of which waits for the one before."""

    @api.function
    def ask(s: ProgramState, question: str) -> None:
        s += examples
        s += f"Q: {question}\n"
        for i in range(CALLS):
            name = f"answer {i}"
            s += f"A{i}:"
            s += api.gen(name, max_tokens=OUTPUT_TOKENS, temperature=0, ignore_eos=ignore_eos)
            s += f"\nQ: Why {len(s[name])}?\n"

    return ask


def measure_overhead(num_threads: int, num_programs: int) -> tuple[float, float]:
    """Microseconds of a call: by wall clock, and of processor time."""
    backend = Instant()
    ask = asking("", ignore_eos=False)
    items = [{"question": f"number {i}"} for i in range(num_programs)]
    ask.run_batch(items[:num_threads], backend=backend, num_threads=num_threads)
    best = (float("inf"), 0.0)
    for _ in range(RUNS):
        wall, cpu = time.perf_counter(), time.process_time()
        ask.run_batch(items, backend=backend, num_threads=num_threads)
        taken = time.perf_counter() - wall, time.process_time() - cpu
        best = min(best, taken)
    backend.shutdown()
    return best[0] / num_programs / CALLS * 1e6, best[1] / num_programs / CALLS * 1e6


def measure_programs(options: argparse.Namespace, model: dict[str, Any]) -> Iterator[str]:
    """A line for each way to run them."""
    rates: list[float] = []
    for name, is_shared, count in (
        ("shared", True, options.items),
        ("nothing shared", False, options.unshared_items or options.items),
    ):
        with Engine(**model, disable_radix_cache=not is_shared, log_level="error") as engine:
            wait_until_ready(engine)
            ask = asking(examples_of(engine), ignore_eos=True)
            items = [{"question": f"number {i} of {count}"} for i in range(count)]
            ask.run_batch(items[: min(8, count)], backend=engine)
            engine.flush_cache()
            with switches.precaching(is_shared):
                begin = time.perf_counter()
                states = ask.run_batch(items, backend=engine)
                seconds = time.perf_counter() - begin
            raise_first(states)
            cached = [state.get_meta_info("answer 0")["cached_tokens"] for state in states]
            rates.append(count / seconds)
            yield (
                f"{name:16} {count:5} items, {rates[-1]:8.2f} items/s, "
                f"{CALLS * rates[-1]:8.2f} calls/s, "
                f"{sum(cached) / len(cached):.0f} tokens of a first call's prompt cached"
            )
    yield f"shared over nothing shared: {rates[0] / rates[1]:.2f}"


def raise_first(states: Sequence[ProgramState]) -> None:
    for state in states:
        if (error := state.error()) is not None:
            raise error


def wait_until_ready(engine: Engine) -> None:
    while not engine.get_server_info()["stats"]["ready"]:
        time.sleep(0.05)


def examples_of(engine: Engine) -> str:
    """Questions and answers of PREFIX_TOKENS tokens, about."""
    tokenizer = engine.tokenizer
    assert tokenizer is not None
    text, count = "", 0
    while len(tokenizer.encode(text)) < PREFIX_TOKENS:
        more = "".join(
            f"Q: What is {i} and {i + 1}?\nA: {2 * i + 1}\n" for i in range(count, count + 8)
        )
        text, count = text + more, count + 8
    return text


@contextlib.contextmanager
def model_of(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The options of an Engine."""
    if options.shape is None:
        yield {"model_path": options.model_path}
        return
    with shape_folder(options.shape, has_tokenizer=True) as folder:
        yield {"model_path": str(folder), "load_format": "dummy", "context_length": 16384}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("overhead", "programs"))
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument("--programs", type=int, default=2000)
    parser.add_argument("--model-path", default="demo")
    parser.add_argument("--shape")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument(
        "--unshared-items", type=int, help="with the prefix cache off; default: as many"
    )
    options = parser.parse_args()
    if options.what == "overhead":
        wall, cpu = measure_overhead(options.threads, options.programs)
        print(f"{wall:.0f} us a call, {cpu:.0f} us of processor time")
        return
    with model_of(options) as model:
        for line in measure_programs(options, model):
            print(line, flush=True)


if __name__ == "__main__":
    main()
