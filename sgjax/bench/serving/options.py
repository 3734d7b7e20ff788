"""What a run of `sgjax bench serving` depends on."""

import argparse
import dataclasses
from pathlib import Path

from sgjax.bench.serving.crowd import Load
from sgjax.bench.serving.datasets import DatasetOptions
from sgjax.bench.serving.forms import Api
from sgjax.bench.serving.latencies import Limits


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServingOptions:
    """All of it."""

    url: str
    api: Api
    dataset: DatasetOptions
    load: Load
    limits: Limits
    model: str | None
    """None: what the server calls its own."""
    api_key: str | None
    temperature: float
    vocab_size: int | None
    """None: what the server says."""
    schema_file: Path | None
    flush_cache: bool
    long_prompt: int | None
    """Tokens of a prompt that comes while all others decode; None: there is none."""
    timeout_s: float


def options_from(parsed: argparse.Namespace) -> ServingOptions:
    """The options that flags say."""
    dataset = DatasetOptions(
        name=parsed.dataset,
        num_prompts=parsed.num_prompts,
        input_len=parsed.input_len,
        output_len=parsed.output_len,
        range_ratio=parsed.range_ratio,
        prefix_len=parsed.prefix_len,
        num_groups=parsed.num_groups,
        num_turns=parsed.num_turns,
        file=parsed.dataset_file,
        seed=parsed.seed,
    )
    return ServingOptions(
        url=parsed.url,
        api=parsed.api,
        dataset=dataset,
        load=Load(request_rate=parsed.request_rate, concurrency=parsed.concurrency),
        limits=Limits(ttft_ms=parsed.ttft_ms, itl_ms=parsed.itl_ms),
        model=parsed.model,
        api_key=parsed.api_key,
        temperature=parsed.temperature,
        vocab_size=parsed.vocab_size,
        schema_file=parsed.json_schema,
        flush_cache=parsed.flush_cache,
        long_prompt=parsed.long_prompt,
        timeout_s=parsed.timeout,
    )
