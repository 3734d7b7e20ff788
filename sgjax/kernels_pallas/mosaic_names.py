"""Has a kernel of Mosaic's be the same in every program.

JAX 0.11 numbers such kernels as they are lowered, to name the files it may dump. The number is a
part of what XLA tells them by: every program would compile its own, and would be another program
to the compile cache as soon as they are traced in another order. The name alone says enough.
"""

import functools

from jax.experimental.mosaic import gpu as mosaic_gpu

_NUMBERS = "get_or_set_dump_options"
_NAME = "mosaic_gpu.dump_basename"


@functools.cache
def name_kernels_alike() -> None:
    """From now on, in this process; nothing, where JAX does not number them."""
    number = getattr(mosaic_gpu.dialect, _NUMBERS, None)
    if number is None:
        return

    def keep_name(module):
        attributes = module.operation.attributes
        if _NAME not in attributes and "sym_name" in attributes:
            attributes[_NAME] = attributes["sym_name"]
        return number(module)

    setattr(mosaic_gpu.dialect, _NUMBERS, keep_name)
