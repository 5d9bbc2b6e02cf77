"""L‖K‖₂ < 1: the cell z -> φ(K * z + b) on images contracts."""

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

__all__ = ["ConvContraction"]


@dataclass(frozen=True)
class ConvContraction(Guarantee):
    """|φ(K * z + b) - φ(K * z' + b)| <= L‖K‖₂ |z - z'|, K * a convolution with zero padding.

    ‖K‖₂ is the norm for images of every size. The nearest kernel within a limit is not cheap to
    find, so that both ``project`` and ``rescale`` scale K.

    Args:
        activation: φ, whose declared L = sup |φ'| is measured unless it is one of ours.
        path: of K, (height, width, channels, channels), in the parameters of the model.

    Raises:
        ActivationError: φ declares what is not so.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from deqzoo.nn.guarantees.conv_contraction import ConvContraction
        >>> guarantee = ConvContraction(activations.get("tanh"), ("K",))
        >>> parameters = {"K": jnp.full((3, 3, 1, 1), 1 / 9)}
        >>> 1 < guarantee.bound(parameters) < 1.05
        Array(True, dtype=bool)
        >>> 0.94 < guarantee.bound(guarantee.rescale(parameters, 0.95)) <= 0.95
        Array(True, dtype=bool)
    """

    activation: Activation
    path: Path

    quantity = "L‖K‖₂"
    claim = "well posed"
    theorem = "the equilibrium exists and is unique for every image of every size"
    euclidean = True
    source = (
        "Banach's fixed-point theorem; Sedghi, Gupta and Long, The singular values of "
        "convolutional layers, arXiv 1805.10408, has the norms of circular convolutions"
    )

    def __post_init__(self):
        require_true_bounds(self.activation)

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """L and the bound of K."""
        lipschitz = at_least(self.activation.lipschitz)
        return (
            f"|φ'| <= L = {lipschitz} for {self.activation}",
            f"‖K‖₂ < 1/L = {at_most(self.activation.max_weight_norm())} for {'/'.join(self.path)}",
        )

    def bound(self, parameters) -> Float[Array, ""]:
        """L times a cheap upper bound of ‖K‖₂, about 6 % too large; NaN where K is not finite."""
        norm = convolution_norm.norm_upper_bound(paths.at(parameters, self.path))
        return norm * (self.activation.lipschitz * (1 + 4 * float(jnp.finfo(norm.dtype).eps)))

    def sharp_bound(self, parameters) -> float:
        """L times a bound of ‖K‖₂ by singular values in float64."""
        norm = convolution_norm.proved_norm(np.asarray(paths.at(parameters, self.path)))
        return self.activation.lipschitz * norm * (1 + 4 * float(np.finfo(float).eps))

    def spectra(self, parameters):
        """L times the singular values at the frequencies of a grid."""
        values = convolution_norm.singular_values(np.asarray(paths.at(parameters, self.path)))
        return {"/".join(self.path): self.activation.lipschitz * values}

    def project(self, parameters, limit):
        """K times the number that brings its cheap bound to limit/L."""
        low = limit / self.activation.lipschitz
        change = lambda K: convolution_norm.shrink_to(K, low)  # noqa: E731
        return paths.changed(parameters, self.path, change)

    def rate(self, bound):
        """The bound itself, below 1."""
        return bound if bound < 1 else None
