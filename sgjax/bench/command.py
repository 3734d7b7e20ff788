"""`sgjax bench`: its flags, and what its commands do. Light until one of them runs."""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgjax.config import ServeConfig
from sgjax.config_sources import Found
from sgjax.errors import ConfigError
from sgjax.flags import ENGINE_GROUPS, Parser, add_options, config_from

if TYPE_CHECKING:
    from sgjax.bench.report import Findings


def add_bench(parser: Parser) -> None:
    """The commands under `sgjax bench`."""
    commands = parser.add_subparsers(title="Benchmarks", metavar="BENCHMARK", required=True)
    _add_offline(
        commands.add_parser("offline", help="named workloads through an engine in this process")
    )


def _add_offline(parser: Parser) -> None:
    parser.usage = "%(prog)s NAME... [flags]"
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help="a workload, 'decode', 'prefill' or 'all'"
    )
    parser.add_argument(
        "--scale",
        type=_scale,
        default=1.0,
        metavar="X",
        help="multiplies all lengths and numbers of requests: below 1 for a small machine "
        "(default: 1)",
    )
    _add_engine(parser)
    _add_output(parser)
    parser.set_defaults(run=_offline)


def _add_engine(parser: Parser) -> None:
    """The flags of an engine in this process."""
    add_options(parser, ENGINE_GROUPS)
    parser.add_argument(
        "--shape", metavar="NAME", help="a model of this shape with random weights: llama-3.1-8b, …"
    )
    parser.set_defaults(model=None)


def _add_output(parser: Parser) -> None:
    section = parser.add_argument_group("Output")
    section.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    section.add_argument("--label", metavar="TEXT", help="how comparisons call this run")


def _scale(text: str) -> float:
    value = float(text)
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"must be a number above 0 and up to 100, not {text}")
    return value


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


def _offline(parsed: argparse.Namespace) -> None:
    from sgjax.bench.session import run_offline
    from sgjax.bench.workloads import select

    _check_output(parsed)
    workloads = select(parsed.names, parsed.scale)
    with ExitStack() as stack:
        config = _engine_config(parsed, stack)
        found = run_offline(config, workloads, scale=parsed.scale)
    _finish(parsed, "offline", found, _settings(parsed, scale=parsed.scale))


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
    )
    show_report(report)
    if parsed.json is not None:
        write_json(report, parsed.json)


def _settings(parsed: argparse.Namespace, **settings: Any) -> dict[str, Any]:
    """What the figures depend on. A shape is said by its name, not by the folder it was put in."""
    return settings | ({"model": parsed.shape} if parsed.shape else {})


def _check_output(parsed: argparse.Namespace) -> None:
    """A file that cannot be written is said before hours of measuring, not after."""
    for path in (parsed.json,):
        if path is not None and not path.absolute().parent.is_dir():
            raise ConfigError(f"There is no folder {path.absolute().parent} for {path.name}.")


def _without_secrets(argv: Sequence[str]) -> list[str]:
    """The command line, with keys blotted out."""
    blotted = [arg.split("=")[0] + "=…" if arg.startswith("--api-key=") else arg for arg in argv]
    return ["…" if i and argv[i - 1] == "--api-key" else arg for i, arg in enumerate(blotted)]
