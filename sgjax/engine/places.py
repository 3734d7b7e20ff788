"""Places for small arrays in a GPU's memory, so that large ones keep theirs.

What the host says of a step is a new array each time, of some kilobytes. The thread that sends it
lets go of it when it happens to be done, so the next one may lie beside it, and then what is
allocated after it, a program's own arrays too, lies elsewhere than in the step before. A recorded
CUDA graph must be told so, which takes half a millisecond where there are 200 kernels. XLA's
allocator takes the smallest free piece that fits: here are pieces that fit exactly.
"""

import jax
import numpy as np
from jax.sharding import Sharding
from jaxtyping import Array

NUM_PLACES = 6
"""More than are on their way at once."""


def make_places(size: int, sharding: Sharding) -> list[Array]:
    """Leaves NUM_PLACES free pieces of `size` int32s; returns what lies between them, which has to
    be kept for as long as they are wanted."""
    nothing = np.zeros(size, np.int32)
    pieces = [jax.device_put(nothing, sharding) for _ in range(2 * NUM_PLACES)]
    jax.block_until_ready(pieces)
    return pieces[1::2]
