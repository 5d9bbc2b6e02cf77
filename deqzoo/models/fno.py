"""A neural operator whose equilibrium is a field on a grid."""

from __future__ import annotations

from typing import Annotated

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.core.solver import Solver
from deqzoo.data.spec import Spec, described, one_array
from deqzoo.nn.deq import DEQ
from deqzoo.nn.fourier_cell import FourierCell
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.model import Model
from deqzoo.nn.nonlinearity import Nonlinearity
from deqzoo.settings import In, fitted

__all__ = ["FNO"]

_Width = Annotated[int, In("[1, inf)")]


class FNO(Model):
    """u = Q φ(R(x, s) + r) + q, z = φ(Kz + u), outputs = C φ(Az + a) + c at every point s.

    K is a Fourier multiplier with L‖K‖₂ < 1 (``FourierCell``), the only part that sees other
    points; s are the coordinates of the centres of a grid of equal cells of the unit square. The
    parameters know of no grid: trained on one, the model takes others.

    Args:
        spec: of one example, fields (height, width, k) on a grid, or the shape of it.
        outputs: fields that are put out.
        activation: φ, an activation or its recipe.
        channels: of z.
        modes: m: waves with |k₁|, |k₂| <= m have matrices of their own.
        width: of the layers between, point by point, before and after the equilibrium.
        gain: L‖K‖₂ at initialisation, in (0, 1).
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    Raises:
        ValueError: an example is no field, its grid is too coarse, or a number is out of range.

    References:
        Li et al., "Fourier Neural Operator for Parametric Partial Differential Equations", arXiv
        2010.08895; as an equilibrium: Marwah et al., "Deep Equilibrium Based Neural Operators for
        Steady-State PDEs", arXiv 2312.00234; with a bound that makes it unique: deqzoo.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.models.fno import FNO
        >>> model = FNO((16, 16, 1), 1, modes=3, rngs=nnx.Rngs(0))
        >>> model(jnp.ones((2, 16, 16, 1)))[0].shape, model(jnp.ones((2, 24, 20, 1)))[0].shape
        ((2, 16, 16, 1), (2, 24, 20, 1))
    """

    example_task = "darcy(size=16, fields=20)"

    def __init__(
        self,
        spec: Spec | tuple[int, ...],
        outputs: int,
        *,
        activation: Activation | str = "gelu",
        channels: int = 16,
        modes: int = 6,
        width: int = 32,
        gain: float = 0.9,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = DEFAULT_ADJOINT,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
    ):
        self.activation = catalog.activations.get(activation)
        width = fitted("width", width, _Width)
        linear = {"param_dtype": dtype, "rngs": rngs}
        cell = FourierCell(
            channels, self.activation, modes=modes, gain=gain, rngs=rngs, dtype=dtype
        )
        self.R = nnx.Linear(_fields(spec, modes) + 2, width, **linear)
        self.Q = nnx.Linear(width, channels, **linear)
        self.deq = DEQ(cell, solver=solver, adjoint=adjoint)
        self.A, self.C = nnx.Linear(channels, width, **linear), nnx.Linear(width, outputs, **linear)
        self.before, self.after = (Nonlinearity(self.activation, width, dtype) for _ in range(2))

    def stem(
        self, x: Float[Array, "batch height width k"]
    ) -> Float[Array, "batch height width channels"]:
        """U."""
        places = jnp.broadcast_to(jnp.asarray(_centres(*x.shape[1:3]), x.dtype), (*x.shape[:3], 2))
        return self.Q(self.before(self.R(jnp.concatenate([x, places], axis=3))))

    def head(
        self,
        z: Float[Array, "batch height width channels"],
        injected: Float[Array, "batch height width channels"],
    ) -> Float[Array, "batch height width outputs"]:
        """C φ(Az + a) + c."""
        del injected
        return self.C(self.after(self.A(z)))

    def guarantees(self) -> tuple[Guarantee, ...]:
        """That of the cell."""
        return (self.deq.cell.guarantee("deq", "cell"),)


def _centres(height: int, width: int) -> Float[np.ndarray, "1 height width 2"]:
    """Of equal cells of [-1, 1]², for inputs of a size with scaled fields."""
    down, across = ((2 * np.arange(side) + 1) / side - 1 for side in (height, width))
    return np.stack(np.meshgrid(down, across, indexing="ij"), axis=-1)[None]


def _fields(spec: Spec | tuple[int, ...], modes: int) -> int:
    """How many fields an example has."""
    shape = one_array(spec).shape
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(
            "this model takes fields (height, width, k) on a grid, and an example is "
            f"{described(one_array(spec))}: choose a task of fields, such as darcy"
        )
    if min(shape[:2]) <= 2 * modes:
        raise ValueError(
            f"{modes} modes need a grid of more than {2 * modes} points each way, got "
            f"{shape[0]} x {shape[1]}: lower modes to {(min(shape[:2]) - 1) // 2} at most"
        )
    return shape[2]
