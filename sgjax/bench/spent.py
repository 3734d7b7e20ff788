"""What a start spends on programs: JAX's own account of it, added up by kind.

Tracing and lowering are of one thread; compiling and loading are of many at a time, so their sums
may be longer than the start.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

_KINDS = {
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "compiling",
    "/jax/compilation_cache/cache_retrieval_time_sec": "loading",
}
_TRACER = "sgjax-trace"


class Spent:
    """Seconds by kind, of the engine's threads for programs. Compiling includes loading; preparing
    is all before the first program is traced: imports, devices, files' headers."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._seconds: dict[str, float] = defaultdict(float)
        self._spans: list[tuple[float, float]] = []

    def listen(self, event: str, duration_secs: float, **_: str | int) -> None:
        kind, thread = _KINDS.get(event), threading.current_thread().name
        if kind is None or not thread.startswith("sgjax-"):
            return
        if kind != "tracing":
            self._seconds[kind] += duration_secs
        elif thread.startswith(_TRACER):
            self._add_span(time.monotonic(), duration_secs)

    def _add_span(self, end: float, duration: float) -> None:
        """What is traced inside of something else ends before it, and counts once."""
        begin = end - duration
        while self._spans and self._spans[-1][0] >= begin:
            self._spans.pop()
        self._spans.append((begin, end))

    @property
    def parts(self) -> dict[str, float]:
        if not self._spans:
            return {}
        tracing = sum(end - begin for begin, end in self._spans)
        preparing = self._spans[0][0] - self._begin
        return {"preparing": preparing, "tracing": tracing, **self._seconds}


@contextmanager
def spent() -> Iterator[Spent]:
    """Counts from here on. It brings JAX, whose import belongs to a start."""
    found = Spent()
    from jax import monitoring

    monitoring.register_event_duration_secs_listener(found.listen)
    try:
        yield found
    finally:
        monitoring.unregister_event_duration_listener(found.listen)
