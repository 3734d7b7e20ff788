"""Tuned block sizes are read from configs/kernels, by the device's name and the size of a row."""

import jax
import pytest
from jax.sharding import AbstractDevice

from sgjax.kernels_pallas import product
from sgjax.kernels_pallas.block_sizes import device_kind, tuned_sizes
from sgjax.kernels_pallas.dispatch import implementation_of
from sgjax.kernels_pallas.ragged_paged_attention import (
    triton_decode,
    triton_extend,
    triton_shared,
)
from sgjax.sharding.mesh import mesh_of_absent

OP = "ragged_paged_attention"


def test_the_smallest_entry_that_holds_a_row_is_taken():
    small = tuned_sizes(OP, "extend", 128, "NVIDIA H200")
    assert small == tuned_sizes(OP, "extend", 256, "NVIDIA H200")
    assert small != tuned_sizes(OP, "extend", 257, "NVIDIA H200")


def test_a_row_wider_than_all_entries_and_an_unknown_device_have_none():
    assert tuned_sizes(OP, "extend", 4096, "NVIDIA H200") == {}
    assert tuned_sizes(OP, "extend", 256, "No Such GPU") == {}
    assert tuned_sizes(OP, "extend", 256, None) == {}


@pytest.mark.parametrize("row_bytes", [64, 128, 256, 512])
def test_the_stages_of_a_block_fit_the_shared_memory(row_bytes):
    """Keys and values of every stage; 227 KiB on an H200, 99 KiB on the smallest GPUs served."""
    for kind, limit in (("NVIDIA H200", 227 * 1024), (None, 99 * 1024)):
        for kernel in (triton_decode, triton_extend, triton_shared):
            sizes = kernel.sizes(row_bytes, "bfloat16", kind)
            assert 2 * sizes.block * row_bytes * sizes.stages <= limit


@pytest.mark.parametrize(
    ("device", "kind", "name"),
    [
        (AbstractDevice("NVIDIA H200", 132, "gpu"), "NVIDIA H200", "triton"),
        (AbstractDevice("cpu", None, "cpu"), None, "reference"),
    ],
)
def test_kernels_are_those_of_the_device_that_is_traced_for(device, kind, name):
    with jax.sharding.use_abstract_mesh(mesh_of_absent(1, device)):
        assert device_kind() == kind
        assert implementation_of(product.__name__, None).__name__.endswith(name)
