"""Spectral radius and norm of the equilibrium Jacobian, from products alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
from flax import nnx
from jaxtyping import Complex, Float
from scipy.sparse.linalg import LinearOperator

from deqzoo import trees
from deqzoo.analysis.equilibria import solve
from deqzoo.analysis.finding import Finding
from deqzoo.nn.model import Model
from deqzoo.training import guarantees
from deqzoo.training.step import split_model
from deqzoo.trees import State

_LEADING = 6  # eigenvalues of each example
_DENSE = 48  # units up to which the Jacobian is formed: Arnoldi needs room
_KRYLOV = 48  # directions kept
_RESTARTS = 100
_TOL = 1e-4  # relative, far above the rounding of float32 products


@dataclass(frozen=True)
class JacobianSpectrum(Finding):
    """J = ∂cell/∂z at the equilibrium of each example: ρ(J) <= ‖J‖₂ <= L‖W‖₂.

    ρ(J) < 1 makes Picard iteration converge near z*, with that rate in the end; ‖J‖₂ < 1 makes
    every step come closer; L‖W‖₂ < 1 does for all inputs.

    Attributes:
        radius: largest |eigenvalue|; NaN where Arnoldi's iteration did not converge.
        norm: largest singular value; NaN likewise.
        leading: the leading eigenvalues.
        contraction: the largest L‖W‖₂ of the model; NaN where it has none.

    References:
        Bai, Koltun and Kolter, "Stabilizing Equilibrium Models by Jacobian Regularization", arXiv
        2106.14342, look at this radius; Lehoucq, Sorensen and Yang, "ARPACK Users' Guide" (1998).
    """

    radius: Float[np.ndarray, " n"]
    norm: Float[np.ndarray, " n"]
    leading: Complex[np.ndarray, "n k"]
    contraction: float

    healthy: ClassVar[str] = (
        "every radius lies below 1 (the solver converges near the equilibrium), the norms below "
        "L‖W‖₂, and that below 1; far below 1 means few solver steps"
    )

    @property
    def facts(self) -> dict[str, float | int | str]:
        """Median and largest radius and norm."""
        return {
            "spectral radius of J, median": float(np.nanmedian(self.radius)),
            "spectral radius of J, largest": float(np.nanmax(self.radius)),
            "‖J‖₂, median": float(np.nanmedian(self.norm)),
            "‖J‖₂, largest": float(np.nanmax(self.norm)),
            "L‖W‖₂ of these weights": self.contraction,
        }

    @property
    def seen(self) -> str:
        """Radius, norm and bound."""
        lost = int(np.sum(np.isnan(self.radius) | np.isnan(self.norm)))
        left_out = f" {lost} of them did not converge and are left out." if lost else ""
        return (
            f"The Jacobian of the cell at the equilibria of {len(self.radius)} test examples. "
            f"Left: spectral radius (largest {np.nanmax(self.radius):.3g}) and norm (largest "
            f"{np.nanmax(self.norm):.3g}) of every example. Right: the leading eigenvalues in the "
            f"complex plane, with the unit circle.{left_out}"
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
            if np.isfinite(self.contraction):
                left.axhline(self.contraction, color="C7", linestyle=":", label="L ‖W‖₂")
            left.set(xlabel="example, by radius", ylabel="radius, norm")
            left.set_ylim(bottom=0)
            left.legend(frameon=False)
            turn = np.exp(1j * np.linspace(0, 2 * np.pi, 361))
            right.plot(turn.real, turn.imag, color="C3", linestyle="--", linewidth=1)
            right.plot(self.leading.real, self.leading.imag, ".", color="C0", markersize=3)
            right.set(aspect="equal", xlabel="real part", ylabel="imaginary part")
            right.set_title("leading eigenvalues", fontsize=9)
        return path


def jacobian_spectrum(model: Model, x: Any, leading: int = _LEADING) -> JacobianSpectrum:
    """ρ(J), ‖J‖₂ and the leading eigenvalues of J at the equilibrium of every input.

    Arnoldi's iteration with implicit restarts sees J only through products J v, and the norm
    through products with J and Jᵀ. Unlike the power method it is right for complex pairs and for
    eigenvalues of nearly equal size.
    """
    z = solve(model, x).solution.value
    operators = [
        jacobian_operator(model, x[i : i + 1], jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], z))
        for i in range(len(x))
    ]
    values = np.stack([_padded(leading_eigenvalues(each, leading), leading) for each in operators])
    factors = guarantees.contraction_factors(split_model(model)[1], model.norm_limits())
    return JacobianSpectrum(
        radius=np.abs(values[:, 0]),
        norm=np.array([operator_norm(each) for each in operators]),
        leading=values,
        contraction=max(factors.values(), default=float("nan")),
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


def leading_eigenvalues(operator: LinearOperator, count: int) -> Complex[np.ndarray, " k"]:
    """The eigenvalues of largest modulus, largest first; NaN where the iteration fails.

    Example:
        >>> import numpy as np
        >>> from scipy.sparse.linalg import aslinearoperator
        >>> from deqzoo.analysis.jacobian import leading_eigenvalues
        >>> turn = np.array([[0.0, -0.5], [0.5, 0.0]])
        >>> np.abs(leading_eigenvalues(aslinearoperator(turn), 2))
        array([0.5, 0.5])
    """
    size = operator.shape[0]
    if size <= max(_DENSE, count + 2):
        return _sorted(np.linalg.eigvals(operator @ np.eye(size)), count)
    if not np.any(operator @ _start(size)):
        return np.zeros(count, complex)
    options: Any = {"which": "LM", "tol": _TOL, "maxiter": _RESTARTS, "v0": _start(size)}
    options |= {"ncv": min(size, _KRYLOV), "return_eigenvectors": False}
    try:
        return _sorted(scipy.sparse.linalg.eigs(operator, k=count, **options), count)
    except scipy.sparse.linalg.ArpackError:
        return np.full(count, np.nan + 0j)


def operator_norm(operator: LinearOperator) -> float:
    """The largest singular value; NaN where the iteration fails."""
    size = operator.shape[0]
    if size <= _DENSE:
        return float(np.linalg.norm(operator @ np.eye(size), 2))
    if not np.any(operator @ _start(size)):
        return 0.0
    options: Any = {"tol": _TOL, "v0": _start(size), "return_singular_vectors": False}
    try:
        return float(scipy.sparse.linalg.svds(operator, k=1, **options)[0])
    except scipy.sparse.linalg.ArpackError:
        return float("nan")


def _start(size: int) -> Float[np.ndarray, " size"]:
    return np.random.default_rng(0).standard_normal(size)


def _sorted(values: np.ndarray, count: int) -> Complex[np.ndarray, " k"]:
    return values[np.argsort(-np.abs(values), kind="stable")][:count].astype(complex)


def _padded(values: np.ndarray, count: int) -> Complex[np.ndarray, " k"]:
    return np.append(values, np.full(count - len(values), np.nan + 0j))
