"""The flags of `sgjax bench`'s commands."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sgjax.flags import ENGINE_GROUPS, Parser, add_options

DATASETS = ("random", "lognormal", "shared-prefix", "multi-turn", "json", "file")
_LENGTHS = (
    ("--num-prompts", 256, "requests, or with multi-turn conversations"),
    ("--input-len", 1024, "tokens of a prompt or turn; in a chat, words"),
    ("--output-len", 128, "tokens of an answer, at most"),
    ("--prefix-len", 4096, "of shared-prefix: tokens that are shared, before the prompt's own"),
    ("--num-groups", 1, "of shared-prefix: different prefixes"),
    ("--num-turns", 4, "of multi-turn: turns of a conversation"),
)


def number(words: str, holds: Callable[[float], bool], kind: type = float) -> Any:
    """Reads a flag's value, which must be what `words` say."""

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not holds(value):
            raise argparse.ArgumentTypeError(f"must be {words}, not {text}")
        return value

    return read


scale = number("a number above 0 and up to 100", lambda value: 0 < value <= 100)
positive = number("a number above 0", lambda value: 0 < value < math.inf)
share = number("a number above 0 and up to 1", lambda value: 0 < value <= 1)
not_negative = number("a number of at least 0", lambda value: 0 <= value < math.inf)
count = number("an integer of at least 1", lambda value: value >= 1, int)
two_or_more = number("an integer of at least 2", lambda value: value >= 2, int)


def add_offline(parser: Parser) -> None:
    parser.usage = "%(prog)s NAME... [flags]"
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help="a workload, 'decode', 'prefill' or 'all'"
    )
    parser.add_argument(
        "--scale",
        type=scale,
        default=1.0,
        metavar="X",
        help="multiplies all lengths and numbers of requests: below 1 for a small machine "
        "(default: 1)",
    )
    _add_engine(parser)
    add_output(parser)


def add_latency(parser: Parser) -> None:
    section = parser.add_argument_group("Batch")
    section.add_argument(
        "--batch-size", type=count, default=8, metavar="N", help="requests (default: 8)"
    )
    section.add_argument(
        "--input-len", type=count, default=1024, metavar="N", help="of each (default: 1024)"
    )
    section.add_argument(
        "--output-len", type=two_or_more, default=129, metavar="N", help="of each (default: 129)"
    )
    _add_engine(parser)
    add_output(parser)


def _add_engine(parser: Parser) -> None:
    """The flags of an engine in this process."""
    add_options(parser, ENGINE_GROUPS)
    parser.add_argument(
        "--shape", metavar="NAME", help="a model of this shape with random weights: llama-3.1-8b, …"
    )
    parser.set_defaults(model=None)


def add_output(parser: Parser) -> None:
    section = parser.add_argument_group("Output")
    section.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    _add_html(section)
    section.add_argument(
        "--compare", type=Path, metavar="FILE", help="show it beside this report of --json"
    )
    section.add_argument("--label", metavar="TEXT", help="how comparisons call this run")


def add_kernels(parser: Parser) -> None:
    parser.set_defaults(command=parser)
    section = parser.add_argument_group("Cases")
    section.add_argument(
        "--op", default="ragged_paged_attention", metavar="NAME", help="the operation"
    )
    section.add_argument(
        "--cases",
        action="append",
        metavar="TEXT",
        help="those with this in their name; may be given again (default: all)",
    )
    section.add_argument(
        "--suite",
        choices=("real", "small"),
        help="shapes of served models, or odd ones (default: real on a GPU, else small)",
    )
    section.add_argument(
        "--head-size",
        type=count,
        action="append",
        metavar="N",
        help="with heads of this size instead of their own; may be given again",
    )
    section.add_argument(
        "--implementation", choices=("reference", "triton"), help="default: the best here"
    )
    section.add_argument(
        "--interpret", action="store_true", help="run kernels in an interpreter, without a GPU"
    )
    section.add_argument(
        "--no-check", action="store_true", help="do not compare results with the reference first"
    )
    section.add_argument("--seed", type=int, default=0, metavar="N", help="of random inputs")
    _add_tuning(parser.add_argument_group("Tuning"))
    add_output(parser)


def _add_tuning(section: argparse._ArgumentGroup) -> None:
    section.add_argument("--tune", action="store_true", help="search block sizes")
    section.add_argument(
        "--kernel",
        dest="kernels",
        action="append",
        metavar="NAME",
        help="of this kernel; may be given again (default: all of the operation)",
    )
    section.add_argument(
        "--budget",
        type=positive,
        default=1800.0,
        metavar="S",
        help="stop searching after so many seconds (default: 1800)",
    )
    section.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="put the sizes there (default: configs/kernels, where they are read)",
    )


def _add_html(section: argparse._ActionsContainer) -> None:
    section.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page with plots there (extra: bench)"
    )


def add_compare(parser: Parser) -> None:
    parser.set_defaults(command=parser)
    parser.add_argument("first", type=Path, metavar="A.json", help="a report of --json")
    parser.add_argument("second", type=Path, metavar="B.json", help="another: is it better?")
    _add_html(parser)


def add_serving(parser: Parser) -> None:
    parser.usage = "%(prog)s --url URL [flags]"
    parser.set_defaults(command=parser)
    server = parser.add_argument_group("Server")
    server.add_argument(
        "--url", required=True, help="where it is: http://127.0.0.1:30000, with or without /v1"
    )
    server.add_argument(
        "--api",
        choices=("chat", "completions", "generate"),
        default="generate",
        help="how it is asked: /v1/chat/completions, /v1/completions or /generate (the default)",
    )
    server.add_argument("--model", metavar="NAME", help="default: the first that it lists")
    server.add_argument("--api-key", metavar="TEXT", help="its key")
    server.add_argument("--flush-cache", action="store_true", help="empty its prefix cache first")
    server.add_argument(
        "--timeout",
        type=positive,
        default=600.0,
        metavar="S",
        help="seconds that a stream may be silent (default: 600)",
    )
    _add_load(parser.add_argument_group("Load"))
    _add_dataset(parser.add_argument_group("Requests"))
    add_output(parser)


def _add_load(section: argparse._ArgumentGroup) -> None:
    for flag, kind, metavar, said in (
        ("--request-rate", positive, "X", "begin so many a second, by chance; default: at once"),
        ("--concurrency", count, "N", "at most so many under way: a closed loop"),
        ("--long-prompt", count, "N", "a prompt of so many tokens comes while all others decode"),
        ("--ttft-ms", positive, "X", "a request is good if its first token is there by then"),
        ("--itl-ms", positive, "X", "and its later ones take so long each, on average"),
    ):
        section.add_argument(flag, type=kind, metavar=metavar, help=said)


def _add_dataset(section: argparse._ArgumentGroup) -> None:
    section.add_argument(
        "--dataset", choices=DATASETS, default="random", help="what is asked (default: random)"
    )
    for flag, default, said in _LENGTHS:
        section.add_argument(
            flag, type=count, default=default, metavar="N", help=f"{said} (default: {default})"
        )
    section.add_argument(
        "--range-ratio",
        type=share,
        default=1.0,
        metavar="X",
        help="of random: lengths are drawn from this share of them to all (default: 1)",
    )
    section.add_argument(
        "--dataset-file",
        type=Path,
        metavar="FILE",
        help='of file: JSONL with "prompt", "messages" or "input_ids", and "max_tokens"',
    )
    section.add_argument(
        "--json-schema", type=Path, metavar="FILE", help="a schema that all answers must follow"
    )
    section.add_argument(
        "--vocab-size", type=count, metavar="N", help="of token ids (default: as the server says)"
    )
    section.add_argument(
        "--temperature", type=not_negative, default=0.0, metavar="X", help="(default: 0)"
    )
    section.add_argument(
        "--seed", type=int, default=0, metavar="N", help="another one asks something else"
    )
