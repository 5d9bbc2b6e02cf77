"""‖K‖₂² < 2: the prior z - Kᵀψ(Kz + b) moves no two pictures apart, and its map contracts."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.digits import at_least, at_most
from deqzoo.activation.measured import require_true_bounds
from deqzoo.core import convolution_norm, paths
from deqzoo.core.paths import Path
from deqzoo.nn.guarantee import Guarantee

__all__ = ["NonexpansivePrior"]


@dataclass(frozen=True)
class NonexpansivePrior(Guarantee):
    """D(z) = z - Kᵀψ(K * z + b) has Jacobians I - Kᵀ diag(ψ')K between 1 - ‖K‖₂² and 1.

    ψ = (φ - a·)/(b - a) is the sector of φ, of slopes in [0, 1]. So |D(z) - D(z')| <= |z - z'|
    where ‖K‖₂² <= 2, and a step down a data term that is strongly convex, which comes first,
    contracts by ``contraction``: so does their composition.

    Args:
        activation: φ, whose declared slopes are measured unless it is one of ours.
        path: of K, (height, width, pictures, channels), in the parameters of the model.
        contraction: of the step, below 1.

    Raises:
        ActivationError: φ declares what is not so.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from deqzoo.nn.guarantees.nonexpansive_prior import NonexpansivePrior
        >>> guarantee = NonexpansivePrior(activations.get("tanh"), ("K",), 0.9)
        >>> round(guarantee.sharp_bound({"K": jnp.ones((1, 1, 1, 1))}), 6), guarantee.rate(0.5)
        (0.5, 0.9)
    """

    activation: Activation
    path: Path
    contraction: float

    quantity = "‖K‖₂²/2"
    claim = "well posed"
    theorem = "the equilibrium exists and is unique for every measurement of pictures of every size"
    source = (
        "Banach's fixed-point theorem, after Gilton, Ongie and Willett, Deep Equilibrium "
        "Architectures for Inverse Problems in Imaging, arXiv 2102.07944; of sectors: deqzoo"
    )

    def __post_init__(self):
        require_true_bounds(self.activation)

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """The slopes of φ, the bound of K, and the step."""
        low, high = self.activation.slope
        return (
            f"{at_most(low)} <= φ' <= {at_least(high)} for {self.activation}",
            f"‖K‖₂² < 2 for {'/'.join(self.path)}",
            f"the step down the data term contracts by {at_least(self.contraction)}",
        )

    def bound(self, parameters) -> Float[Array, ""]:
        """Half of the square of a cheap upper bound of ‖K‖₂; NaN where K is not finite."""
        norm = convolution_norm.norm_upper_bound(paths.at(parameters, self.path))
        return norm * norm * (0.5 + 4 * float(jnp.finfo(norm.dtype).eps))

    def sharp_bound(self, parameters) -> float:
        """Half of the square of a bound of ‖K‖₂ by singular values in float64."""
        norm = convolution_norm.proved_norm(np.asarray(paths.at(parameters, self.path)))
        return norm * norm * (0.5 + 4 * float(np.finfo(float).eps))

    def spectra(self, parameters):
        """Half of the squares of the singular values at the frequencies of a grid."""
        values = convolution_norm.singular_values(np.asarray(paths.at(parameters, self.path)))
        return {"/".join(self.path): values**2 / 2}

    def project(self, parameters, limit):
        """K times the number that brings its cheap bound to √(2 limit)."""
        low = jnp.sqrt(2 * jnp.asarray(limit)) * (1 - 1e-6)
        change = lambda K: convolution_norm.shrink_to(K, low)  # noqa: E731
        return paths.changed(parameters, self.path, change)

    def rate(self, bound):
        """That of the step, where the prior moves nothing apart."""
        return self.contraction if bound < 1 else None
