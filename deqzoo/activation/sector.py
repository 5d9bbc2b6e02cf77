"""The part of an activation between its slopes: a proximal operator, whatever the activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from deqzoo.activation.contract import Activation
from deqzoo.activation.learnable import Learnable

Slopes = tuple[float, float]


@dataclass(frozen=True)
class Sector(Activation):
    """ψ(x) = (φ(x) - ax)/(b - a) with (a, b) = (inf φ', sup φ'): slopes in exactly [0, 1].

    So ψ is the proximal operator of a convex function, and every φ that is not affine has a
    monotone equilibrium model: v = ψ(y), φ(y) = ay + (b - a)v. Any wider (a, b) do as well: with
    those of a learnable activation ψ is what becomes of its sector when it is frozen.

    Args:
        of: φ.
        slopes: a and b; None for those of φ.

    Raises:
        ValueError: φ is affine and no slopes are given, φ is learnable, or its slopes are others.

    Example:
        >>> import activations
        >>> from deqzoo.activation.sector import Sector
        >>> Sector(activations.get("gelu")).is_prox
        True
        >>> activations.check(Sector(activations.get("leaky_relu"))).wrong
        ()
        >>> Sector(activations.get("leaky_relu(negative_slope=0.5)"), (0.0, 2.0)).slope
        (0.25, 0.5)
    """

    of: Activation
    slopes: Slopes | None = None

    def __post_init__(self):
        if isinstance(self.of, Learnable):
            raise ValueError(f"{self.of} is learnable: its sector is a LearnableSector")
        if self.slopes is None:
            _require_sector(self.of)
        (low, high), (a, b) = self.of.slope, self._range
        if not a <= low <= high <= b:
            raise ValueError(
                f"the slopes [{low:.6g}, {high:.6g}] of {self.of} leave [{a:.6g}, {b:.6g}]: give "
                "slopes that hold them"
            )
        super().__post_init__()

    @property
    def slope(self):
        """(0, 1), or a part of it where φ has a part of the slopes."""
        (a, b), (low, high) = self._range, self.of.slope
        return (low - a) / (b - a), (high - a) / (b - a)

    @property
    def curvature(self):
        """Sup |φ''|/(b - a)."""
        return self.of.curvature / self._width

    @property
    def kinks(self):
        """Those of φ."""
        return self.of.kinks

    @property
    def _range(self) -> Slopes:
        return self.of.slope if self.slopes is None else self.slopes

    @property
    def _width(self) -> float:
        low, high = self._range
        return high - low

    def __call__(self, x):
        """(φ(x) - ax)/(b - a)."""
        return (self.of(x) - self._range[0] * x) / self._width

    def primitive(self, x):
        """(∫₀ˣ φ - ax²/2)/(b - a)."""
        x = jnp.asarray(x)
        return (self.of.primitive(x) - self._range[0] / 2 * x * x) / self._width

    def hermite(self, degree, scale=1.0):
        """Those of φ, less a · scale in the first degree, over b - a."""
        coefficients = self.of.hermite(degree, scale)
        if degree >= 1:
            coefficients[1] -= self._range[0] * scale
        return coefficients / self._width


@dataclass(frozen=True)
class LearnableSector(Learnable):
    """ψ(x; p) = (φ(x; p) - ax)/(b - a), (a, b) the slopes over all x and p: a prox whatever p.

    Args:
        of: φ, whose parameters are those of ψ.

    Example:
        >>> import activations
        >>> from deqzoo.activation.sector import LearnableSector
        >>> psi = LearnableSector(activations.get("prelu(high=2.0)"))
        >>> psi.slope, psi.frozen({"negative_slope": 1.5}).slope
        ((0.0, 1.0), (0.5, 0.75))
    """

    of: Learnable

    slope = (0.0, 1.0)

    def __post_init__(self):
        _require_sector(self.of)
        object.__setattr__(self, "per_unit", self.of.per_unit)
        super().__post_init__()

    @property
    def curvature(self):
        """Sup |φ''|/(b - a)."""
        low, high = self.of.slope
        return self.of.curvature / (high - low)

    @property
    def start(self):
        """That of φ."""
        return self.of.start

    def formula(self, x, **parameters: Any):
        """(φ(x; p) - ax)/(b - a)."""
        low, high = self.of.slope
        return (self.of.formula(x, **parameters) - low * x) / (high - low)

    def slope_variation(self, **parameters: Any):
        """That of φ over b - a."""
        variation, (low, high) = self.of.slope_variation(**parameters), self.of.slope
        return None if variation is None else variation / (high - low)

    def ordinary(self, **parameters: float):
        """The sector of φ(·; p) with the same a and b."""
        return sector(self.of.ordinary(**parameters), self.of.slope)


def sector(activation: Activation, slopes: Slopes | None = None) -> Activation:
    """The ψ of ``Sector`` or ``LearnableSector``: φ itself where (a, b) = (0, 1).

    Args:
        activation: φ.
        slopes: a and b, which hold the slopes of φ; None for these.

    Raises:
        ValueError: φ is affine, or the slopes do not hold its own.

    Example:
        >>> import activations
        >>> from deqzoo.activation.sector import sector
        >>> sector(activations.get("relu"))
        ReLU()
    """
    own = tuple(activation.slope)
    if slopes is None or tuple(slopes) == own:
        _require_sector(activation)
        slopes = None
    if (own if slopes is None else tuple(slopes)) == (0.0, 1.0):
        return activation
    return (
        LearnableSector(activation)
        if isinstance(activation, Learnable)
        else Sector(activation, slopes)
    )


def _require_sector(activation: Activation) -> None:
    low, high = activation.slope
    if activation.is_affine or low == high:
        raise ValueError(f"{activation} is affine and has no sector: use one that bends")
