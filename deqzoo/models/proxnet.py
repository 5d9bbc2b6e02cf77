"""A picture restored from a measurement: an equilibrium of a data term and a learned prior."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER
from deqzoo.core.solver import Solver
from deqzoo.data.restoration import BLUR, MASK, MEASURED
from deqzoo.data.spec import Spec, described
from deqzoo.nn.convolve import convolve
from deqzoo.nn.deq import DEQ
from deqzoo.nn.draws import normal
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.model import Model
from deqzoo.nn.restoring_cell import Measured, RestoringCell

__all__ = ["ProxNet"]

_TAPS = 5  # of the guess
_SMALL = 0.01


class ProxNet(Model):
    """z = D(z - η(Aᵀ(Az - y) + τ(z - g))), g = S * (y, mask) + s, the output is z.

    Az = mask (blur * z) is known, y is measured, and the prior D(z) = z - Kᵀψ(β(K * z) + b)/β is
    learned, ψ the sector of φ. It is well posed while ‖K‖₂² < 2 (``RestoringCell``).

    Args:
        spec: of one example, ``{"measured": Spec((height, width, pictures)), "mask": ...}``.
        outputs: as many as pictures.
        activation: φ, not affine, an activation or its recipe.
        channels: of K.
        taps: of K along height and width, odd.
        pull: τ > 0, which makes the data term strongly convex where A is not.
        gain: ‖K‖₂²/2 at initialisation, in (0, 1).
        constants: of the task, ``{"blur": (rows, columns)}`` where pictures are blurred.
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws the weights.
        dtype: of all parameters.

    Raises:
        ValueError: an example is no measured picture, φ is affine, or a number is out of range.

    References:
        Gilton, Ongie and Willett, "Deep Equilibrium Architectures for Inverse Problems in Imaging",
        arXiv 2102.07944, with other D; D of a sector, g and the factor: deqzoo.

    Example:
        >>> import deqzoo
        >>> model = deqzoo.create_model("proxnet", "deblur")
        >>> data = deqzoo.catalog.tasks.get("deblur").load()
        >>> model(data.test.at(slice(5)).x)[0].shape
        (5, 8, 8, 1)
    """

    example_task = "deblur"

    def __init__(
        self,
        spec: Any,
        outputs: int,
        *,
        activation: Activation | str = "tanh",
        channels: int = 16,
        taps: int = 3,
        pull: float = 0.05,
        gain: float = 0.5,
        constants: dict[str, Float[np.ndarray, "rows columns"]] | None = None,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = DEFAULT_ADJOINT,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
    ):
        pictures = _pictures(spec)
        if outputs != pictures:
            raise ValueError(f"outputs must be the {pictures} of what is measured, got {outputs}")
        self.activation = catalog.activations.get(activation)
        shape = (_TAPS, _TAPS, 2 * pictures, pictures)
        at_once = (
            jnp.zeros(shape, dtype)
            .at[_TAPS // 2, _TAPS // 2, :pictures]
            .set(jnp.eye(pictures, dtype=dtype))
        )
        self.S = nnx.Param(at_once + normal(rngs, shape, _SMALL, dtype))
        self.s = nnx.Param(jnp.zeros(pictures, dtype))
        cell = RestoringCell(
            pictures,
            self.activation,
            blur=(constants or {}).get(BLUR),
            channels=channels,
            taps=taps,
            pull=pull,
            gain=gain,
            rngs=rngs,
            dtype=dtype,
        )
        self.deq = DEQ(cell, solver=solver, adjoint=adjoint)

    def stem(self, x: dict[str, Array]) -> Measured:
        """What was measured, with g."""
        y, mask = x[MEASURED], x[MASK]
        guess = convolve(jnp.concatenate([y, mask], axis=3), self.S[...])
        return self.deq.cell.measured(y, mask, guess + self.s[...][None, None, None])

    def head(
        self, z: Float[Array, "batch height width pictures"], injected: Measured
    ) -> Float[Array, "batch height width pictures"]:
        """The picture itself."""
        del injected
        return z

    def guarantees(self) -> tuple[Guarantee, ...]:
        """That of the cell."""
        return (self.deq.cell.guarantee("deq", "cell"),)


def _pictures(spec: Any) -> int:
    """How many pictures an example has."""
    if isinstance(spec, dict) and {*spec} == {MEASURED, MASK}:
        measured, mask = spec[MEASURED], spec[MASK]
        if isinstance(measured, Spec) and len(measured.shape) == 3 and mask == measured:
            return measured.shape[2]
    raise ValueError(
        f"this model takes measured pictures, {{'{MEASURED}': (height, width, k), '{MASK}': the "
        f"same}}, and an example is {described(spec)}: choose a task of them, such as deblur"
    )
