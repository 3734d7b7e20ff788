"""The command line: sgjax serve | generate | chat | inspect | bench | version | env."""

import argparse
import importlib.metadata
import os
import platform
import sys
from collections.abc import Sequence
from typing import Any

from sgjax.bench.command import add_bench
from sgjax.config import did_you_mean
from sgjax.errors import ConfigError, RequestError, SgjaxError
from sgjax.flags import ENGINE_GROUPS, Parser, add_model, add_options, config_from
from sgjax.options import read_integer

# Flag -> (parameter of SamplingParams, how it is read, help).
_SAMPLING = {
    "--max-new-tokens": ("max_new_tokens", int, "tokens to generate at most"),
    "--temperature": ("temperature", float, "0: always the likeliest token"),
    "--top-p": ("top_p", float, "draw from the likeliest tokens that hold this probability"),
    "--top-k": ("top_k", int, "draw from this many tokens, the likeliest"),
    "--min-p": ("min_p", float, "draw from tokens this likely, against the likeliest"),
    "--seed": ("seed", int, "the same seed draws the same text"),
}
_PACKAGES = ("jax", "jaxlib", "flax", "transformers", "tokenizers", "safetensors", "numpy")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; the exit status: 0, 2 for what the user can mend, 1 for other failures."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        parsed = _parse(args)
        return parsed.run(parsed) or 0
    except SgjaxError as error:
        print(f"sgjax: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError | RequestError) else 1
    except KeyboardInterrupt:
        return 130


def _parse(args: Sequence[str]) -> argparse.Namespace:
    parser, commands = make_parser()
    if args and not args[0].startswith("-") and args[0] not in commands:
        near = did_you_mean(args[0], commands)
        raise ConfigError(f"There is no command {args[0]}.{near} Known: {', '.join(commands)}.")
    parsed = parser.parse_all(args)
    parsed.argv = ["sgjax", *args]
    return parsed


def make_parser() -> tuple[Parser, list[str]]:
    """The parser, and the names of its commands."""
    parser = Parser(prog="sgjax", description="Serve language models with JAX.")
    parser.add_argument("--version", action="version", version=version())
    commands = parser.add_subparsers(title="Commands", metavar="COMMAND", required=True)
    _add_serve(commands.add_parser("serve", help="serve a model over HTTP"))
    _add_generate(commands.add_parser("generate", help="go on from a text, without a server"))
    _add_chat(commands.add_parser("chat", help="talk to a model in this terminal"))
    _add_inspect(commands.add_parser("inspect", help="say what a model is, and whether it fits"))
    add_bench(commands.add_parser("bench", help="measure an engine, a server, or kernels"))
    commands.add_parser("version", help="say the version").set_defaults(run=_version)
    commands.add_parser("env", help="say what this machine has, for bug reports").set_defaults(
        run=_env
    )
    return parser, list(commands.choices)


def _add_serve(parser: Parser) -> None:
    parser.usage = "%(prog)s [MODEL] [flags]"
    add_model(parser)
    add_options(parser)
    parser.set_defaults(run=_serve)


def _add_generate(parser: Parser) -> None:
    parser.usage = "%(prog)s TEXT [flags]"
    parser.add_argument("text", metavar="TEXT", help="the beginning, to go on from")
    _add_sampling(parser)
    add_options(parser, ENGINE_GROUPS)
    parser.set_defaults(run=_generate, model=None)


def _add_chat(parser: Parser) -> None:
    parser.usage = "%(prog)s [MODEL] [flags]"
    add_model(parser)
    parser.add_argument(
        "--url", help="talk to this server (http://127.0.0.1:30000), not in-process"
    )
    parser.add_argument("--api-key", dest="key", metavar="TEXT", help="the key of that server")
    parser.add_argument("--system", metavar="TEXT", help="the system message")
    _add_sampling(parser)
    add_options(parser, ENGINE_GROUPS)
    parser.set_defaults(run=_chat)


def _add_inspect(parser: Parser) -> None:
    parser.usage = "%(prog)s [MODEL] [flags]"
    add_model(parser)
    parser.add_argument(
        "--device-memory",
        type=read_integer,
        metavar="BYTES",
        help="of a device, 80G say (default: as this machine has)",
    )
    add_options(parser, ENGINE_GROUPS)
    parser.set_defaults(run=_inspect)


def _add_sampling(parser: Parser) -> None:
    section = parser.add_argument_group("Sampling")
    for flag, (name, kind, said) in _SAMPLING.items():
        section.add_argument(
            flag, dest=name, type=kind, metavar="N" if kind is int else "X", help=said
        )
    section.add_argument(
        "--stop", action="append", metavar="TEXT", help="end before this; may be given again"
    )


def sampling_from(parsed: argparse.Namespace) -> dict[str, Any]:
    """The sampling parameters that were given."""
    names = [name for name, _, _ in _SAMPLING.values()] + ["stop"]
    return {name: value for name in names if (value := getattr(parsed, name)) is not None}


def _serve(parsed: argparse.Namespace) -> int | None:
    config = config_from(parsed)
    from sgjax_server.run import serve

    return serve(config)


def _generate(parsed: argparse.Namespace) -> None:
    from sgjax.terminal import generate

    generate(config_from(parsed), parsed.text, sampling_from(parsed))


def _chat(parsed: argparse.Namespace) -> None:
    from sgjax import terminal

    params, url, key = sampling_from(parsed), parsed.url, parsed.key
    if url is None:
        if key is not None:
            raise ConfigError("--api-key is for a server: say which with --url.")
        terminal.chat_in_process(config_from(parsed), params, parsed.system)
        return
    if parsed.found:
        raise ConfigError(f"{parsed.found[0].where} is for an engine in this process, not --url.")
    terminal.chat_with_server(url, params, key=key, model=parsed.model, system=parsed.system)


def _inspect(parsed: argparse.Namespace) -> None:
    config = config_from(parsed)
    from sgjax.model_report import report

    for line in report(config, parsed.device_memory):
        print(line)


def _version(parsed: argparse.Namespace) -> None:
    print(version())


def version() -> str:
    return f"sgjax {_installed('sgjax')}"


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _env(parsed: argparse.Namespace) -> None:
    print(version())
    print(f"python {platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores")
    for package in _PACKAGES:
        print(f"{package} {_installed(package)}")
    import jax

    for device in jax.devices():
        limit = (device.memory_stats() or {}).get("bytes_limit")
        memory = f", {limit / 2**30:.1f} GiB" if limit else ""
        print(f"device {device.id}: {device.platform} {device.device_kind}{memory}")


if __name__ == "__main__":
    sys.exit(main())
