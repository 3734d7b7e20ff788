"""Checkpoints are loaded whole and exactly, or not at all."""

import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgjax.errors import CheckpointError
from sgjax.models import read_model_config
from sgjax.sharding.mesh import Placement, make_mesh
from sgjax.weights.files import CheckpointFiles
from sgjax.weights.load import Unloaded, bytes_per_device, open_model
from tests.weights.checkpoints import BFLOAT16, save, save_sharded, tensors, write_config


def opened(
    folder: Path, tp: int = 1, dtype: Any = jnp.float32, *, ep: int = 1, **options: Any
) -> Unloaded:
    family, cfg = read_model_config(folder)
    placement = Placement(make_mesh(tp, ep_size=ep))
    return open_model(folder, family, cfg.for_tp(tp, ep=ep), placement, dtype=dtype, **options)


def load(folder: Path, *args: Any, **options: Any) -> dict[str, Any]:
    return opened(folder, *args, **options).load()


def assert_equal(a: Any, b: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("tp", [1, 2])
def test_every_number_is_where_it_belongs(tmp_path, tp):
    weights = tensors()
    params = load(save(tmp_path, weights), tp)
    block = params["blocks"][1]
    qkv = np.asarray(block["attn"]["qkv"]["weight"])  # D K G+2 H, with K = G = H = 2
    q, k, v = (weights[f"model.layers.1.self_attn.{name}_proj.weight"] for name in "qkv")
    np.testing.assert_array_equal(qkv[:, :, :2], q.reshape(2, 2, 2, 8).transpose(3, 0, 1, 2))
    np.testing.assert_array_equal(qkv[:, :, 2], k.reshape(2, 2, 8).transpose(2, 0, 1))
    np.testing.assert_array_equal(qkv[:, :, 3], v.reshape(2, 2, 8).transpose(2, 0, 1))
    out = weights["model.layers.1.self_attn.o_proj.weight"].reshape(8, 2, 2, 2)
    np.testing.assert_array_equal(block["attn"]["out"]["weight"], out.transpose(1, 2, 3, 0))
    gate_up = [weights[f"model.layers.1.mlp.{name}_proj.weight"].T for name in ("gate", "up")]
    np.testing.assert_array_equal(block["mlp"]["gate_up"]["weight"], np.stack(gate_up, axis=1))
    down = weights["model.layers.1.mlp.down_proj.weight"].T
    np.testing.assert_array_equal(block["mlp"]["down"]["weight"], down)
    np.testing.assert_array_equal(params["head"]["table"][:11], weights["lm_head.weight"])
    np.testing.assert_array_equal(params["norm"]["scale"], weights["model.norm.weight"])


def test_a_single_kv_head_is_repeated_for_each_device(tmp_path):
    weights = tensors()
    for name in weights:
        if "k_proj" in name or "v_proj" in name:
            weights[name] = weights[name][:2]
    params = load(save(tmp_path, weights, num_key_value_heads=1), tp=2)
    qkv = np.asarray(params["blocks"][0]["attn"]["qkv"]["weight"])
    assert qkv.shape == (8, 2, 4, 2)
    np.testing.assert_array_equal(qkv[:, 0, 2:], qkv[:, 1, 2:])
    q = weights["model.layers.0.self_attn.q_proj.weight"].reshape(2, 2, 2, 8)
    np.testing.assert_array_equal(qkv[:, :, :2], q.transpose(3, 0, 1, 2))


def test_a_vocabulary_that_devices_cannot_share_is_padded_with_zeros(tmp_path):
    table = np.asarray(load(save(tmp_path, tensors()), tp=2)["embed"]["table"])
    assert table.shape == (12, 8)
    assert not table[11].any()
    assert table[10].all()


def test_devices_hold_their_share_and_no_more(tmp_path):
    params = load(save(tmp_path, tensors()), tp=2)
    weight = params["blocks"][0]["mlp"]["gate_up"]["weight"]
    assert [shard.data.shape for shard in weight.addressable_shards] == [(8, 2, 6)] * 2
    scale = params["norm"]["scale"]
    assert [shard.data.shape for shard in scale.addressable_shards] == [(8,)] * 2


@pytest.fixture
def reads(monkeypatch) -> dict[str, list[int]]:
    """How many numbers were read of each tensor, read by read."""
    found: dict[str, list[int]] = {}
    plain_read = CheckpointFiles.read

    def read(self: CheckpointFiles, name: str, slices: tuple[slice, ...]) -> np.ndarray:
        block = plain_read(self, name, slices)
        found.setdefault(name, []).append(block.size)
        return block

    monkeypatch.setattr(CheckpointFiles, "read", read)
    return found


def test_a_device_reads_its_share_of_a_tensor_and_no_more(tmp_path, reads):
    weights = tensors()
    load(save(tmp_path, weights), tp=2)
    for name, sizes in reads.items():
        if weights[name].ndim > 1 and len(weights[name]) != 11:
            assert sizes == [weights[name].size // 2] * 2, name


def with_experts() -> dict[str, np.ndarray]:
    """Four experts of width 6 in the place of each dense layer."""
    random, weights = np.random.default_rng(1), tensors()
    for layer in range(2):
        at = f"model.layers.{layer}"
        for name in ("gate", "up", "down"):
            del weights[f"{at}.mlp.{name}_proj.weight"]
        weights[f"{at}.block_sparse_moe.gate.weight"] = random.normal(size=(4, 8))
        for expert in range(4):
            for name, shape in (("w1", (6, 8)), ("w2", (8, 6)), ("w3", (6, 8))):
                full = f"{at}.block_sparse_moe.experts.{expert}.{name}.weight"
                weights[full] = random.normal(size=shape)
    return {name: weight.astype(np.float32) for name, weight in weights.items()}


EXPERTS = {
    "architectures": ["MixtralForCausalLM"],
    "intermediate_size": 6,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}


@pytest.mark.parametrize(("tp", "ep"), [(1, 1), (2, 1), (2, 2)])
def test_every_expert_is_where_it_belongs(tmp_path, tp, ep):
    weights = with_experts()
    mlp = load(save(tmp_path, weights, **EXPERTS), tp, ep=ep)["blocks"][1]["mlp"]
    for expert in range(4):
        at = f"model.layers.1.block_sparse_moe.experts.{expert}"
        w1, w2, w3 = (weights[f"{at}.w{i}.weight"] for i in (1, 2, 3))
        np.testing.assert_array_equal(mlp["gate_up"][expert], np.stack([w1.T, w3.T], axis=1))
        np.testing.assert_array_equal(mlp["down"][expert], w2.T)
    router = weights["model.layers.1.block_sparse_moe.gate.weight"]
    np.testing.assert_array_equal(mlp["router"], router.T)


def test_a_device_reads_its_own_experts_and_no_others(tmp_path, reads):
    load(save(tmp_path, with_experts(), **EXPERTS), 2, ep=2)
    found = {name: sizes for name, sizes in reads.items() if ".experts." in name}
    assert len(found) == 2 * 4 * 3
    assert all(sizes == [48] for sizes in found.values())


def test_many_files_are_one_checkpoint(tmp_path):
    weights = tensors()
    one = load(save(tmp_path / "one", weights))
    assert_equal(load(save_sharded(tmp_path / "many", weights)), one)


@pytest.mark.parametrize("found", [np.dtype(np.float16), BFLOAT16, np.dtype(np.float32)])
@pytest.mark.parametrize("wanted", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_numbers_are_cast_to_what_is_computed_in(tmp_path, found, wanted):
    weights = tensors(found)
    table = load(save(tmp_path, weights), dtype=wanted)["embed"]["table"]
    assert table.dtype == wanted
    np.testing.assert_array_equal(table, weights["model.embed_tokens.weight"].astype(wanted))


@pytest.mark.parametrize("has_head", [True, False])
def test_a_tied_head_may_be_in_the_file_or_not(tmp_path, has_head):
    weights = tensors()
    if not has_head:
        del weights["lm_head.weight"]
    params = load(save(tmp_path, weights, tie_word_embeddings=True))
    assert "head" not in params


def test_buffers_that_can_be_computed_are_ignored(tmp_path):
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(4, np.float32)}
    load(save(tmp_path, tensors() | buffer))


def test_progress_counts_bytes_up_to_all(tmp_path):
    weights = tensors()
    seen: list[tuple[int, int, str]] = []
    opened(save(tmp_path, weights)).load(lambda *report: seen.append(report))
    total = sum(weight.nbytes for weight in weights.values())
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[-1][:2] == (total, total)


@pytest.mark.parametrize("tp", [1, 2])
def test_what_weights_take_of_a_device_is_known_before_they_are_loaded(tmp_path, tp):
    model = opened(save(tmp_path, tensors()), tp, jnp.bfloat16)
    arrays = jax.tree.leaves(model.load())
    held = sum(array.addressable_shards[0].data.nbytes for array in arrays)
    assert bytes_per_device(jax.tree.leaves(model.params)) == held


def test_dummy_weights_need_no_file_and_do_not_depend_on_the_devices(tmp_path):
    write_config(tmp_path, vocab_size=12)
    one, two = (load(tmp_path, tp, load_format="dummy") for tp in (1, 2))
    assert_equal(one, two)
    table = np.asarray(load(tmp_path, load_format="dummy", dtype=jnp.bfloat16)["embed"]["table"])
    assert table.dtype == BFLOAT16


def test_dummy_weights_are_spread_like_trained_ones(tmp_path):
    write_config(tmp_path, vocab_size=4000, hidden_size=64)
    params = load(tmp_path, load_format="dummy")
    table, head = np.asarray(params["embed"]["table"]), np.asarray(params["head"]["table"])
    assert table.std() == pytest.approx(0.02, rel=0.01)
    assert abs(table.mean()) < 1e-4
    assert np.unique(table).size > table.size / 2
    assert abs(np.corrcoef(table.ravel(), head.ravel())[0, 1]) < 0.01
    assert np.abs(np.corrcoef(table, rowvar=False) - np.eye(64)).max() < 0.1
    np.testing.assert_array_equal(params["norm"]["scale"], np.ones(64))


def without(name: str) -> dict[str, np.ndarray]:
    return {key: value for key, value in tensors().items() if key != name}


NORM = "model.norm.weight"
WRONG = {
    "a tensor missing": (without(NORM), "missing: model.norm.weight"),
    "a tensor too many": (
        tensors() | {"model.extra.weight": np.ones(2, np.float32)},
        "unknown: model.extra.weight",
    ),
    "a bias that config.json does not know": (
        tensors() | {"model.layers.0.self_attn.q_proj.bias": np.ones(8, np.float32)},
        "unknown: model.layers.0.self_attn.q_proj.bias",
    ),
    "a layer too many": (
        tensors() | {"model.layers.2.input_layernorm.weight": np.ones(8, np.float32)},
        "unknown: model.layers.2",
    ),
    "another shape": (
        tensors() | {NORM: np.ones(9, np.float32)},
        r"model.norm.weight is \(9,\), but should be \(8,\)",
    ),
    "transposed": (
        tensors() | {"lm_head.weight": np.ones((8, 11), np.float32)},
        r"lm_head.weight is \(8, 11\), but should be \(11, 8\)",
    ),
    "integers": (
        tensors() | {NORM: np.ones(8, np.int32)},
        "model.norm.weight in .* is I32; supported: F32, F16, BF16. Quantised",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_tensors_that_do_not_fit_are_an_error_that_names_them(tmp_path, name):
    weights, message = WRONG[name]
    with pytest.raises(CheckpointError, match=message):
        load(save(tmp_path, weights))


def test_at_most_ten_problems_are_listed(tmp_path):
    with pytest.raises(CheckpointError) as error:
        load(save(tmp_path, {"strange": np.ones(2, np.float32)}))
    assert str(error.value).count("missing") == 10
    assert "and 12 more" in str(error.value)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def garble(path: Path) -> None:
    path.write_bytes(b"\x07garbage" * 100)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def shift_offsets(path: Path) -> None:
    """The header says that the first tensor begins where the second does."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    first, second = sorted(header, key=lambda name: header[name]["data_offsets"])[:2]
    header[first]["data_offsets"] = header[second]["data_offsets"]
    text = json.dumps(header).encode().ljust(size)[:size]
    path.write_bytes(content[:8] + text + content[8 + size :])


@pytest.mark.parametrize("damage", [truncate, garble, empty, shift_offsets])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, damage):
    save(tmp_path, tensors())
    damage(tmp_path / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors .* is no whole safetensors file"
    ):
        load(tmp_path)


def test_a_missing_file_of_many_is_an_error_that_names_it(tmp_path):
    save_sharded(tmp_path, tensors())
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002.safetensors is missing"):
        load(tmp_path)


def test_an_index_that_names_the_wrong_file_is_an_error(tmp_path):
    save_sharded(tmp_path, tensors())
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["lm_head.weight"] = "model-00002-of-00002.safetensors"
    path.write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"holds lm_head.weight, but it does not"):
        load(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', '{"weight_map": []}'],
)
def test_an_index_that_is_none_is_an_error(tmp_path, text):
    save_sharded(tmp_path, tensors())
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match="is not an index of safetensors"):
        load(tmp_path)


def test_an_index_cannot_name_files_elsewhere(tmp_path):
    save_sharded(tmp_path, tensors())
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "../../etc/model.safetensors"}})
    )
    with pytest.raises(CheckpointError, match="outside of its folder"):
        load(tmp_path)


def test_a_tensor_that_is_there_twice_is_an_error(tmp_path):
    weights = tensors()
    save_sharded(tmp_path, weights)
    (tmp_path / "model.safetensors.index.json").unlink()
    from safetensors.numpy import save_file

    save_file({NORM: weights[NORM]}, tmp_path / "model-00003.safetensors")
    with pytest.raises(CheckpointError, match=r"model.norm.weight is there twice"):
        load(tmp_path)


def test_pickled_weights_are_refused_with_a_way_out(tmp_path):
    write_config(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"pickle.*Convert them"):
        load(tmp_path)


def test_a_folder_without_weights_is_an_error_that_knows_dummy_weights(tmp_path):
    write_config(tmp_path)
    with pytest.raises(CheckpointError, match="--load-format dummy"):
        load(tmp_path)


def test_all_parameters_are_made_and_no_others(tmp_path):
    params = load(save(tmp_path, tensors()))
    sizes = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    assert sizes == sum(weight.size for weight in tensors().values())
