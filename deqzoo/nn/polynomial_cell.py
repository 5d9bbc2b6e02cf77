"""A polynomial of the neighbours of a graph: one matrix, finitely many steps, nothing between."""

from __future__ import annotations

from typing import Annotated

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.nn.draws import normal
from deqzoo.nn.graph_cell import Injected
from deqzoo.nn.neighbours import aggregated
from deqzoo.nn.nonlinearity import Nonlinearity
from deqzoo.settings import In, fitted

Depth = Annotated[int, In("[1, inf)")]
Step = Annotated[float, In("(0, inf)")]


class PolynomialCell(nnx.Module):
    """H_T of H_0 = φ(u + b_0), H_{t+1} = H_t + s_t Â(H_t W + b); a state tells it nothing.

    With b = 0 and all s_t = s it is Σ_k C(T, k) sᵏ ÂᵏH_0Wᵏ.

    Args:
        width: of the state of a node.
        activation: φ.
        depth: T steps.
        step: s; where the steps are learned the deviation of the s_t as they are drawn.
        learned: every s_t is a parameter.
        rngs: the stream ``params`` draws W, entries of variance 1/(4 width), and the s_t.
        dtype: of all parameters.

    Raises:
        ValueError: depth or step is out of range.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn.graph_cell import Injected
        >>> from deqzoo.nn.neighbours import node_scale
        >>> from deqzoo.nn.polynomial_cell import PolynomialCell
        >>> edges = jnp.array([[[0, 1], [1, 2]]])
        >>> x = Injected(jnp.ones((1, 3, 4)), edges, node_scale(edges, 3, jnp.float32))
        >>> PolynomialCell(4, activations.get("relu"), rngs=nnx.Rngs(0))(None, x).shape
        (1, 3, 4)
    """

    def __init__(
        self,
        width: int,
        activation: Activation,
        *,
        depth: int = 8,
        step: float = 1.0,
        learned: bool = False,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        self.phi = Nonlinearity(activation, width, dtype)
        self.depth, self.step = fitted("depth", depth, Depth), fitted("step", step, Step)
        self.W = nnx.Param(normal(rngs, (width, width), 0.5 * width**-0.5, dtype))
        self.b_0, self.b = (nnx.Param(jnp.zeros(width, dtype)) for _ in range(2))
        self.s = nnx.Param(normal(rngs, (self.depth,), self.step, dtype)) if learned else None

    def __call__(self, z: object, x: Injected) -> Float[Array, "batch nodes width"]:
        """H_T."""
        del z
        h = self.phi(x.nodes + self.b_0[...][None, None])
        for s in [self.step] * self.depth if self.s is None else self.s[...]:
            h = h + s * aggregated(h @ self.W[...] + self.b[...][None, None], x.edges, x.scale)
        return h

    def start(self, x: Injected) -> Float[Array, "batch nodes width"]:
        """Zero."""
        return jnp.zeros_like(x.nodes)
