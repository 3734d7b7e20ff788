"""Programs that were traced once are lowered again without being traced: to the same programs."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import NamedSharding, PartitionSpec

import sgjax
from sgjax.engine.traces import Traces, Untraced
from sgjax.models import decoder
from sgjax.sharding.mesh import make_mesh
from tests.engine.kept import KeptEngines


class Pair(NamedTuple):
    left: jax.Array
    right: jax.Array


export.register_namedtuple_serialization(Pair, serialized_name="tests.Pair")


class Traced(Exception):
    """Somebody traced what should have been kept."""


def count(weights, pairs, x, *, by):
    """Takes trees that JAX cannot write, and gives state back in place."""
    pairs = [Pair(pair.left + by, pair.right * weights[0]["w"][None]) for pair in pairs]
    return x @ x.T, pairs


def untraceable(*_):
    raise Traced


untraceable.__name__ = count.__name__


def abstract(*shape, spec=(), num_devices=1):
    place = NamedSharding(make_mesh(num_devices), PartitionSpec(*spec))
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=place)


def given(**options):
    of_state = abstract(6, 4, **options)
    return {0: {"w": abstract(4)}}, [Pair(of_state, of_state)] * 2, abstract(3, 5)


def concrete(arguments):
    chance = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: jax.device_put(chance.normal(size=x.shape).astype(x.dtype), x.sharding), arguments
    )


def lower(kept, *, key="count", function=None, arguments=None, **options):
    function = functools.partial(count, by=2.0) if function is None else function
    return kept.lower(Untraced(key, function, arguments or given(), donate=1, **options))


@pytest.fixture
def folder(tmp_path):
    """What `count` was traced to, by the fingerprint "one"."""
    kept = Traces(tmp_path / "traced", "one")
    lower(kept)
    kept.write()
    return tmp_path / "traced"


def test_a_kept_program_is_not_traced_and_computes_the_same(folder):
    plain, kept = lower(Traces()), lower(Traces(folder, "one"), function=untraceable)
    a, b = (x.compile()(*concrete(given())) for x in (plain, kept))
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_program_is_the_same_kept_or_not_and_its_state_stays_in_place(folder):
    programs = (
        lower(Traces()),
        lower(Traces(folder.parent / "new", "one")),
        lower(Traces(folder, "one"), function=untraceable),
    )
    plain, new, kept = ([p.as_text(), p.compile().memory_analysis()] for p in programs)
    assert new[0] == kept[0], "JAX's cache would not find it"
    sizes = [
        (memory.alias_size_in_bytes, memory.temp_size_in_bytes) for _, memory in (plain, new, kept)
    ]
    assert sizes[0][0] == 2 * 2 * 6 * 4 * 4
    assert len(set(sizes)) == 1


def test_shards_stay_where_they_were(tmp_path):
    arguments = given(spec=("tensor",), num_devices=2)
    whole, halves = abstract(1, num_devices=2).sharding, arguments[1][0].left.sharding
    everywhere = jax.tree.map(
        lambda x: x if x.sharding == halves else abstract(*x.shape, num_devices=2), arguments
    )
    lower_halves = functools.partial(lower, arguments=everywhere, out_shardings=(whole, halves))
    kept = Traces(tmp_path, "one")
    lower_halves(kept)
    kept.write()
    program = lower_halves(Traces(tmp_path, "one"), function=untraceable).compile()
    _, [pair, _] = program(*concrete(everywhere))
    assert pair.left.sharding == halves
    plain = lower_halves(Traces()).compile()
    assert "all-" not in plain.as_text()
    assert "all-" not in program.as_text()


@pytest.mark.parametrize(
    "other",
    [
        {"key": "another"},
        {
            "arguments": (
                {0: {"w": abstract(4)}},
                [Pair(abstract(7, 4), abstract(7, 4))],
                given()[2],
            )
        },
        {"arguments": (*given()[:2], abstract(4, 5))},
        {"arguments": (given()[0], [Pair(*given(spec=("tensor",))[1][0])] * 2, given()[2])},
        {"arguments": ({1: {"w": abstract(4)}}, *given()[1:])},
        {"out_shardings": abstract(1).sharding},
    ],
    ids=["key", "state", "shape", "sharding", "tree", "outputs"],
)
def test_another_program_is_not_taken_for_it(folder, other):
    with pytest.raises(Traced):
        lower(Traces(folder, "one"), function=untraceable, **other)


def test_another_fingerprint_is_another_program(folder):
    with pytest.raises(Traced):
        lower(Traces(folder, "two"), function=untraceable)


@pytest.mark.parametrize(
    "damage", [lambda x: x[:-1], lambda x: x[:99] + b"?" + x[100:], lambda _: b""]
)
def test_a_damaged_file_is_as_good_as_none_and_is_replaced(folder, damage):
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with pytest.raises(Traced):
        lower(Traces(folder, "one"), function=untraceable)
    kept = Traces(folder, "one")
    lower(kept)
    kept.write()
    lower(Traces(folder, "one"), function=untraceable)
    assert list(folder.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_said_and_no_harm(tmp_path, caplog):
    (tmp_path / "file").touch()
    kept = Traces(tmp_path / "file", "one")
    assert "input_output_alias" in lower(kept).compile().as_text()
    kept.write()
    assert "the next start is slower" in caplog.text


def test_what_jax_cannot_export_is_lowered_as_ever(tmp_path):
    def program(x):
        return jax.pure_callback(lambda x: x, x, x) + 1

    kept = Traces(tmp_path, "one")
    lowered = kept.lower(Untraced("callback", program, (abstract(3),)))
    assert lowered.compile()(jnp.zeros(3)).tolist() == [1, 1, 1]
    kept.write()
    assert not list(tmp_path.iterdir())


@pytest.fixture
def engines(tmp_path):
    engines = KeptEngines(tmp_path)
    yield engines
    engines.close()


def test_an_engines_second_start_traces_nothing_and_gives_the_same_tokens(engines, monkeypatch):
    prompts = [[5, 6, 7], [9] * 30]
    params = {"max_new_tokens": 6, "ignore_eos": True, "temperature": 0.8, "seed": 3}
    engine = engines.start()
    expected = [engine.generate(prompt, **params) for prompt in prompts]
    kept = engines.names
    assert len(kept) == engine.setup.runner.programs.num_compiled

    monkeypatch.setattr(decoder, "forward", untraceable)
    monkeypatch.setattr(export, "export", untraceable)
    engine = engines.start()
    assert [engine.generate(prompt, **params) for prompt in prompts] == expected
    assert engine.call("stats")["compiles_after_ready"] == 0
    assert engines.names == kept


def test_an_engine_whose_source_has_changed_keeps_nothing(engines, monkeypatch):
    monkeypatch.setattr(sgjax, "BEGAN_S", 0.0)
    engines.start()
    assert not engines.traced.exists()
