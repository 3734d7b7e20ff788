"""Whether a result is the reference's."""

import jax
import numpy as np

from sgjax.bench.kernels.op import Arrays, Op


def reference(op: Op, case: object, arrays: Arrays) -> np.ndarray:
    """What the definition gives, f32."""
    return np.asarray(jax.jit(op.call(case, "reference", False))(*arrays), np.float32)


def relative_error(result: jax.Array, expected: np.ndarray) -> float:
    """The norm of the difference over that of what is expected; NaN where a value is none."""
    difference = np.asarray(result, np.float32) - expected
    return float(np.linalg.norm(difference) / max(np.linalg.norm(expected), 1e-30))


def is_right(op: Op, error: float) -> bool:
    return error <= op.bound  # NaN is not
