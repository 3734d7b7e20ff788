"""An engine for a benchmark: started, timed, and waited for until nothing compiles any more."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sgjax.bench.display import progress_bar
from sgjax.bench.report import Figure
from sgjax.bench.spent import spent
from sgjax.config import ServeConfig

if TYPE_CHECKING:
    from sgjax.front.engine import Engine

_LOOK_EVERY_S = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """How long an engine took: seconds until it took requests, and until all was compiled."""

    serving_s: float
    ready_s: float
    is_warm: bool
    """Whether every program came from the compilation cache."""
    parts: dict[str, float]
    """Seconds by what they were spent on: see `Spent`."""

    def figures(self) -> list[Figure]:
        ending = "-warm" if self.is_warm else ""
        parts = [
            Figure(name=f"start-{part}{ending}", value=seconds, unit="s", is_headline=False)
            for part, seconds in self.parts.items()
        ]
        return [
            Figure(name=f"start-serving{ending}", value=self.serving_s, unit="s"),
            Figure(name=f"start-ready{ending}", value=self.ready_s, unit="s"),
            *parts,
        ]


@contextmanager
def ready_engine(
    config: ServeConfig, check: Callable[["Engine"], None] = lambda engine: None
) -> Iterator[tuple["Engine", Start]]:
    """An engine of these options, once it is ready; it is shut down at the end.

    `check` is called once it serves: what it refuses need not wait for all programs. The clock
    starts before JAX is imported, where nobody imported it before.
    """
    wall_clock, begin = time.time(), time.perf_counter()
    with ExitStack() as stack:
        found = stack.enter_context(spent())
        from sgjax.front.engine import Engine

        with progress_bar("starting the engine"):
            engine = stack.enter_context(Engine(**dataclasses.asdict(config)))
            serving_s = time.perf_counter() - begin
        check(engine)
        with progress_bar("compiling"):
            while not engine.get_server_info()["stats"]["ready"]:
                time.sleep(_LOOK_EVERY_S)
            ready_s = time.perf_counter() - begin
        is_warm = not compiled_since(wall_clock)
        yield engine, Start(serving_s, ready_s, is_warm, found.parts)


def compiled_since(wall_clock: float) -> bool:
    """Whether programs were compiled anew: with a compilation cache, they were written to it."""
    import jax

    folder = jax.config.values["jax_compilation_cache_dir"]
    if not folder or not jax.config.values["jax_enable_compilation_cache"]:
        return True
    entries = Path(folder).glob("*-cache")
    return any(os.stat(entry).st_mtime >= wall_clock for entry in entries)
