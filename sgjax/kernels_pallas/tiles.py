"""What all Triton kernels need to know about tiles."""


def next_power_of_two(n: int) -> int:
    """The smallest power of two that is at least n: tiles have no other sizes."""
    return 1 << (n - 1).bit_length()
