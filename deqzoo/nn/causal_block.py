"""A block of a transformer: attention and two layers beside each other, looking back alone."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.nn.causal_weights import CausalWeights, mixed
from deqzoo.nn.draws import normal
from deqzoo.nn.nonlinearity import Nonlinearity
from deqzoo.nn.sequence_model import unit


class CausalBlock(nnx.Module):
    """x -> O concat_h(A_h(n) n V_h) + D φ(Cn + c), n = x/rms(x).

    Args:
        width: of x, a multiple of ``heads``.
        heads: of attention.
        activation: φ.
        length: the longest sequence.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn.causal_block import CausalBlock
        >>> block = CausalBlock(4, 2, activations.get("gelu"), 3, rngs=nnx.Rngs(0))
        >>> block(jnp.ones((1, 3, 4))).shape
        (1, 3, 4)
    """

    def __init__(
        self,
        width: int,
        heads: int,
        activation: Activation,
        length: int,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        if heads < 1 or width % heads:
            raise ValueError(
                f"width must be a multiple of heads, got width={width} and heads={heads}"
            )
        size, linear = width // heads, {"param_dtype": dtype, "rngs": rngs}
        self.weights = CausalWeights(width, heads, size, length, rngs=rngs, dtype=dtype)
        self.V = nnx.Param(normal(rngs, (heads, width, size), width**-0.5, dtype))
        self.joined = nnx.Linear(width, width, use_bias=False, **linear)
        self.wider = nnx.Linear(width, 2 * width, **linear)
        self.phi = Nonlinearity(activation, 2 * width, dtype)
        self.back = nnx.Linear(2 * width, width, use_bias=False, **linear)

    def __call__(self, x: Float[Array, "batch length width"]) -> Float[Array, "batch length width"]:
        """Both parts."""
        n = unit(x)
        attended = self.joined(mixed(self.weights(n), n, self.V[...]))
        return attended + self.back(self.phi(self.wider(n)))


class RefiningCell(nnx.Module):
    """y -> c + g·block(y + c), g a number that is learned.

    Args:
        block: of the same shape in and out.
        weight: g at initialisation.
        dtype: of g.
    """

    def __init__(self, block: CausalBlock, *, weight: float, dtype: DTypeLike = jnp.float32):
        self.block = block
        self.g = nnx.Param(jnp.asarray(weight, dtype))

    def __call__(
        self, y: Float[Array, "batch length width"], c: Float[Array, "batch length width"]
    ) -> Float[Array, "batch length width"]:
        """One refinement."""
        return c + self.g[...] * self.block(y + c)

    def start(self, c: Float[Array, "batch length width"]) -> Float[Array, "batch length width"]:
        """What is proposed."""
        return c
