"""The cell of an equilibrium that minimises a convex function of differences along edges."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.core import spectral
from deqzoo.nn.draws import normal
from deqzoo.nn.graph_cell import Injected
from deqzoo.nn.guarantees.graph_convex import GraphConvex
from deqzoo.nn.incidence import differences, gathered
from deqzoo.nn.nonlinearity import Nonlinearity


class DiffusionCell(nnx.Module):
    """z -> z - α∇Φ(z), Φ(z) = |z|²/2 + Σ_e 1ᵀP(W(G(z + x))_e), P' = φ; so z = -Gᵀφ(G(z + x)Wᵀ)W.

    G are the differences along the edges. h = z + x is where |h - x|²/2 and the potential P of what
    W sees of the differences are least together: x, diffused. With slopes φ' in (a, b) and ‖G‖₂² <=
    2 the Hessian of Φ lies between 1 + 2 min(a, 0)‖W‖₂² and 1 + 2 max(b, 0)‖W‖₂², and α = 2 over
    the sum of both: where the first is positive the cell contracts, whatever the second.

    Args:
        width: of the state of a node, and of what W sees of an edge.
        activation: φ with its declared slope bounds, which hold while a learnable one is learned.
        gain: of -2 inf φ' ‖W‖₂² at initialisation, at most; without effect where φ does not fall.
        rngs: the stream ``params`` draws W, entries of variance 1/width.
        dtype: of W.

    References:
        Chen et al., "Optimization-Induced Graph Implicit Nonlinear Diffusion", arXiv 2206.14418,
        has such an equilibrium, with normalised differences inside φ that are not here; the bounds
        and the step: deqzoo.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn.diffusion_cell import DiffusionCell
        >>> from deqzoo.nn.graph_cell import Injected
        >>> from deqzoo.nn.neighbours import node_scale
        >>> edges = jnp.array([[[0, 1], [1, 2]]])
        >>> x = Injected(jnp.ones((1, 3, 4)), edges, node_scale(edges, 3, jnp.float32))
        >>> cell = DiffusionCell(4, activations.get("tanh"), rngs=nnx.Rngs(0))
        >>> cell(cell.start(x), x).shape
        (1, 3, 4)
    """

    def __init__(
        self,
        width: int,
        activation: Activation,
        *,
        gain: float = 0.95,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        self.activation, self.phi = activation, Nonlinearity(activation, width, dtype)
        draw = normal(rngs, (width, width), width**-0.5, dtype)
        self.W = nnx.Param(self.guarantee().rescale({"W": draw}, gain)["W"])

    def __call__(
        self, z: Float[Array, "batch nodes width"], x: Injected
    ) -> Float[Array, "batch nodes width"]:
        """A step down Φ."""
        return z - self.step_size() * self.gradient(z, x)

    def step_size(self) -> Float[Array, ""]:
        """α."""
        norm = spectral.norm_upper_bound(lax.stop_gradient(self.W[...]))
        low, high = self.activation.slope
        return (1 / (1 + norm * norm * (min(low, 0.0) + max(high, 0.0)))).astype(self.W.dtype)

    def objective(
        self, z: Float[Array, "batch nodes width"], x: Injected
    ) -> Float[Array, " batch"]:
        """Φ(z) of every graph.

        Raises:
            ValueError: every unit has learned parameters of its own.
        """
        potential = self.phi.frozen().primitive(self._seen(z, x))
        return jnp.sum(z * z, axis=(1, 2)) / 2 + jnp.sum(potential, axis=(1, 2))

    def gradient(
        self, z: Float[Array, "batch nodes width"], x: Injected
    ) -> Float[Array, "batch nodes width"]:
        """∇Φ(z) = z + Gᵀφ(G(z + x)Wᵀ)W."""
        return z + gathered(self.phi(self._seen(z, x)) @ self.W[...], x.edges, x.scale)

    def _seen(
        self, z: Float[Array, "batch nodes width"], x: Injected
    ) -> Float[Array, "batch edges width"]:
        return differences((z + x.nodes) @ self.W[...].T, x.edges, x.scale)

    def start(self, x: Injected) -> Float[Array, "batch nodes width"]:
        """Zero."""
        return jnp.zeros_like(x.nodes)

    def guarantee(self, *place: str) -> GraphConvex:
        """Φ is strongly convex.

        Args:
            *place: path of this cell in the model.

        Raises:
            ActivationError: φ declares what is not so.
        """
        return GraphConvex(self.activation, -1, (*place, "W"))
