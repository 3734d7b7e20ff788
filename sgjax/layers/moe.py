"""The feed-forward layer of many experts, of which each token has a few.

https://arxiv.org/abs/1701.06538, https://arxiv.org/abs/2401.06066
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Float32, Int32

from sgjax.kernels_pallas.activations import Gating
from sgjax.kernels_pallas.mixture_of_experts import Experts, mixture_of_experts
from sgjax.kernels_pallas.product import product
from sgjax.layers.inputs import StepInputs
from sgjax.layers.mlp import GatedMLP
from sgjax.layers.norm import Norm
from sgjax.layers.routing import route
from sgjax.layers.weight import Part, Weight
from sgjax.models.family import MoEConfig
from sgjax.sharding.mesh import MESH_AXES, Placement
from sgjax.sharding.rules import spec

_GATE_UP, _DOWN = "E D 2 X", "E X D"
_NOBODY = -1


class MoE(nnx.Module):
    """A router, experts as gated layers, and an expert that all tokens have, if `moe` says so.

    It is called as a GatedMLP is. Every device routes all tokens; those that hold other experts, or
    other parts of an expert, add up what they make of them.
    """

    def __init__(self, d_model: int, moe: MoEConfig, *, activation: Gating = "silu"):
        self.moe = moe
        self.activation: Gating = activation
        E, X = moe.num_experts, moe.d_expert
        # The router is whole on every device: its experts are no axis to split.
        self.router = Weight((d_model, E), "D 1")
        self.router_bias = Weight((E,), "1") if moe.router_bias else None
        self.selection_bias = Weight((E,), "1", dtype="float32") if moe.selection_bias else None
        self.gate_up = Weight((E, d_model, 2, X), _GATE_UP, _parts(2))
        self.down = Weight((E, X, d_model), _DOWN)
        self.gate_up_bias = Weight((E, 2, X), "E 2 X", _parts(1)) if moe.expert_bias else None
        self.down_bias = Weight((E, d_model), "E D") if moe.expert_bias else None
        self.shared = _shared(d_model, moe, activation) if moe.d_shared else None
        self.shared_gate = Weight((d_model,), "D") if moe.shared_gate else None

    def __call__(
        self,
        norm: Norm,
        x: Float[Array, "T D"],
        delta: Float[Array, "T D"],
        step: StepInputs,
    ) -> tuple[Float[Array, "T D"], Float[Array, "T D"]]:
        """x + delta, and what the layer makes of its norm."""
        x, normed = norm.after_add(x, delta, step.placement)
        return x, self.of(normed, step)

    def of(self, x: Float[Array, "T D"], step: StepInputs) -> Float[Array, "T D"]:
        """What the layer makes of x as it is. Tokens that pad the step have no expert: where few
        experts are chosen, a step takes as long as it takes to read them."""
        placement = step.placement
        ids, weights = self.routes(x)
        ids = jnp.where(step.is_padding[:, None], _NOBODY, ids)
        common = self._common(x, placement)
        if self.moe.weighs_inputs:
            x, weights = x * weights.astype(x.dtype), jnp.ones_like(weights)
        whole = PartitionSpec()
        shares = spec(_GATE_UP), spec(_DOWN), spec("E 2 X"), spec("E D")
        return jax.shard_map(
            functools.partial(
                _own_share, activation=self.activation, implementation=placement.kernels
            ),
            mesh=placement.mesh,
            in_specs=(whole, whole, whole, (spec("T F"), spec("F D"), whole), *shares),
            out_specs=whole,
            check_vma=False,
        )(x, ids, weights, common, self.gate_up[...], self.down[...], *self._biases)

    def routes(self, x: Float[Array, "T D"]) -> tuple[Int32[Array, "T k"], Float32[Array, "T k"]]:
        """The experts of each token, and their weights."""
        logits = _exact(x, self.router[...])
        if self.router_bias is not None:
            logits += self.router_bias[...].astype(jnp.float32)[None]
        bias = None if self.selection_bias is None else self.selection_bias[...]
        return route(logits, self.moe, bias)

    def _common(
        self, x: Float[Array, "T D"], placement: Placement
    ) -> tuple[Array, Array, Array | None] | tuple[None, None, None]:
        """Of the expert that all tokens have: what its down projection takes, that, and what its
        result is weighed with."""
        if self.shared is None:
            return None, None, None
        hidden = self.shared.gate_up(x, placement)
        gate = None
        if self.shared_gate is not None:
            gate = jax.nn.sigmoid(_exact(x, self.shared_gate[...][:, None])).astype(x.dtype)
        return hidden, self.shared.down.weight[...], gate

    @property
    def _biases(self) -> tuple[Array, Array] | tuple[None, None]:
        if self.gate_up_bias is None or self.down_bias is None:
            return None, None
        return self.gate_up_bias[...], self.down_bias[...]


def _own_share(
    x: Float[Array, "T D"],
    ids: Int32[Array, "T k"],
    weights: Float32[Array, "T k"],
    common: tuple[Array | None, Array | None, Array | None],
    *arrays: Float[Array, "..."] | None,
    activation: Gating,
    implementation: str | None,
) -> Float[Array, "T D"]:
    """What one device does, with its share of its own experts, and of the one that all tokens
    have; then all add up."""
    experts = Experts(*arrays)  # pyright: ignore[reportArgumentType]
    over_experts, over_widths = MESH_AXES
    ids = ids - jax.lax.axis_index(over_experts) * experts.down.shape[0]
    if experts.down_bias is not None:  # which counts once for all that share an expert
        is_first = jax.lax.axis_index(over_widths) == 0
        experts = experts._replace(down_bias=jnp.where(is_first, experts.down_bias, 0))
    y = mixture_of_experts(
        x, ids, weights, experts, activation=activation, implementation=implementation
    )
    hidden, down, gate = common
    if hidden is not None and down is not None:
        of_all = product(hidden, down, implementation=implementation)
        y += of_all if gate is None else of_all * gate
    return jax.lax.psum(y, MESH_AXES)


def _exact(x: Float[Array, "T D"], w: Float[Array, "D n"]) -> Float32[Array, "T n"]:
    """A product in float32: which experts a token has may hang on little."""
    return jax.lax.dot_general(
        x,
        w,
        (((1,), (0,)), ((), ())),
        precision=jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else None,
        preferred_element_type=jnp.float32,
    )


def _parts(axis: int) -> dict[str, Part]:
    return {"gate": Part(axis, 0, 1), "up": Part(axis, 1, 2)}


def _shared(d_model: int, moe: MoEConfig, activation: Gating) -> GatedMLP:
    if activation == "clamped_silu":
        raise ValueError("the expert that all tokens have knows no clamped gate")
    return GatedMLP(d_model, moe.d_shared, activation=activation)
