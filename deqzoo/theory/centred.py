"""An activation without a mean at the variance at which its own equilibrium settles."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import jax.numpy as jnp

from deqzoo.activation import gaussian, panels
from deqzoo.activation.contract import Activation
from deqzoo.theory.error import TheoryError
from deqzoo.theory.limit import WideLimit

_ENOUGH = 1e-15
_MAX_STEPS = 5000
_NO_MEAN = 1e-14  # what rounding leaves of the mean of an odd φ


@dataclass(frozen=True)
class Centred(Activation):
    """φ(x) - mean, with the bounds of φ.

    Args:
        of: φ.
        mean: what is taken off.

    Example:
        >>> import activations
        >>> from deqzoo.theory.centred import Centred
        >>> activations.check(Centred(activations.get("gelu"), 0.25)).wrong
        ()
    """

    of: Activation
    mean: float

    @property
    def slope(self):
        """That of φ."""
        return self.of.slope

    @property
    def curvature(self):
        """That of φ."""
        return self.of.curvature

    @property
    def kinks(self):
        """Those of φ."""
        return self.of.kinks

    def __call__(self, x):
        """φ(x) - mean."""
        return self.of(x) - self.mean

    def primitive(self, x):
        """∫₀ˣ φ - mean · x."""
        x = jnp.asarray(x)
        return self.of.primitive(x) - self.mean * x

    def hermite(self, degree, scale=1.0):
        """Those of φ, less the mean in degree 0."""
        coefficients = self.of.hermite(degree, scale)
        coefficients[0] -= self.mean
        return coefficients


def centred(limit: WideLimit, square: float) -> WideLimit:
    """The same limit with φ - E φ(√q ξ) in place of φ, q = s_w² Var φ(√q ξ) + s_u² ‖x‖²/d.

    At such inputs the new φ has no mean in its own equilibrium. √q is the fixed point of a map with
    Lipschitz constant s_w L, as the deviation of φ(pξ) moves by at most L when p moves by one.

    Args:
        limit: activation and scales.
        square: ‖x‖²/d > 0 of the inputs, on average.

    Returns:
        The limit as it is where φ has no mean already, such as every odd φ.

    Raises:
        TheoryError: ``square`` is not positive and finite.

    Example:
        >>> import activations
        >>> from deqzoo.theory import WideLimit, centred
        >>> limit = centred(WideLimit(activations.get("relu"), s_w=0.4), 1.0)
        >>> q = float(limit.variances([[1.0]]).q[0])
        >>> bool(abs(limit.activation.hermite(0, q**0.5)[0]) < 1e-14)
        True
    """
    if not 0 < square < math.inf:
        raise TheoryError(f"expected ‖x‖²/d to be positive and finite, got {square}")
    act, source = limit.activation, limit.s_u**2 * square
    start = math.sqrt(source) / (1 - limit.kernel_gain)  # the root lies below
    cuts = (*act.kinks, *panels.edges(act, start**2).tolist())
    scale, before = start, math.inf
    for _ in range(_MAX_STEPS):
        if abs(scale - before) <= _ENOUGH * scale:
            break
        mean = gaussian.expectation(act.in_float64, scale, cuts)
        spread = gaussian.expectation(lambda x, c=mean: (act.in_float64(x) - c) ** 2, scale, cuts)
        before, scale = scale, math.sqrt(limit.s_w**2 * spread + source)
    mean = gaussian.expectation(act.in_float64, scale, cuts)
    if abs(mean) <= _NO_MEAN:
        return limit
    return replace(limit, activation=Centred(act, mean))
