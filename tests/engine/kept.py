"""Engines of a tiny model that keep their programs in a folder of a test's own."""

import jax

from tests.engine.lockstep import Lockstep
from tests.tiny import TinyLlama


class KeptEngines:
    """Starts them one after the other, until all is compiled. Call `close` at the end."""

    def __init__(self, folder):
        self._before = dict(jax.config.values)
        self._engines = []
        self.options = {
            "model_path": str(TinyLlama().save(folder / "tiny")),
            "compile_cache_dir": str(folder / "cache"),
            "max_total_tokens": 400,
            "chunked_prefill_size": 16,
            "max_running_requests": 4,
        }
        self.traced = folder / "cache" / "traced"

    @property
    def names(self):
        """Of the traces that are there."""
        return sorted(path.name for path in self.traced.iterdir())

    @property
    def compiled(self):
        """What JAX calls the compiled programs that are there."""
        return sorted(path.name for path in self.traced.parent.glob("*-cache"))

    def start(self, **options):
        engine = Lockstep(**self.options, **options)
        self._engines.append(engine)
        programs = engine.setup.runner.programs
        for compiling in programs._futures:
            compiling.result().result()  # traced, then compiled
        programs._tracing.submit(lambda: None).result()  # what is called behind the last
        return engine

    def close(self):
        for engine in self._engines:
            engine.close()
        for name in ("jax_compilation_cache_dir", "jax_enable_compilation_cache"):
            jax.config.update(name, self._before[name])
