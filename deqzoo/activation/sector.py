"""The part of an activation between its slopes: a proximal operator, whatever the activation."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from deqzoo.activation.contract import Activation
from deqzoo.activation.learnable import Learnable


@dataclass(frozen=True)
class Sector(Activation):
    """ψ(x) = (φ(x) - ax)/(b - a) with (a, b) = (inf φ', sup φ'): slopes in exactly [0, 1].

    So ψ is the proximal operator of a convex function, and every φ that is not affine has a
    monotone equilibrium model: v = ψ(y), φ(y) = ay + (b - a)v.

    Args:
        of: φ.

    Raises:
        ValueError: φ is affine, or learnable.

    Example:
        >>> import activations
        >>> from deqzoo.activation.sector import Sector
        >>> Sector(activations.get("gelu")).is_prox
        True
        >>> activations.check(Sector(activations.get("leaky_relu"))).wrong
        ()
    """

    of: Activation

    slope = (0.0, 1.0)

    def __post_init__(self):
        _require_sector(self.of)
        super().__post_init__()

    @property
    def curvature(self):
        """Sup |φ''|/(b - a)."""
        return self.of.curvature / self._width

    @property
    def kinks(self):
        """Those of φ."""
        return self.of.kinks

    @property
    def _width(self) -> float:
        low, high = self.of.slope
        return high - low

    def __call__(self, x):
        """(φ(x) - ax)/(b - a)."""
        return (self.of(x) - self.of.slope[0] * x) / self._width

    def primitive(self, x):
        """(∫₀ˣ φ - ax²/2)/(b - a)."""
        x = jnp.asarray(x)
        return (self.of.primitive(x) - self.of.slope[0] / 2 * x * x) / self._width

    def hermite(self, degree, scale=1.0):
        """Those of φ, less a · scale in the first degree, over b - a."""
        coefficients = self.of.hermite(degree, scale)
        if degree >= 1:
            coefficients[1] -= self.of.slope[0] * scale
        return coefficients / self._width


def sector(activation: Activation) -> Activation:
    """The ψ of ``Sector``: φ itself where its slopes are (0, 1) already.

    Raises:
        ValueError: φ is affine, or learnable.

    Example:
        >>> import activations
        >>> from deqzoo.activation.sector import sector
        >>> sector(activations.get("relu"))
        ReLU()
    """
    _require_sector(activation)
    return activation if tuple(activation.slope) == (0.0, 1.0) else Sector(activation)


def _require_sector(activation: Activation) -> None:
    if isinstance(activation, Learnable):
        raise ValueError(
            f"expected an activation without parameters, got {activation}, whose sector would "
            "have parameters of its own: use one that learns nothing, such as leaky_relu"
        )
    if activation.is_affine:
        raise ValueError(f"{activation} is affine and has no sector: use one that bends")
