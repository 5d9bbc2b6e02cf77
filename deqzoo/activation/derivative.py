"""Whether φ' is the derivative of φ: one written by hand, or stopped, may be that of another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deqzoo.activation import gaussian

Sample = Callable[[np.ndarray], np.ndarray]  # points -> φ, φ' and φ'' there, stacked
_NEAR = 20.0
_PANELS = 800
_NODES = 20
_WORST = 8  # panels that are looked at more closely
_DEPTH = 3  # times: a steep φ, or one with a kink, has panels that are too long at first


def mismatch(sample: Sample, kinks: tuple[float, ...]) -> tuple[float, float]:
    """The largest |φ(b) - φ(a) - ∫ φ'| over panels [a, b] of [-20, 20], and where.

    Returns:
        The middle of the panel, and the size.
    """
    ends = np.linspace(-_NEAR, _NEAR, _PANELS + 1) + 1e-7
    ends = np.union1d(ends, [kink for kink in kinks if abs(kink) < _NEAR])
    errors = _errors(sample, ends)
    for i in np.argsort(np.abs(errors))[-_WORST:].tolist():
        errors[i] = _refined(sample, float(ends[i]), float(ends[i + 1]), float(errors[i]), _DEPTH)
    worst = int(np.argmax(np.abs(errors)))
    return float(ends[worst] + ends[worst + 1]) / 2, float(np.abs(errors[worst]))


def _errors(sample: Sample, ends: np.ndarray) -> np.ndarray:
    nodes, weights = gaussian.legendre(_NODES)
    half = np.diff(ends)[:, None] / 2
    slopes = sample(ends[:-1, None] + half * (1 + nodes))[1]
    return np.diff(sample(ends)[0]) - (half * slopes) @ weights


def _refined(sample: Sample, left: float, right: float, error: float, depth: int) -> float:
    """The error of the panel where its integral is taken over many short ones."""
    ends = np.linspace(left, right, _PANELS + 1)
    if depth == 0 or abs(error) < 1e-13 or np.any(np.diff(ends) <= 0):
        return error
    errors = _errors(sample, ends)
    worst = int(np.argmax(np.abs(errors)))
    error = float(errors[worst])
    errors[worst] = _refined(sample, ends[worst], ends[worst + 1], error, depth - 1)
    return float(np.sum(errors))


def quotients(sample: Sample, points: np.ndarray) -> tuple[float, float]:
    """The least and the largest (φ(b) - φ(a))/(b - a) of neighbouring points, less what rounds."""
    x = np.unique(points)
    values, gaps = sample(x)[0], np.diff(x)
    size = np.maximum(np.abs(values[1:]), np.abs(values[:-1]))
    slopes = np.diff(values) / gaps
    doubt = 8 * np.finfo(float).eps * (size + np.abs(slopes) * np.abs(x[1:])) / gaps
    return float(np.min(slopes + doubt)), float(np.max(slopes - doubt))
