"""Spectral radius and norm of the equilibrium Jacobian, from products alone."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Complex, Float
from scipy.sparse.linalg import LinearOperator

from deqzoo.analysis.arnoldi import leading_eigenvalues, operator_norm
from deqzoo.analysis.equilibria import solve
from deqzoo.analysis.finding import Finding
from deqzoo.core import trees
from deqzoo.core.trees import State
from deqzoo.nn.model import Model
from deqzoo.nn.pure_model import PureModel
from deqzoo.training.promises import guarantees

_LEADING = 6  # eigenvalues of each example


@dataclass(frozen=True)
class JacobianSpectrum(Finding):
    """J = ∂cell/∂z at the equilibrium of each example: ρ(J) <= ‖J‖₂, and <= L‖W‖₂ if that is known.

    ρ(J) < 1 makes Picard iteration converge near z*, with that rate in the end; ‖J‖₂ < 1 makes
    every step come closer; a guaranteed contraction, L‖W‖₂ < 1, does for all inputs.

    Attributes:
        radius: largest |eigenvalue|; NaN where Arnoldi's iteration did not converge.
        norm: largest singular value; NaN likewise.
        leading: the leading eigenvalues.
        quantity: the bound of ‖J‖₂ that a guarantee of the model gives, in symbols; "" if none.
        bound: its value; NaN where there is none.

    References:
        Bai, Koltun and Kolter, "Stabilizing Equilibrium Models by Jacobian Regularization", arXiv
        2106.14342.
    """

    radius: Float[np.ndarray, " n"]
    norm: Float[np.ndarray, " n"]
    leading: Complex[np.ndarray, "n k"]
    quantity: str
    bound: float

    healthy: ClassVar[str] = (
        "every radius lies below 1 (the solver converges near the equilibrium); where a guarantee "
        "bounds the norms they lie below that bound; far below 1 means few solver steps"
    )

    @property
    def facts(self) -> dict[str, float | int | str]:
        """Median and largest radius and norm."""
        found: dict[str, float | int | str] = {}
        for label, values in (("spectral radius of J", self.radius), ("‖J‖₂", self.norm)):
            found[f"{label}, median"] = float(np.median(_known(values)))
            found[f"{label}, largest"] = float(np.max(_known(values)))
        if self.quantity:
            found[f"{self.quantity} of these weights"] = self.bound
        return found

    @property
    def seen(self) -> str:
        """Radius, norm and bound."""
        lost = int(np.sum(np.isnan(self.radius) | np.isnan(self.norm)))
        radius, norm = np.max(_known(self.radius)), np.max(_known(self.norm))
        left_out = f" {lost} of them did not converge and are left out." if lost else ""
        return (
            f"The Jacobian of the cell at the equilibria of {len(self.radius)} test examples. "
            f"Left: spectral radius (largest {radius:.3g}) and norm (largest {norm:.3g}) of every "
            "example. Right: the leading eigenvalues in the complex plane, with the unit circle."
            f"{left_out}"
        )

    def draw(self, path: Path) -> Path:
        """Radius and norm of every example, sorted; leading eigenvalues in the plane."""
        from deqzoo.analysis.figure import figure

        with figure(path, 1, 2, (9, 3.9)) as (_, axes):
            left, right = axes[0]
            order = np.argsort(self.radius)
            left.plot(self.norm[order], ".", color="C1", label="‖J‖₂")
            left.plot(self.radius[order], ".", color="C0", label="spectral radius")
            left.axhline(1, color="C3", linestyle="--", label="1")
            if self.quantity:
                left.axhline(self.bound, color="C7", linestyle=":", label=self.quantity)
            left.set(xlabel="example, by radius", ylabel="radius, norm")
            left.set_ylim(bottom=0)
            left.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
            turn = np.linspace(0, 2 * np.pi, 361)
            right.plot(np.cos(turn), np.sin(turn), color="C3", linestyle="--", linewidth=1)
            at = np.real(self.leading), np.imag(self.leading)
            right.plot(*at, ".", color="C0", markersize=3)
            right.set(aspect="equal", xlabel="real part", ylabel="imaginary part")
            right.set_title("leading eigenvalues", fontsize=9)
        return path


def jacobian_spectrum(model: Model, x: Any, leading: int = _LEADING) -> JacobianSpectrum:
    """ρ(J), ‖J‖₂ and the leading eigenvalues of J at the equilibrium of every input.

    Arnoldi's iteration sees J only through products J v, and the norm through products with J and
    Jᵀ.
    """
    z = solve(model, x).solution.value
    one = lambda tree, i: jax.tree.map(lambda leaf: leaf[i : i + 1], tree)  # noqa: E731
    operators = [jacobian_operator(model, one(x, i), one(z, i)) for i in range(trees.batch_size(z))]
    values = np.stack([_padded(leading_eigenvalues(each, leading), leading) for each in operators])
    proved = [guarantee for guarantee in model.guarantees() if guarantee.euclidean]
    bound = guarantees.largest_bound(proved, PureModel(model).state.parameters)
    return JacobianSpectrum(
        radius=np.abs(values[:, 0]),
        norm=np.array([operator_norm(each) for each in operators]),
        leading=values,
        quantity=guarantees.quantity(proved),
        bound=math.nan if bound is None else bound,
    )


def jacobian_operator(model: Model, x: Any, z: State) -> LinearOperator:
    """J and Jᵀ of one example at the state z, as products; x and z have a batch of one."""
    graph, state = nnx.split(model)
    size = trees.example_size(z)

    def apply(product: Callable[..., Any]) -> Callable[[np.ndarray], np.ndarray]:
        row = lambda v: jnp.asarray(v, trees.reduction_dtype(z)).reshape(1, size)  # noqa: E731
        return lambda v: np.asarray(product(graph, state, x, z, row(v))[0], np.float64)

    parts: Any = {"matvec": apply(_forward), "rmatvec": apply(_transposed), "dtype": np.float64}
    return LinearOperator((size, size), **parts)


@functools.partial(jax.jit, static_argnums=0)
def _forward(graph: nnx.GraphDef, state: Any, x: Any, z: Any, row: Any) -> Any:
    fn = _map(graph, state, x)
    return trees.ravel(jax.jvp(fn, (z,), (trees.unravel(row, z),))[1])


@functools.partial(jax.jit, static_argnums=0)
def _transposed(graph: nnx.GraphDef, state: Any, x: Any, z: Any, row: Any) -> Any:
    fn = _map(graph, state, x)
    return trees.ravel(jax.vjp(fn, z)[1](trees.unravel(row, z))[0])


def _map(graph: nnx.GraphDef, state: Any, x: Any) -> Callable[[Any], Any]:
    model = nnx.merge(graph, state)
    return model.deq.map(model.stem(x))


def _padded(values: np.ndarray, count: int) -> Complex[np.ndarray, " k"]:
    return np.append(values, np.full(count - len(values), np.nan + 0j))


def _known(values: np.ndarray) -> Float[np.ndarray, " n"]:
    """Those that were found; NaN alone if there is none."""
    known = values[~np.isnan(values)]
    return known if len(known) else np.full(1, np.nan)
