"""The values that an activation takes once, on its rising end."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from deqzoo.activation.contract import Activation
from deqzoo.activation.learnable import Learnable

_NEAR, _POINTS = 20.0, 40_001
_FAR, _FAR_POINTS = 1e3, 400
_ROUNDING = 1e-12


class Branch(NamedTuple):
    """Where φ is one-to-one: φ(y) in (low, high) has one y, and φ rises there.

    So max(φ, low) does not fall, and max(φ(y), low) = max(z, low) wherever z = φ(y).

    Attributes:
        low: the largest value that φ takes up to where it falls for the last time.
        high: φ at the end of the samples.
    """

    low: float
    high: float


def branch(activation: Activation) -> Branch:
    """The rising end of φ, measured between -1000 and 1000: (0, 1000) for relu and gelu.

    Raises:
        ValueError: φ is learned, or takes no value once, as absolute and sin.

    Example:
        >>> import activations
        >>> from deqzoo.identification import branch
        >>> branch(activations.get("gelu"))
        Branch(low=0.0, high=1000.0)
    """
    if isinstance(activation, Learnable):
        raise ValueError(f"{activation} is learnable: freeze it first")
    far = np.geomspace(_NEAR, _FAR, _FAR_POINTS)
    near = np.linspace(-_NEAR, _NEAR, _POINTS)
    x = np.unique(np.concatenate([-far, near, activation.kinks, far]))
    values = activation.in_float64(x)
    falls = np.flatnonzero(np.diff(values) < -_ROUNDING * np.maximum(1, np.abs(values[1:])))
    low = float(np.max(values[: falls[-1] + 1])) if len(falls) else float(values[0])
    high = float(values[-1])
    if not high > low + _ROUNDING:
        raise ValueError(
            f"{activation} takes no value once, on a rising end: take a monotone activation, or "
            "one that rises at last, such as gelu"
        )
    return Branch(low + 0.0, high)
