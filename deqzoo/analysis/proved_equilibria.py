"""How many computed equilibria are proved to lie near a true one, example by example."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.digits import at_least, at_most
from deqzoo.analysis import kantorovich
from deqzoo.analysis.equilibria import solve
from deqzoo.analysis.finding import Finding, InapplicableError
from deqzoo.analysis.widened import in_float64
from deqzoo.nn.implicit_cell import ImplicitCell
from deqzoo.nn.model import Model
from deqzoo.nn.sector_cell import SectorCell
from deqzoo.nn.split_cell import SplitCell
from deqzoo.nn.wide_cell import WideCell


@dataclass(frozen=True)
class ProvedEquilibria(Finding):
    """Level B: of a solved example, exactly one equilibrium lies within a radius of its state.

    By Newton-Kantorovich from the declared curvature (``deqzoo.analysis.kantorovich``): it needs no
    bound of the weights, speaks of each example by itself, and says nothing of other equilibria
    farther away. The equation is that of the injection as it was computed.

    Attributes:
        radius: in the maximum norm; NaN where nothing is proved.
        h: of Kantorovich's theorem, at most 1/2 where it applies.
        residual: |f(z) - z| of the states, in the maximum norm.
    """

    radius: Float[np.ndarray, " n"]
    h: Float[np.ndarray, " n"]
    residual: Float[np.ndarray, " n"]

    healthy: ClassVar[str] = (
        "every example is proved, with radii of the size of the residuals; where the map hardly "
        "contracts or an entry sits at a kink some are not"
    )

    @property
    def share(self) -> float:
        """The share that is proved."""
        return float(np.mean(np.isfinite(self.radius)))

    @property
    def facts(self) -> dict[str, float | int | str]:
        """Share and radii."""
        known = self.radius[np.isfinite(self.radius)]
        return {
            "equilibria proved one by one": at_most(self.share, 4),
            "largest proved radius": at_least(float(np.max(known)), 3) if len(known) else "-",
        }

    @property
    def seen(self) -> str:
        """How many, how near."""
        return (
            f"Of {len(self.radius)} test examples {np.sum(np.isfinite(self.radius))} are proved to "
            "have exactly one equilibrium within the radius shown of the computed state (level B, "
            "Newton-Kantorovich in float64, roundings enclosed; 16 units in the last place are "
            "assumed for values of the activation)."
        )

    def draw(self, path: Path) -> Path:
        """Radius against residual."""
        from deqzoo.analysis.figure import figure

        with figure(path, 1, 1, (5, 3.5)) as (_, axes):
            axis = axes[0][0]
            axis.plot(self.residual, self.radius, ".", color="C0")
            axis.set(xscale="log", yscale="log")
            axis.set(xlabel="residual", ylabel="radius that is proved")
            axis.set_title(f"{at_most(100 * self.share, 4)} % of the examples", fontsize=9)
        return path


class _Dense(NamedTuple):
    """Z = φ(Wz + u)."""

    activation: Activation
    W: Float[np.ndarray, "n n"]
    u: Float[np.ndarray, "batch n"]


def proved_equilibria(model: Model, x: Any) -> ProvedEquilibria:
    """Solve, then prove.

    Args:
        model: one whose cell is z -> φ(Wz + u) with one matrix W.
        x: inputs, scaled.

    Raises:
        InapplicableError: the cell is another one, or its activation bends without a curvature.
    """
    dense = _dense(model, x)
    z = np.asarray(solve(model, x).solution.value, np.float64)
    try:
        found = kantorovich.prove(dense.activation, dense.W, dense.u, z)
    except ValueError as error:
        raise InapplicableError(str(error)) from error
    image = dense.activation.in_float64(z @ dense.W.T + dense.u)
    return ProvedEquilibria(found.radius, found.h, np.max(np.abs(image - z), axis=1))


def _dense(model: Model, x: Any) -> _Dense:
    """The equation in float64.

    Raises:
        InapplicableError: it has no such form.
    """
    cell = model.deq.cell
    if not isinstance(cell, WideCell | ImplicitCell | SplitCell):
        raise InapplicableError("the cell is not of the form z -> φ(Wz + u) with one matrix W")
    with jax.enable_x64(True):
        graph, state = nnx.split(model)
        wide = nnx.merge(graph, jax.tree.map(in_float64, state))
        cell, u = wide.deq.cell, wide.stem(in_float64(x))
        if not isinstance(cell, SplitCell):
            return _Dense(_one(cell), np.asarray(cell.W[...]), np.asarray(u))
        weight = cell.weight()
        if weight is None:
            raise InapplicableError("the affine part of the cell is no single matrix")
        shift = cell.affine(jnp.zeros((len(u), len(weight))), u, weight)
        return _Dense(_one(cell), np.asarray(weight), np.asarray(shift))


def _one(cell: WideCell | ImplicitCell | SplitCell) -> Activation:
    try:
        if isinstance(cell, SectorCell):
            return cell.frozen_proximal()
        return cell.proximal if isinstance(cell, SplitCell) else cell.phi.frozen()
    except ValueError as error:
        raise InapplicableError(str(error)) from error
