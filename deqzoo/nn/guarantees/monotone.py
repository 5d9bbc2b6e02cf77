"""I - W strongly monotone: v = ψ(Wv + u) has exactly one solution, however large W."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.digits import at_least, at_most
from deqzoo.activation.measured import require_true_bounds
from deqzoo.core import paths, spectral
from deqzoo.core.paths import Path
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.nearness import Nearness, nearness

__all__ = ["Monotone"]


@dataclass(frozen=True)
class Monotone(Guarantee):
    """<v, Wv> <= (1 - m)|v|² for W = (1 - m)I - AᵀA + B - Bᵀ, by construction.

    With ψ the proximal operator of a convex function the inclusion 0 ∈ (I - W)v - u + ∂f(v) is that
    of a strongly monotone operator and has exactly one solution, v = ψ(Wv + u). This is W as real
    numbers make it of A and B; what is computed differs from it by a rounding of ‖A‖² and ‖B‖.

    Args:
        activation: φ, whose sector is ψ; its declared slopes are measured unless it is one of ours.
        margin: m > 0.
        path: of the cell, which holds A and B, in the parameters of the model.
        slopes: a <= φ' <= b of the sector; by default the least and the largest slope of φ.

    Raises:
        ActivationError: φ declares what is not so.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from deqzoo.nn.guarantees.monotone import Monotone
        >>> guarantee = Monotone(activations.get("gelu"), 0.1, ())
        >>> guarantee.by_construction
        True
        >>> float(guarantee.bound({"A": 9 * jnp.ones((2, 2)), "B": jnp.eye(2)})) < 1
        True
    """

    activation: Activation
    margin: float
    path: Path
    slopes: tuple[float, float] | None = None

    quantity = "λ_max((W + Wᵀ)/2)"
    claim = "well posed"
    theorem = "the equilibrium exists and is unique for every input, whatever the weights"
    source = (
        "Winston and Kolter, Monotone operator equilibrium networks, arXiv 2006.08591, Theorem 1 "
        "and Proposition 1; Sector form: deqzoo"
    )

    def __post_init__(self):
        require_true_bounds(self.activation)

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """The slopes of φ and the form of W."""
        low, high = self.slopes or self.activation.slope
        symmetric = ", so that z = φ(Vz + c) has L‖V‖₂ < 1 all the same" if low == -high else ""
        return (
            f"{at_most(low)} <= φ' <= {at_least(high)} for {self.activation}{symmetric}",
            f"W = (1 - m)I - AᵀA + B - Bᵀ with m = {self.margin:g}: "
            f"{self.quantity} <= {at_least(1 - self.margin)} for all A and B",
        )

    def bound(self, parameters) -> Float[Array, ""]:
        """1 - m; NaN where A or B is not finite."""
        cell = paths.at(parameters, self.path)
        leaves = jax.tree.leaves((cell["A"], cell["B"]))
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
        return jnp.where(finite, jnp.asarray(1 - self.margin, leaves[0].dtype), jnp.nan)

    def sharp_bound(self, parameters) -> float:
        """1 - m - σ_min(A)², the number itself."""
        cell = paths.at(parameters, self.path)
        A, B = (np.asarray(cell[name], np.float64) for name in ("A", "B"))
        if not (np.all(np.isfinite(A)) and np.all(np.isfinite(B))):
            return math.nan
        smallest = np.linalg.svd(A, compute_uv=False)[-1]
        error = A.shape[0] * float(np.finfo(float).eps) * float(np.linalg.norm(A))
        return 1 - self.margin - max(smallest - error, 0.0) ** 2

    def nearness(self, parameters):
        """m|p - v*| <= ‖W‖₂|v - p|, p = ψ(Wv + u), and m|v*(u) - v*(u')| <= |u - u'|.

        With r = v - p both follow from <(W - I)(v - v*) + r, p - v*> >= 0, as ψ is the proximal
        operator of a convex function. What is put out is φ(y) = ay + (b - a)p, y = Wv + u.
        """
        cell = paths.at(parameters, self.path)
        A, B = (np.asarray(cell[name], np.float64) for name in ("A", "B"))
        if not (np.all(np.isfinite(A)) and np.all(np.isfinite(B))):
            return None
        weight = (1 - self.margin) * np.eye(len(A)) - A.T @ A + B - B.T
        slopes = self.slopes or self.activation.slope
        return of_monotone(slopes, spectral.proved_norm(weight), self.margin)


def of_monotone(slopes: tuple[float, float], norm: float, margin: float) -> Nearness | None:
    """That of v = ψ(Wv + u), put out as φ(Wv + u).

    Args:
        slopes: (a, b) of the sector ψ = (φ - a·)/(b - a).
        norm: ‖W‖₂.
        margin: m, with <x, Wx> <= (1 - m)|x|².
    """
    low, high = slopes
    width, low = high - low, abs(low)
    ratio = norm / margin
    return nearness(norm * (width / margin + low * (ratio + 1)), width / margin + low * (ratio + 1))
