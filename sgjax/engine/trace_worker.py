"""Traces programs for an engine: `python -m sgjax.engine.trace_worker`, started by TraceWorkers.

A Task comes in, on one line. From then on standard input is the engine's hand: when it closes,
nobody wants the rest.
"""

import logging
import os
import signal
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import msgspec
from jax.sharding import AbstractDevice

from sgjax.engine.compile_cache import use_compile_cache
from sgjax.engine.fingerprint import surroundings
from sgjax.engine.programs import rare_collections
from sgjax.engine.step_programs import Model, StepPrograms
from sgjax.engine.trace_workers import Task
from sgjax.engine.traces import Traces
from sgjax.kernels_pallas.triton_dialect import announce_triton_dialect
from sgjax.models import read_model_config
from sgjax.sharding.mesh import Placement, mesh_of_absent
from sgjax.weights.load import abstract_model

logger = logging.getLogger("sgjax.engine")


def main() -> None:
    # Ctrl-C in a terminal reaches the whole group; stopping is the engine's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    writing = threading.Lock()
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    threading.Thread(target=_end_with_input, args=(writing,), daemon=True).start()
    try:
        trace(task, writing)
    except Exception as error:  # this process's edge: whatever it is, the engine traces the rest
        logger.warning("A process that traces ended: %s: %s", type(error).__name__, error)


def trace(task: Task, writing: threading.Lock) -> None:
    """Traces what is not there yet; holds `writing` while it writes."""
    use_compile_cache(task.compile_cache_dir)
    if others := set(task.surroundings) ^ set(surroundings()):
        raise RuntimeError(f"its surroundings differ from the engine's, in {sorted(others)}")
    traces = Traces(Path(task.traces_folder), task.fingerprint, task.platform)
    if task.device.platform == "gpu":
        announce_triton_dialect()
    with jax.sharding.use_abstract_mesh(_mesh(task)), rare_collections():
        programs = {traces.name(program): program for program in blueprint(task).untraced.values()}
        for name in task.names:
            if not traces.has(programs[name]):
                traces.trace(programs[name])
                with writing:
                    traces.write()


def blueprint(task: Task) -> StepPrograms:
    """The engine's programs, for devices that are not there."""
    family, cfg = read_model_config(
        task.model_folder, context_length=task.context_length, is_embedding=task.is_embedding
    )
    cfg, mesh, dtype = cfg.for_tp(task.tp_size, ep=task.ep_size), _mesh(task), jnp.dtype(task.dtype)
    if repr(cfg) != task.cfg:
        raise RuntimeError(f"the engine read another config.json: {task.cfg}, this is {cfg}")
    placement = Placement(mesh, task.attention)
    graphdef, params = abstract_model(family, cfg, placement, dtype=dtype)
    model = Model.of(cfg, graphdef, params, dtype=dtype, mesh=mesh)
    return StepPrograms(model, task.shape, task.buckets, mesh, task.has_grammars)


def _mesh(task: Task) -> jax.sharding.AbstractMesh:
    device = AbstractDevice(**msgspec.structs.asdict(task.device))
    return mesh_of_absent(task.tp_size, device, ep_size=task.ep_size)


def _end_with_input(writing: threading.Lock) -> None:
    while os.read(0, 1):
        pass
    with writing:
        os._exit(0)


if __name__ == "__main__":
    main()
