"""W = (γ/L) FᵀF/‖FᵀF‖_F: the cell z -> φ(ÂzW + u) contracts by γ, whatever F is."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from deqzoo.activation.contract import Activation
from deqzoo.activation.digits import at_least
from deqzoo.activation.measured import require_true_bounds
from deqzoo.core import paths
from deqzoo.core.paths import Path
from deqzoo.nn.guarantee import Guarantee

__all__ = ["GramContraction"]


@dataclass(frozen=True)
class GramContraction(Guarantee):
    """L‖Â‖₂‖W‖₂ <= γ, as ‖FᵀF‖₂ <= ‖FᵀF‖_F and ‖Â‖₂ <= 1.

    Args:
        activation: φ, whose declared L = sup |φ'| is measured unless it is one of ours.
        path: of F in the parameters of the model.
        gamma: γ.

    Raises:
        ActivationError: φ declares what is not so.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from deqzoo.nn.guarantees.gram_contraction import GramContraction
        >>> guarantee = GramContraction(activations.get("tanh"), ("F",), 0.9)
        >>> round(float(guarantee.bound({"F": 7.0 * jnp.eye(3)})), 3), guarantee.by_construction
        (0.9, True)
    """

    activation: Activation
    path: Path
    gamma: float

    quantity = "L‖W‖₂‖Â‖₂"
    claim = "well posed"
    theorem = "the equilibrium exists and is unique for every graph and every input"
    source = "Banach's fixed-point theorem; ‖Â‖₂ <= 1 for symmetric normalisation (deqzoo)"
    euclidean = True

    def __post_init__(self):
        require_true_bounds(self.activation)

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """L, and what is so by construction."""
        lipschitz = at_least(self.activation.lipschitz)
        return (
            f"|φ'| <= L = {lipschitz} for {self.activation}",
            f"L‖W‖₂ <= {at_least(self.gamma)} by construction",
            "‖Â‖₂ <= 1, as edges have no direction and nodes a loop",
        )

    def bound(self, parameters):
        """γ, and what rounding adds: of the products in FᵀF, n^3/2 roundings at most."""
        F = jnp.asarray(paths.at(parameters, self.path))
        eps = float(jnp.finfo(F.dtype).eps)
        found = self.gamma * (1 + (2 * F.shape[0] ** 1.5 + 16) * eps)
        return jnp.where(jnp.all(jnp.isfinite(F)), found, jnp.nan)

    def rate(self, bound):
        """The bound itself, below 1."""
        return bound if bound < 1 else None
