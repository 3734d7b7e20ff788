import dataclasses

import jax
import jax.numpy as jnp
import pytest
from jax import export

from sgjax.cache.kv_cache import LatentKV, init_kv, kv_bytes_per_token
from sgjax.layers.rope import RopeConfig
from sgjax.models.family import MLAConfig, ModelConfig
from sgjax.sharding.mesh import make_mesh

PLAIN = ModelConfig(
    architecture="any",
    vocab_size=10,
    num_layers=3,
    d_model=8,
    d_ff=8,
    num_heads=4,
    num_kv_heads=4,
    head_size=6,
    context_length=64,
    norm_eps=1e-6,
    rope=RopeConfig(),
)
LATENT = dataclasses.replace(
    PLAIN, mla=MLAConfig(kv_latent=10, q_latent=None, num_unturned=4, value_size=8)
)


@pytest.mark.parametrize("cfg", [PLAIN, LATENT], ids=["heads", "latents"])
@pytest.mark.parametrize("tp", [1, 2])
def test_a_cache_takes_so_many_bytes_of_each_device_as_is_said(cfg, tp):
    kv = init_kv(cfg, 32, jnp.bfloat16, make_mesh(tp))
    on_one = [x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(kv)]
    assert sum(on_one) == 32 * kv_bytes_per_token(cfg, jnp.bfloat16, tp=tp)


def test_devices_share_heads_and_each_has_all_latents():
    on_two = [kv_bytes_per_token(cfg, jnp.bfloat16, tp=2) for cfg in (PLAIN, LATENT)]
    assert on_two == [3 * 2 * 4 * 6 * 2 // 2, 3 * 16 * 2]


@pytest.mark.parametrize("cfg", [PLAIN, LATENT], ids=["heads", "latents"])
def test_programs_that_give_a_cache_can_be_written_down(cfg):
    kv = init_kv(cfg, 32, jnp.float32, make_mesh(1))
    program = jax.jit(lambda kv: jax.tree.map(lambda x: x + 1, kv))
    written = export.export(program)(kv).serialize()
    found = export.deserialize(written).call(kv)
    assert jax.tree.structure(found) == jax.tree.structure(kv)
    assert all((x == 1).all() for x in jax.tree.leaves(found))


def test_a_layer_with_latents_has_one_array():
    kv = init_kv(LATENT, 32, jnp.float32, make_mesh(1))
    assert [type(layer) for layer in kv] == [LatentKV] * 3
    assert kv[0].latents.shape == (32, 16)
