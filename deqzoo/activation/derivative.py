"""Whether φ' is the derivative of φ: one written by hand, or stopped, may be that of another."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from deqzoo.activation import gaussian
from deqzoo.activation.fact import Fact
from deqzoo.activation.samples import FAR, NEAR, Samples, level

_PANELS = 800  # in [-20, 20], and of a panel that is looked at more closely
_MOST = 4000
_BENDS = 10  # in which twenty nodes resolve φ'
_NODES = 20
_WORST = 8  # panels that are looked at more closely
_DEPTH = 3  # times: a steep φ, or one with a kink, has panels that are too long at first
_TOLERANCE = 1e-11
_ROUNDINGS = 8 * np.finfo(float).eps  # of values far from 0, as a learned φ may have


def derivative_facts(samples: Samples) -> Iterator[Fact]:
    """Values alone against φ', which a custom rule or ``stop_gradient`` may have made another's."""
    activation = samples.activation
    size = max(1.0, activation.lipschitz)
    where, error = mismatch(samples)
    allowed = _TOLERANCE * size + _ROUNDINGS * level(activation)
    shown = f"differs by {error:.3g} near x = {where:.3g}" if error > allowed else "equal"
    yield Fact("φ(b) - φ(a)", "equal to ∫ φ'", shown, shown == "equal")
    low, high = quotients(samples)
    (least, most), slack = activation.slope, 1e-12 * size
    within = least - slack <= low and high <= most + slack
    named = f"in [{least:.15g}, {most:.15g}]"
    yield Fact("difference quotients of φ", named, f"[{low:.6g}, {high:.6g}]", within)


def mismatch(samples: Samples) -> tuple[float, float]:
    """The largest |φ(b) - φ(a) - ∫ φ'| over panels [a, b] of [-1000, 1000], and where.

    Where φ bends so fast that thousands of panels do not reach so far, they end before.

    Returns:
        The middle of the panel, and the size.
    """
    ends = _ends(samples)
    errors = _errors(samples, ends)
    for i in np.argsort(np.abs(errors))[-_WORST:].tolist():
        errors[i] = _refined(samples, float(ends[i]), float(ends[i + 1]), float(errors[i]), _DEPTH)
    worst = int(np.argmax(np.abs(errors)))
    return float(ends[worst] + ends[worst + 1]) / 2, float(np.abs(errors[worst]))


def _ends(samples: Samples) -> np.ndarray:
    """Short panels near 0, ten times longer ones further out, and the kinks."""
    short = min(2 * NEAR / _PANELS, _BENDS * samples.bend)
    long = min(20 * NEAR / _PANELS, _BENDS * samples.bend)
    near = short * np.arange(min(NEAR / short, _MOST))
    far = near[-1] + long * np.arange(1, min(FAR / long, _MOST))
    away = np.concatenate([near, far])
    ends = np.union1d(-away, away) + 1e-7
    cuts = np.array([*samples.activation.kinks, *samples.constants])
    return np.union1d(ends, cuts[np.abs(cuts) < away[-1]])


def _errors(samples: Samples, ends: np.ndarray) -> np.ndarray:
    nodes, weights = gaussian.legendre(_NODES)
    half = np.diff(ends)[:, None] / 2
    slopes = samples(ends[:-1, None] + half * (1 + nodes))[1]
    return np.diff(samples(ends)[0]) - (half * slopes) @ weights


def _refined(samples: Samples, left: float, right: float, error: float, depth: int) -> float:
    """The error of the panel where its integral is taken over many short ones."""
    ends = np.linspace(left, right, _PANELS + 1)
    if depth == 0 or abs(error) < 1e-13 or np.any(np.diff(ends) <= 0):
        return error
    errors = _errors(samples, ends)
    worst = int(np.argmax(np.abs(errors)))
    error = float(errors[worst])
    errors[worst] = _refined(samples, ends[worst], ends[worst + 1], error, depth - 1)
    return float(np.sum(errors))


def quotients(samples: Samples) -> tuple[float, float]:
    """The least and the largest (φ(b) - φ(a))/(b - a) of neighbouring points, less what rounds."""
    x, first = np.unique(np.concatenate(samples.parts), return_index=True)
    values, gaps = np.concatenate(samples.values, axis=1)[0, first], np.diff(x)
    size = np.maximum(np.abs(values[1:]), np.abs(values[:-1]))
    slopes = np.diff(values) / gaps
    doubt = 8 * np.finfo(float).eps * (size + np.abs(slopes) * np.abs(x[1:])) / gaps
    return float(np.min(slopes + doubt)), float(np.max(slopes - doubt))
