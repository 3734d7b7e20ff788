import jax
import pytest
from jax.sharding import AxisType, PartitionSpec

from sgjax.errors import ConfigError
from sgjax.sharding.mesh import make_mesh
from sgjax.sharding.rules import sharding, spec

BOTH = ("expert", "tensor")


@pytest.mark.parametrize("tp", [1, 2])
def test_a_mesh_has_both_axes_and_leaves_partitioning_to_the_compiler(tp):
    mesh = make_mesh(tp)
    assert dict(mesh.shape) == {"expert": 1, "tensor": tp}
    assert mesh.axis_types == (AxisType.Auto, AxisType.Auto)
    assert list(mesh.devices.flat) == jax.devices()[:tp]


def test_some_of_the_devices_have_experts_of_their_own():
    assert dict(make_mesh(2, ep_size=2).shape) == {"expert": 2, "tensor": 1}
    for ep in (0, 3):
        with pytest.raises(ConfigError, match=f"--ep-size {ep} must divide --tp-size 2"):
            make_mesh(2, ep_size=ep)


def test_more_devices_than_there_are_is_an_error_with_both_numbers():
    with pytest.raises(ConfigError, match=r"--tp-size is 3, but there are 2 cpu devices"):
        make_mesh(3)


def test_no_device_at_all_is_an_error():
    with pytest.raises(ConfigError, match="at least 1, not 0"):
        make_mesh(0)


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ("T D", PartitionSpec(None, None)),
        ("D K G H", PartitionSpec(None, BOTH, None, None)),
        ("D 2 F", PartitionSpec(None, None, BOTH)),
        ("V D", PartitionSpec(BOTH, None)),
        ("PB K H", PartitionSpec(None, BOTH, None)),
        ("E D 2 X", PartitionSpec(BOTH[:1], None, None, BOTH[1:])),
    ],
)
def test_heads_features_vocabulary_and_experts_are_split_and_nothing_else(axes, expected):
    assert spec(axes) == expected


def test_a_letter_that_is_no_axis_is_refused():
    with pytest.raises(ValueError, match="'Z'"):
        spec("T Z")


def test_devices_get_equal_shares():
    place = sharding(make_mesh(2), "D K G H")
    assert place.shard_shape((8, 4, 3, 2)) == (8, 2, 3, 2)
