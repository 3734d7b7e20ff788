"""That the check of shapes, which every other test relies on, is there."""

import subprocess
import sys

import pytest


def test_wrong_shape_is_seen():
    import jax.numpy as jnp
    from jaxtyping import TypeCheckError

    from sgjax.kernels_pallas.add_rms_norm import add_rms_norm

    one, scale = jnp.ones((2, 3)), jnp.ones(3)
    assert add_rms_norm(one, one, scale, eps=0.0)[0].sum() == 12
    with pytest.raises(TypeCheckError):
        add_rms_norm(one, jnp.ones((2, 5)), scale, eps=0.0)
    with pytest.raises(TypeCheckError):
        add_rms_norm(one, one, jnp.ones(3, jnp.int32), eps=0.0)


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
