"""Where φ''' jumps, so that φ'' has a corner: second differences that fall no faster than x."""

from __future__ import annotations

import numpy as np

from deqzoo.activation.samples import Samples

_SUSPECTS = 12
_POINTS, _LEVELS = 41, 4  # of a window, each a tenth as wide as the one before
_LEAST = 1e-3  # the share of sup |φ''| per bend by which φ''' must change to jump
_STEADY = (0.3, 3.0)  # a corner's quotient stays, that of a smooth φ'' falls to 0.1, noise rises


def turns(samples: Samples) -> list[float]:
    """Corners of φ'' in [-20, 20] and at the constants of φ."""
    middles, width = _suspects(samples)
    quotients = []
    for _ in range(_LEVELS):
        x = middles[:, None] + width * np.linspace(-1, 1, _POINTS)
        second = np.abs(np.diff(samples(x)[2], 2, axis=1))
        largest = np.argmax(second, axis=1)[:, None]
        middles = np.take_along_axis(x, largest + 1, 1)[:, 0]
        step = 2 * width / (_POINTS - 1)
        quotients.append(np.take_along_axis(second, largest, 1)[:, 0] / step)
        width = 2 * step
    (before, between, last), (least, most) = quotients[-3:], _STEADY
    ratios = np.stack([between, last]) / np.maximum(np.stack([before, between]), 1e-300)
    steady = np.all((least < ratios) & (ratios < most), axis=0)
    bend = np.max(np.abs(samples.values[0][2]))
    found = middles[steady & (last > _LEAST * max(1.0, bend / samples.bend))]
    return sorted({round(float(x), 6) + 0.0 for x in found})


def _suspects(samples: Samples) -> tuple[np.ndarray, float]:
    """Where φ'' bends most, and half the width of windows around."""
    x, values = samples.parts[0], samples.values[0]
    most = np.argsort(np.abs(np.diff(values[2], 2)))[-_SUSPECTS:]
    return np.concatenate([x[most + 1], samples.constants]), 2 * float(x[1] - x[0])
