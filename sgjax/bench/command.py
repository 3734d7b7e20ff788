"""`sgjax bench`: what its commands do. Light until one of them runs."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgjax.bench import flags
from sgjax.config import ServeConfig
from sgjax.config_sources import Found
from sgjax.errors import BenchmarkFailed, ConfigError
from sgjax.flags import Parser, config_from

if TYPE_CHECKING:
    from sgjax.bench.workloads import Workload


def add_bench(parser: Parser) -> None:
    """The commands under `sgjax bench`; --compare is `compare` as a flag."""
    parser.set_defaults(run=_bench, command=parser, html=None)
    parser.add_argument(
        "--compare", dest="both", nargs=2, type=Path, metavar=("A.json", "B.json"),
        help="the same as compare",
    )  # fmt: skip
    commands = parser.add_subparsers(title="Benchmarks", metavar="BENCHMARK")
    for name, said, add_flags, run in (
        (
            "offline",
            "named workloads through an engine in this process",
            flags.add_offline,
            _offline,
        ),
        ("latency", "one batch through an engine in this process", flags.add_latency, _latency),
        ("serving", "a server, as a crowd of clients sees it", flags.add_serving, _serving),
        (
            "kernels",
            "operations alone, and the search for block sizes",
            flags.add_kernels,
            _kernels,
        ),
        ("compare", "two reports side by side", flags.add_compare, _compare),
    ):
        command = commands.add_parser(name, help=said)
        add_flags(command)
        command.set_defaults(run=run)


def _bench(parsed: argparse.Namespace) -> None:
    if parsed.both is None:
        raise ConfigError("Name a benchmark. Try sgjax bench --help.")
    parsed.first, parsed.second = parsed.both
    _compare(parsed)


def _offline(parsed: argparse.Namespace) -> None:
    from sgjax.bench.workloads import select

    workloads = select(parsed.names, parsed.scale)
    _run_in_process(parsed, "offline", workloads, scale=parsed.scale)


def _latency(parsed: argparse.Namespace) -> None:
    from sgjax.bench.workloads import batch_workloads

    sizes = {name: getattr(parsed, name) for name in ("batch_size", "input_len", "output_len")}
    workloads = batch_workloads(**sizes)
    _run_in_process(parsed, "latency", workloads, **sizes)


def _run_in_process(
    parsed: argparse.Namespace, benchmark: str, workloads: Sequence["Workload"], **settings: Any
) -> None:
    from sgjax.bench.in_process import run_workloads
    from sgjax.bench.publish import check_outputs, publish

    check_outputs(parsed)
    has_marks = benchmark == "offline" and parsed.scale == 1
    with ExitStack() as stack:
        has_tokenizer = any(workload.bound_to is not None for workload in workloads)
        config = _engine_config(parsed, stack, has_tokenizer=has_tokenizer)
        found, failure = run_workloads(config, workloads, has_marks=has_marks)
    # A shape is said by its name, not by the folder it was put in.
    shape = {"model": parsed.shape} if parsed.shape else {}
    publish(parsed, benchmark, found, settings | shape)
    if failure is not None:
        raise BenchmarkFailed(failure)


def _engine_config(
    parsed: argparse.Namespace, stack: ExitStack, *, has_tokenizer: bool
) -> ServeConfig:
    """The engine's options: token ids in and out, and with --shape a model made for the purpose."""
    from sgjax.bench.shapes import shape_folder

    found: list[Found] = [*parsed.found]
    if not has_tokenizer:
        found.append(Found("skip_tokenizer_init", True, "sgjax bench"))
    if parsed.shape is not None:
        said = [each for each in parsed.found if each.name in ("model_path", "load_format")]
        if said:
            raise ConfigError(f"{said[0].where} and --shape both say which model. Give one.")
        folder = stack.enter_context(shape_folder(parsed.shape, has_tokenizer=has_tokenizer))
        found += [
            Found("model_path", str(folder), "--shape"),
            Found("load_format", "dummy", "--shape"),
        ]
    return config_from(argparse.Namespace(**{**vars(parsed), "found": found}))


def _serving(parsed: argparse.Namespace) -> None:
    from sgjax.bench.publish import check_outputs, publish
    from sgjax.bench.serving.options import options_from
    from sgjax.bench.serving.run import busy_client, run_serving

    check_outputs(parsed)
    findings, failure = run_serving(options_from(parsed))
    publish(parsed, "serving", findings, {})
    if warning := busy_client(findings):
        print(f"sgjax: {warning}", file=sys.stderr)
    if failure is not None:
        raise BenchmarkFailed(failure)


def _kernels(parsed: argparse.Namespace) -> None:
    from sgjax.bench.publish import check_outputs, publish

    check_outputs(parsed)
    from sgjax.bench.kernels.measure import run_kernels
    from sgjax.bench.kernels.options import options_from
    from sgjax.bench.kernels.tuning import run_tuning

    run = run_tuning if parsed.tune else run_kernels
    publish(parsed, "tuning" if parsed.tune else "kernels", run(options_from(parsed)), {})


def _compare(parsed: argparse.Namespace) -> None:
    from sgjax.bench.publish import publish_comparison

    publish_comparison(parsed.first, parsed.second, parsed.html)
