"""On a GPU: a second start, which traces and compiles nothing, gives what the first gave.

JAX_PLATFORMS=cuda python -m pytest -m device tests/device/test_start.py -s
"""

import json
import os
import subprocess
import sys

import pytest

from tests.models.published import MODELS

pytestmark = pytest.mark.device

LAYERS = 2


def start(folder, cache):
    """In a process of its own: tokens of some requests, how the start went, and what compiled."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "tests.device.test_start", str(folder), str(cache)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_a_second_start_gives_the_same_tokens(tmp_path):
    config = MODELS["Llama-3.1-8B"].config | {"num_hidden_layers": LAYERS}
    (tmp_path / "config.json").write_text(json.dumps(config))
    first = start(tmp_path, tmp_path / "cache")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "traced").iterdir()}
    second = start(tmp_path, tmp_path / "cache")
    for done in (first, second):
        print({name: done[name] for name in ("serving_s", "ready_s", "is_warm", "parts")})
    assert second["tokens"] == first["tokens"]
    assert [first["is_warm"], second["is_warm"]] == [False, True]
    assert first["compiles_after_ready"] == second["compiles_after_ready"] == 0
    assert len(kept) == second["compiles"]
    assert kept == {
        path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "traced").iterdir()
    }


def main(folder: str, cache: str) -> None:
    """One start: steps of all kinds, one request after the other, so that batches are the same."""
    from sgjax.bench.start import ready_engine
    from sgjax.config import ServeConfig

    config = ServeConfig(
        model_path=folder,
        load_format="dummy",
        skip_tokenizer_init=True,
        compile_cache_dir=cache,
        max_total_tokens=2**16,
    )
    chosen = {"temperature": 0.8, "top_p": 0.9, "seed": 5, "max_new_tokens": 40}
    with ready_engine(config) as (engine, begun):
        tokens = [
            engine.generate(
                input_ids=[7 * i % 90 for i in range(length)],
                sampling_params={**chosen, "ignore_eos": True},
                return_logprob=length == 600,
            )["output_ids"]
            for length in (1, 30, 600, 3000)
        ]
        stats = engine.get_server_info()["stats"]
    found = {name: stats[name] for name in ("compiles", "compiles_after_ready")}
    start = {name: getattr(begun, name) for name in ("serving_s", "ready_s", "is_warm", "parts")}
    print(json.dumps(found | start | {"tokens": tokens}))


if __name__ == "__main__":
    main(*sys.argv[1:])
