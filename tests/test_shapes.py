"""That the check of shapes, which every other test relies on, is there."""

import subprocess
import sys

import pytest


def test_wrong_shape_is_seen():
    import jax.numpy as jnp
    from jaxtyping import TypeCheckError

    from sgjax.cache.kv_cache import LayerKV

    kv = LayerKV(k=jnp.zeros((4, 2, 3)), v=jnp.zeros((4, 2, 3)))
    one, slots = jnp.ones((1, 2, 3)), jnp.zeros(1, jnp.int32)
    assert kv.write(one, one, slots).k[0].sum() == 6
    with pytest.raises(TypeCheckError):
        kv.write(one, jnp.ones((1, 5, 3)), slots)
    with pytest.raises(TypeCheckError):
        kv.write(one, one, jnp.zeros(1))


def test_tests_have_two_cpu_devices_and_strict_types():
    import jax
    import jax.numpy as jnp

    assert [device.platform for device in jax.devices()] == ["cpu", "cpu"]
    with pytest.raises(ValueError, match="implicit dtype promotion"):
        jnp.ones(2, jnp.int32) + jnp.ones(2, jnp.float32)
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.ones((2, 2)) + jnp.ones(2)


def test_collecting_tests_of_host_logic_does_not_import_jax():
    code = (
        "import sys, pytest\n"
        "pytest.main(['-q', '--collect-only', 'tests/cli/test_config.py'])\n"
        "print('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "False"
