"""`sgjax bench`: what its commands do. Light until one of them runs."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from sgjax.bench import flags
from sgjax.config import ServeConfig
from sgjax.config_sources import Found
from sgjax.errors import BenchmarkFailed, ConfigError
from sgjax.flags import Parser, config_from

if TYPE_CHECKING:
    from sgjax.bench.report import Findings
    from sgjax.bench.workloads import Workload

_COMMANDS = {
    "offline": ("named workloads through an engine in this process", flags.add_offline),
    "latency": ("one batch through an engine in this process", flags.add_latency),
    "serving": ("a server, as a crowd of clients sees it", flags.add_serving),
}


def add_bench(parser: Parser) -> None:
    """The commands under `sgjax bench`."""
    commands = parser.add_subparsers(title="Benchmarks", metavar="BENCHMARK", required=True)
    works = {"offline": _offline, "latency": _latency, "serving": _serving}
    for name, (said, add_flags) in _COMMANDS.items():
        command = commands.add_parser(name, help=said)
        add_flags(command)
        command.set_defaults(run=works[name])


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

    _check_output(parsed)
    has_marks = benchmark == "offline" and parsed.scale == 1
    with ExitStack() as stack:
        config = _engine_config(parsed, stack)
        found = run_workloads(config, workloads, has_marks=has_marks)
    # A shape is said by its name, not by the folder it was put in.
    shape = {"model": parsed.shape} if parsed.shape else {}
    _finish(parsed, benchmark, found, settings | shape)


def _engine_config(parsed: argparse.Namespace, stack: ExitStack) -> ServeConfig:
    """The engine's options: token ids in and out, and with --shape a model made for the purpose."""
    from sgjax.bench.shapes import shape_folder

    found: list[Found] = [*parsed.found, Found("skip_tokenizer_init", True, "sgjax bench")]
    if parsed.shape is not None:
        said = [each for each in parsed.found if each.name in ("model_path", "load_format")]
        if said:
            raise ConfigError(f"{said[0].where} and --shape both say which model. Give one.")
        folder = stack.enter_context(shape_folder(parsed.shape))
        found += [
            Found("model_path", str(folder), "--shape"),
            Found("load_format", "dummy", "--shape"),
        ]
    return config_from(argparse.Namespace(**{**vars(parsed), "found": found}))


def _serving(parsed: argparse.Namespace) -> None:
    from sgjax.bench.serving.options import options_from
    from sgjax.bench.serving.run import busy_client, run_serving

    _check_output(parsed)
    findings, failure = run_serving(options_from(parsed))
    _finish(parsed, "serving", findings, {})
    if warning := busy_client(findings):
        print(f"sgjax: {warning}", file=sys.stderr)
    if failure is not None:
        raise BenchmarkFailed(failure)


def _finish(
    parsed: argparse.Namespace, benchmark: str, found: "Findings", settings: dict[str, Any]
) -> None:
    """Shows the table, and writes what was asked for."""
    from sgjax.bench.display import show_report
    from sgjax.bench.environment import describe_machine
    from sgjax.bench.report import Report, write_json

    machine = describe_machine()
    report = Report(
        benchmark=benchmark,
        label=parsed.label or machine["commit"] or machine["versions"]["sgjax"],
        command=_without_secrets(parsed.argv),
        started=found.started,
        environment=found.environment | settings | machine,
        figures=found.figures,
        curves=found.curves,
    )
    show_report(report)
    if parsed.json is not None:
        write_json(report, parsed.json)


def _check_output(parsed: argparse.Namespace) -> None:
    """A file that cannot be written is said before hours of measuring, not after."""
    for path in (parsed.json,):
        if path is not None and not path.absolute().parent.is_dir():
            raise ConfigError(f"There is no folder {path.absolute().parent} for {path.name}.")


def _without_secrets(argv: Sequence[str]) -> list[str]:
    """The command line, with keys blotted out."""
    blotted = [arg.split("=")[0] + "=…" if arg.startswith("--api-key=") else arg for arg in argv]
    return ["…" if i and argv[i - 1] == "--api-key" else arg for i, arg in enumerate(blotted)]
