"""Whether the host's work hides behind the device's: decode steps with and without overlap.

    python -m sgjax.bench.overlap [--model FOLDER] [--load-format dummy] [--rows 256] [--tokens 256]

"plan" is what planning, packing and launching cost the host a step; "step" is the time from one
step's results to the next one's. With overlap, a step should take as long as the device does.
"""

import argparse
import asyncio
import random
from array import array

from sgjax.config import ServeConfig
from sgjax.engine.local_client import LocalClient
from sgjax.engine.messages import EngineStats, Submit
from sgjax.sampling_params import SamplingParams

PROMPT_TOKENS = 64
MARGIN = 16
"""Tokens at both ends of each request that are not measured: not all requests run there."""


async def measure(config: ServeConfig, num_rows: int, num_tokens: int) -> tuple[float, float, int]:
    """Milliseconds of planning and of a step, and how many steps were measured."""
    engine = LocalClient.start(config)
    while not engine.is_ready:
        await asyncio.sleep(0.1)
    params = SamplingParams(
        temperature=0.0, max_new_tokens=num_tokens + 2 * MARGIN, ignore_eos=True
    )
    chance = random.Random(0)
    counts = [0] * num_rows

    async def run(row: int) -> None:
        prompt = [chance.randrange(engine.info.vocab_size) for _ in range(PROMPT_TOKENS)]
        async for delta in engine.generate(Submit(f"r{row}", array("i", prompt), params)):
            counts[row] += len(delta.token_ids)

    async def stats_at(count: int) -> EngineStats:
        while min(counts) < count:
            await asyncio.sleep(0.002)
        return await engine.stats()

    runs = [asyncio.create_task(run(row)) for row in range(num_rows)]
    first, last = await stats_at(MARGIN), await stats_at(MARGIN + num_tokens)
    await asyncio.gather(*runs)
    await engine.close()
    steps = last.steps - first.steps
    plan = (last.plan_seconds - first.plan_seconds) / steps
    step = (last.step_seconds - first.step_seconds) / steps
    return plan * 1e3, step * 1e3, steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--load-format", default="auto")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=256)
    options = parser.parse_args()
    print(f"{options.rows} decoding rows, ms a step")
    for is_off in (False, True):
        config = ServeConfig(
            model_path=options.model,
            load_format=options.load_format,
            skip_tokenizer_init=True,
            max_running_requests=options.rows,
            max_total_tokens=options.rows * (PROMPT_TOKENS + options.tokens + 4 * MARGIN),
            disable_overlap_schedule=is_off,
        )
        plan, step, steps = asyncio.run(measure(config, options.rows, options.tokens))
        name = "without overlap" if is_off else "with overlap"
        print(f"  {name:16} plan {plan:6.2f}   step {step:6.2f}   ({steps} steps)")


if __name__ == "__main__":
    main()
