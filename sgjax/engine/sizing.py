"""How much an engine holds at a time, from its options and its devices."""

import os

import jax

from sgjax.config import ServeConfig
from sgjax.engine.buckets import ACCELERATOR, CPU, BucketSizes
from sgjax.errors import ConfigError

_ALLOCATOR_SHARE = 0.95
_ALLOCATOR_SHARE_OF_SEVERAL = 0.92
"""Collectives have buffers that JAX's allocator knows nothing of."""

_CPU_TOKENS = 32768
_CPU_SHARE = 0.25


def allocator_share(num_devices: int) -> float:
    """What JAX's allocator may take of a device's memory; the rest is the driver's and
    libraries'."""
    return _ALLOCATOR_SHARE if num_devices == 1 else _ALLOCATOR_SHARE_OF_SEVERAL


def reserve_device_memory(num_devices: int) -> None:
    """Lets JAX take nearly all of a GPU, instead of its three quarters; before its first use."""
    share = allocator_share(num_devices)
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", str(share))


def bucket_sizes(device: jax.Device) -> BucketSizes:
    return CPU if device.platform == "cpu" else ACCELERATOR


def max_running_requests(config: ServeConfig, device: jax.Device) -> int:
    default = bucket_sizes(device).max_running
    wanted = [config.max_running_requests, config.max_num_reqs]
    return min((count for count in wanted if count is not None), default=default)


def max_step_tokens(config: ServeConfig, context_length: int, device: jax.Device) -> int:
    """Tokens of one step: the chunk size, or with chunks off whatever a prompt may have."""
    chunk = config.chunked_prefill_size
    if chunk is None:
        chunk = max(bucket_sizes(device).mixed_tokens)
    return chunk if chunk > 0 else context_length


def num_pages(
    config: ServeConfig,
    *,
    bytes_per_token: int,
    weight_bytes: int,
    context_length: int,
    devices: list[jax.Device],
) -> int:
    """Pages of the cache: as asked for, or as many as fit beside the weights, which are not loaded
    yet.

    Both numbers of bytes are of one device. What memory decides is rounded down to a coarse grid,
    so that two starts on one machine make the same programs (the number is in every shape).

    Raises:
        ConfigError: where there is no room for a single page, or less than what was asked for.
    """
    fitting = _tokens_that_fit(config, bytes_per_token, weight_bytes, context_length, devices)
    room = fitting // config.page_size
    if config.max_total_tokens is not None:
        wanted = -(-config.max_total_tokens // config.page_size)
        if wanted > room and devices[0].platform != "cpu":
            raise ConfigError(
                f"--max-total-tokens {config.max_total_tokens} does not fit: beside the weights "
                f"there is room for {room * config.page_size} tokens. Lower it, or raise "
                "--mem-fraction-static."
            )
        return wanted
    if room < 1:
        raise ConfigError(
            "There is no memory left for the cache beside the weights. Raise "
            "--mem-fraction-static, or spread the model with --tp-size."
        )
    return on_grid(room)


def on_grid(count: int) -> int:
    """`count` rounded down to five leading bits."""
    step = 1 << max(count.bit_length() - 5, 0)
    return count // step * step


def memory_share(config: ServeConfig, num_devices: int) -> float:
    """What weights and cache may take of an accelerator's memory."""
    return config.mem_fraction_static or (0.88 if num_devices == 1 else 0.87)


def _tokens_that_fit(
    config: ServeConfig,
    bytes_per_token: int,
    weight_bytes: int,
    context_length: int,
    devices: list[jax.Device],
) -> int:
    if devices[0].platform == "cpu":
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        fitting = int(memory * (config.mem_fraction_static or _CPU_SHARE)) // bytes_per_token
        return min(fitting, max(_CPU_TOKENS, context_length + config.page_size))
    of_limit = memory_share(config, len(devices)) / allocator_share(len(devices))
    free = min(_free_bytes(device, of_limit) for device in devices)
    return max(free - weight_bytes, 0) // bytes_per_token


def _free_bytes(device: jax.Device, of_limit: float) -> int:
    """What is free, of such a part of what the allocator may take."""
    stats = device.memory_stats()
    if not stats or "bytes_limit" not in stats:
        raise ConfigError(f"{device} does not tell how much memory it has; say --max-total-tokens.")
    return int(stats["bytes_limit"] * of_limit) - stats["bytes_in_use"]
