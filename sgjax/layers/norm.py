"""Root-mean-square normalisation. https://arxiv.org/abs/1910.07467"""

from flax import nnx

from sgjax.layers.weight import Weight


class RMSNorm(nnx.Module):
    """What divides by the root mean square of the last axis, and scales.

    It is applied by the operation that reads the result: every norm stands before a linear map, and
    few tokens pass both in one kernel (`Einsum.after`).
    """

    def __init__(self, size: int, eps: float, *, axis: str = "D"):
        self.eps = eps
        self.scale = Weight((size,), axis)
