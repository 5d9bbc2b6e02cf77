"""How far from homogeneous a saturating activation is: what makes nonnegative weights contract."""

from __future__ import annotations

import functools

import numpy as np

from deqzoo.activation.contract import Activation
from deqzoo.activation.learnable import Learnable

_PANELS = 20_000
_LEAST, _FARTHEST = 1e-9, 1e6
_ROUNDING = 1e-12  # by which the bound is made larger


@functools.lru_cache(maxsize=256)
def subhomogeneity(activation: Activation, c: float) -> float:
    """An upper bound of μ = sup_{x >= 0} x φ'(x)/(φ(x) + c), below 1 where φ(0) + c > 0.

    For a φ that declares ``saturation`` M: it does not fall and is concave on [0, ∞), and φ <= M.
    On a panel [l, r] therefore x φ'(x)/(φ(x) + c) <= r φ'(l)/(φ(l) + c), and from any X on

        x φ'(x) <= φ(x) - φ(X) + X φ'(X),  so the quotient is at most 1 - k/(M + c),
        k = φ(X) + c - X φ'(X) >= φ(0) + c.

    The largest of all panels up to X, geometric ones from 1e-9 on, and of that tail is returned,
    made larger by 1e-12; of X the best is taken.

    Args:
        activation: φ.
        c: what is added to φ.

    Raises:
        ValueError: φ is learnable, declares no saturation, or φ(0) + c is not positive.

    References:
        Sittoni and Tudisco, "Subhomogeneous Deep Equilibrium Models", arXiv 2403.00720. The bound:
        deqzoo.

    Example:
        >>> import activations
        >>> from deqzoo.activation.subhomogeneity import subhomogeneity
        >>> round(subhomogeneity(activations.get("tanh"), 1.01), 3)
        0.277
    """
    if isinstance(activation, Learnable):
        raise ValueError(
            f"expected an activation without parameters, got {activation}: the bound is proved of "
            "one function, panel by panel; use tanh, sigmoid, erf or softsign"
        )
    top = activation.saturation
    if top is None:
        raise ValueError(
            f"{activation} declares no saturation: expected one that is bounded, concave and not "
            "falling on [0, ∞), such as tanh, sigmoid, erf or softsign"
        )
    x = np.concatenate([[0.0], np.geomspace(_LEAST, _FARTHEST, _PANELS)])
    x = np.unique(np.concatenate([x, [kink for kink in activation.kinks if kink > 0]]))
    value, slope = activation.in_float64(x) + c, _from_the_right(activation, x)
    if not (np.isfinite(c) and value[0] > 0):
        raise ValueError(
            f"φ(0) + c must be > 0 for states to stay positive, got c = {c:g} with φ(0) = "
            f"{value[0] - c:g} of {activation}: use a larger c"
        )
    panels = np.maximum.accumulate(x[1:] * slope[:-1] / value[:-1])
    tails = 1 - (value - x * slope) / (top + c)
    ends = np.maximum(panels, tails[1:])
    return float(np.min(ends) + _ROUNDING)


def _from_the_right(activation: Activation, x: np.ndarray) -> np.ndarray:
    """φ' where the panels begin, from above: φ' never grows, so the left of a kink has more."""
    slope = np.maximum(activation.slope_in_float64(x), 0.0)
    before = activation.slope_in_float64(np.nextafter(x, -np.inf))
    return np.maximum(slope, np.where(x > 0, before, activation.lipschitz))
