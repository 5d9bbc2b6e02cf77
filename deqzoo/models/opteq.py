"""An equilibrium model whose equilibrium minimises a convex function."""

from __future__ import annotations

from typing import Annotated, ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.core.solver import Solver
from deqzoo.data.spec import Spec
from deqzoo.nn.averaged_cell import AveragedCell
from deqzoo.nn.flat_model import FlatModel
from deqzoo.nn.symmetric_cell import SymmetricCell
from deqzoo.settings import In, fitted

__all__ = ["OptEq"]

_Depth = Annotated[int, In("[1, inf)")]


class OptEq(FlatModel):
    """z = argmin |z|²/2 - s 1ᵀP(Wz + Ux + b), P' = φ, outputs = Az + c; so z = s Wᵀφ(Wz + Ux + b).

    With s = 1 the function is strongly convex while ‖W‖₂² sup φ' < 1; with s = -1 and a φ that does
    not fall it is whatever W. ``model.deq.cell.objective`` and ``gradient`` certify an equilibrium.
    With several layers z is the equilibrium of averaged steps, one for the function of every layer
    (``AveragedCell``). With a prior, the proximal operator of a convex ρ, ρ(z)/α is added to what
    is minimised: prior="soft_threshold(threshold=0.03)" makes features sparse.

    Args:
        spec: of one example, an array or its shape; it is flattened.
        outputs: classes or targets.
        activation: φ, an activation or its recipe; of one layer not affine.
        width: of z.
        hidden: rows of W; by default width.
        sign: s, 1 or -1.
        depth: layers.
        averaging: α in (0, 1], of several layers or with a prior.
        prior: an activation that is a proximal operator, or its recipe; None for none.
        gain: of the bound at initialisation, at most.
        solver: a solver or its recipe; of one layer "auto" is Peaceman-Rachford splitting.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    References:
        Xie et al., "Optimization Induced Equilibrium Networks", arXiv 2105.13228, has s = 1; s = -1
        has the form of Chen et al., "Optimization-Induced Graph Implicit Nonlinear Diffusion",
        arXiv 2206.14418.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.models.opteq import OptEq
        >>> model = OptEq((8, 8, 1), 10, activation="gelu", rngs=nnx.Rngs(0))
        >>> logits, solution = model(jnp.ones((5, 8, 8, 1)))
        >>> logits.shape, float(solution.stats.fraction_converged)
        ((5, 10), 1.0)
    """

    centred: ClassVar[bool] = True

    def __init__(
        self,
        spec: Spec | tuple[int, ...],
        outputs: int,
        *,
        activation: Activation | str = "tanh",
        width: int = 64,
        hidden: int | None = None,
        sign: int = 1,
        depth: int = 1,
        averaging: float = 0.5,
        prior: Activation | str | None = None,
        gain: float = 0.8,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = DEFAULT_ADJOINT,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
    ):
        depth = fitted("depth", depth, _Depth)
        rows = width if hidden is None else hidden
        shared = {"sign": sign, "gain": gain, "rngs": rngs, "dtype": dtype}
        sigma = None if prior is None else catalog.activations.get(prior)

        def cell(activation: Activation) -> SymmetricCell | AveragedCell:
            if depth == 1 and sigma is None:
                return SymmetricCell(width, rows, activation, **shared)
            terms = {"depth": depth, "averaging": averaging, "prior": sigma, **shared}
            return AveragedCell(width, rows, activation, **terms)

        super().__init__(
            spec,
            outputs,
            activation=activation,
            cell=cell,
            injected=depth * rows,
            width=width,
            solver=solver,
            adjoint=adjoint,
            rngs=rngs,
            dtype=dtype,
        )

    def features(
        self, z: Float[Array, "batch state"], injected: Float[Array, "batch injected"]
    ) -> Float[Array, "batch width"]:
        """The minimiser; the state of one layer is φ(Wz + u), shifted and scaled."""
        return self.deq.cell.output(z, injected)
