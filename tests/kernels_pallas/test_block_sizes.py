"""Tuned block sizes are read from configs/kernels, by the device's name and the size of a row."""

import pytest

from sgjax.kernels_pallas.block_sizes import tuned_sizes
from sgjax.kernels_pallas.ragged_paged_attention import (
    triton_decode,
    triton_extend,
    triton_shared,
)

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
