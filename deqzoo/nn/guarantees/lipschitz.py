"""The equilibrium is unique, and outputs move by at most γ times what inputs do."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.digits import at_least, at_most
from deqzoo.activation.measured import require_true_bounds
from deqzoo.core import paths, spectral
from deqzoo.core.paths import Path
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.nearness import nearness

__all__ = ["Lipschitz"]


@dataclass(frozen=True)
class Lipschitz(Guarantee):
    """<v, Wv> + (|Uᵀv|² + |Dv|²)/2γ <= (1 - m)|v|² for the W of ``LipschitzCell``.

    So v = ψ(Wv + Ux + b) has one solution, and |Dv(x) - Dv(x')| <= γ|x - x'| in Euclidean norms, of
    inputs as the model gets them: scaled. This is W as real numbers make it of the parameters.

    Args:
        activation: φ, whose sector is ψ; its declared slopes are measured unless it is one of ours.
        margin: m > 0.
        gamma: γ > 0.
        path: of the cell, which holds A, B, U and D, in the parameters of the model.

    Raises:
        ActivationError: φ declares what is not so.

    Example:
        >>> import activations
        >>> from deqzoo.nn.guarantees.lipschitz import Lipschitz
        >>> guarantee = Lipschitz(activations.get("gelu"), 0.1, 5.0, ())
        >>> guarantee.by_construction, guarantee.lipschitz({})
        (True, 5.0)
    """

    activation: Activation
    margin: float
    gamma: float
    path: Path

    quantity = "λ_max((W + Wᵀ + (UUᵀ + DᵀD)/γ)/2)"
    claim = "well posed, γ-Lipschitz"
    source = (
        "Revay, Wang and Manchester, Lipschitz bounded equilibrium networks, arXiv 2010.01732; "
        "in the Euclidean metric, of sectors: deqzoo"
    )

    def __post_init__(self):
        require_true_bounds(self.activation)

    @property
    def theorem(self) -> str:
        """Both claims."""
        return (
            "the equilibrium exists and is unique for every input, and outputs move by at most "
            f"{at_least(self.gamma)} times what scaled inputs do, whatever the weights"
        )

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """The slopes of φ and the form of W."""
        low, high = self.activation.slope
        return (
            f"{at_most(low)} <= φ' <= {at_least(high)} for {self.activation}",
            f"W = (1 - m)I - (AᵀA + (UUᵀ + DᵀD)/γ)/2 + B - Bᵀ with m = {self.margin:g}, "
            f"γ = {self.gamma:g}",
        )

    def bound(self, parameters) -> Float[Array, ""]:
        """1 - m; NaN where a parameter is not finite."""
        cell = paths.at(parameters, self.path)
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(cell[name])) for name in "ABUD"]))
        return jnp.where(finite, jnp.asarray(1 - self.margin, cell["A"].dtype), jnp.nan)

    def lipschitz(self, parameters) -> float:
        """γ."""
        del parameters
        return self.gamma

    def nearness(self, parameters):
        """|v - v*| <= (1 + ‖W‖₂/m)|r| as for every monotone equation, and 1/m."""
        cell = paths.at(parameters, self.path)
        A, B, U, D = (np.asarray(cell[name], np.float64) for name in "ABUD")
        if not all(np.all(np.isfinite(each)) for each in (A, B, U, D)):
            return None
        bounded = (A.T @ A + (U @ U.T + D.T @ D) / self.gamma) / 2
        weight = (1 - self.margin) * np.eye(len(A)) - bounded + B - B.T
        return nearness(1 + spectral.proved_norm(weight) / self.margin, 1 / self.margin)
