"""From options to figures: a run of the benchmarks that have an engine in this process."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sgjax.bench.display import figure_line, output_console, progress_bar
from sgjax.bench.peers import Mark, marks_for, with_marks
from sgjax.bench.report import Figure, Findings, now
from sgjax.bench.start import Start, ready_engine
from sgjax.bench.workloads import Workload
from sgjax.config import ServeConfig
from sgjax.errors import SgjaxError
from sgjax.weights.hub import model_folder

if TYPE_CHECKING:
    from sgjax.bench.offline import Bench
    from sgjax.front.engine import Engine


def run_workloads(
    config: ServeConfig, workloads: Sequence[Workload], *, has_marks: bool
) -> tuple[Findings, str | None]:
    """Measures workloads one after the other on one engine, and says each as it is done.

    `has_marks`: whether they are those that goals and peers' figures are of. Where one fails, there
    are the figures of those before it, and why it failed.

    Raises:
        ConfigError: this engine cannot run one of them; nothing was measured.
    """
    started = now()
    figures: list[Figure] = []

    def check(engine: "Engine") -> None:
        for workload in workloads:
            _bench(engine).check(workload)

    with ready_engine(config, check) as (engine, start):
        bench = _bench(engine)
        settings = describe(config, engine)
        marks = _marks(config, engine) if has_marks else {}
        failure = None
        try:
            for workload in workloads:
                figures += _say(with_marks(_measure(bench, engine, workload, start), marks))
        except SgjaxError as error:
            if not figures:
                raise
            failure = f"{workload.name} failed: {error}"
        observed = _of_start(start) | ({} if failure else _counted(engine))
        return Findings(started, settings, observed, figures), failure


def _bench(engine: "Engine") -> "Bench":
    from sgjax.bench.offline import Bench  # brings JAX, whose import belongs to the start

    return Bench(engine)


def _measure(bench: "Bench", engine: "Engine", workload: Workload, start: Start) -> list[Figure]:
    if workload.measure == "start":
        num_tokens = engine.get_server_info()["engine"]["max_total_tokens"]
        return [
            *start.figures(),
            Figure(name="kv-tokens", value=num_tokens, unit="tokens", is_more_better=True),
        ]
    before = _num_generated(engine)
    with progress_bar(
        workload.name,
        bench.num_generated(workload),
        lambda: _num_generated(engine) - before,
    ):
        return bench.measure(workload)


def _say(figures: list[Figure]) -> list[Figure]:
    console = output_console()
    for figure in figures:
        if figure.is_headline:
            console.print(figure_line(figure), soft_wrap=True, markup=False)
    return figures


def _num_generated(engine: "Engine") -> int:
    return engine.get_server_info()["stats"]["generated_tokens"]


def describe(config: ServeConfig, engine: "Engine") -> dict[str, Any]:
    """What was measured on."""
    info = engine.get_server_info()["engine"]
    return {
        "device": info["device"],
        "tp_size": info["tp_size"],
        "model": config.model_path,
        "dtype": info["dtype"],
        "kv_tokens": info["max_total_tokens"],
        "max_running_requests": info["max_running_requests"],
    }


def _of_start(start: Start) -> dict[str, Any]:
    cache = "warm" if start.is_warm else "cold"
    times = {"serving_s": start.serving_s, "ready_s": start.ready_s}
    times |= {f"{part}_s": seconds for part, seconds in start.parts.items()}
    return {"start": {**times, "compile_cache": cache}}


def _counted(engine: "Engine") -> dict[str, Any]:
    """Whether anything compiled that should not have, and what else the engine counts."""
    stats = engine.get_server_info()["stats"]
    names = ("compiles", "compiles_after_ready", "retractions")
    return {name: stats[name] for name in names}


def _marks(config: ServeConfig, engine: "Engine") -> Mapping[str, Mark]:
    folder = model_folder(config)
    model = json.loads((folder / "config.json").read_text())
    return marks_for(engine.get_server_info()["engine"], model)
