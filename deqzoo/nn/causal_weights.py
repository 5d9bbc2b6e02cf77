"""Attention that looks back alone, with weights that know how far back."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.nn.draws import normal


class CausalWeights(nnx.Module):
    """A_h[t, s] = softmax over s <= t of q_t·k_s/√d + b_h[t - s]: rows of convex weights.

    Args:
        inputs: numbers of a position.
        heads: h.
        size: d, of a query.
        length: the longest sequence.
        rngs: the stream ``params`` draws the queries and keys. Head h = 0, 1, ... begins with b at
            its largest for the token h + 1 positions back.
        dtype: of all parameters.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.nn.causal_weights import CausalWeights
        >>> weights = CausalWeights(3, 2, 4, 6, rngs=nnx.Rngs(0))
        >>> weights(jnp.ones((1, 3, 3)))[0, 0, 1].round(2).tolist()
        [0.9399999976158142, 0.05999999865889549, 0.0]
    """

    def __init__(
        self,
        inputs: int,
        heads: int,
        size: int,
        length: int,
        *,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        shape = (heads, inputs, size)
        self.queries = nnx.Param(normal(rngs, shape, inputs**-0.5, dtype))
        self.keys = nnx.Param(normal(rngs, shape, inputs**-0.5, dtype))
        self.distances = nnx.Param(jnp.asarray(_near(heads, length), dtype))

    def __call__(
        self, x: Float[Array, "batch length inputs"]
    ) -> Float[Array, "batch heads length length"]:
        """A_h of every example."""
        queries, keys = (
            jnp.einsum("btn,hnd->bthd", x, each[...]) for each in (self.queries, self.keys)
        )
        scores = jnp.einsum("bthd,bshd->bhts", queries, keys) / queries.shape[-1] ** 0.5
        back = np.subtract.outer(*[np.arange(x.shape[1])] * 2)
        scores = scores + self.distances[...][:, np.maximum(back, 0)][None]
        return jax.nn.softmax(jnp.where(back[None, None] >= 0, scores, -jnp.inf), axis=-1)


def _near(heads: int, length: int) -> Float[np.ndarray, "heads length"]:
    """-4|log (d + 1)/(h + 2)|: uniform weights would take many steps to find a neighbour."""
    places, wanted = np.log(np.arange(length) + 1), np.log(np.arange(heads) + 2)
    return -4 * np.abs(places - wanted[:, None])


def mixed(
    weights: Float[Array, "batch heads length length"],
    z: Float[Array, "batch length width"],
    values: Float[Array, "heads width size"],
) -> Float[Array, "batch length heads*size"]:
    """A_h z V_h of all heads side by side."""
    found = jnp.einsum("bhts,bshd->bthd", weights, jnp.einsum("bsn,hnd->bshd", z, values))
    return found.reshape(*z.shape[:2], -1)
