"""Where φ, φ' and φ'' jump: cells in which they change unlike beside, enclosed ever closer."""

from __future__ import annotations

import numpy as np

from deqzoo.activation.samples import Samples, rounding

_JUMP = 1e-6  # the share of its size by which a function must change over one rounding to jump
_SUSPECTS = 24  # cells of every part
_ROUNDS = 6  # 4,000 / 200^6 = 6e-11, far below any bend
_LARGEST = 1e5  # beyond, one rounding of x is a step in which a fast φ changes


def jumps(samples: Samples) -> list[list[float]]:
    """Of φ, of φ' and of φ'', in cells of the grid, at its centres and at single points."""
    left, right = _suspects(samples)
    for _ in range(_ROUNDS):
        inside = np.linspace(left, right, 201, axis=-1)
        largest = np.argmax(np.abs(np.diff(_diagonal(samples, inside))), axis=-1)[..., None]
        left, right = (np.take_along_axis(inside, largest + k, -1)[..., 0] for k in (0, 1))
    single = np.tile(samples.single, (3, 1))
    side = 1e-12 * np.maximum(1, np.abs(single))
    left = np.concatenate([left, single - side, single], axis=1)
    right = np.concatenate([right, single, single + side], axis=1)
    ends = _diagonal(samples, np.stack([left, right], axis=-1))
    change, size = np.abs(ends[..., 1] - ends[..., 0]), np.max(np.abs(ends), axis=-1)
    size[1:] = np.max(np.abs(samples.values[0][1:]), axis=1)[:, None]
    jump = change > _JUMP * np.maximum(1, size)
    return [sorted({_shown(x) for x in row[at]}) for row, at in zip(left, jump, strict=True)]


def _shown(x: float) -> float:
    return round(float(x), 6) + 0.0


def _suspects(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the cells where φ, φ' and φ'' change unlike in both neighbours, three rows."""
    cells = [
        _cells(x, values)
        for x, values in zip(samples.parts, samples.values, strict=True)
        if np.min(np.abs(x)) < _LARGEST
    ]
    centres = np.array([*samples.activation.kinks, *samples.constants])
    beside = np.array([1e4 * rounding(centre) for centre in centres])
    cells.append(np.tile(np.stack([centres - beside, centres + beside]), (3, 1, 1)))
    left, right = np.moveaxis(np.concatenate(cells, axis=-1), 1, 0)
    return left, right


def _cells(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(3, 2, suspects): the two ends of the most suspicious cells of one part."""
    steps = np.diff(values)
    excess = np.abs(steps[:, 1:-1] - (steps[:, :-2] + steps[:, 2:]) / 2)
    excess[:, np.abs(x[2:-1]) > _LARGEST] = 0
    cells = 1 + np.argsort(excess, axis=1)[:, -_SUSPECTS:]
    return np.stack([x[cells], x[cells + 1]], axis=1)


def _diagonal(samples: Samples, points: np.ndarray) -> np.ndarray:
    """φ at points[0], φ' at points[1], φ'' at points[2]; of derivatives at kinks the right ones.

    What JAX makes of ``sign`` or ``abs`` in a kink itself need be neither.
    """
    kinks = np.array(samples.activation.kinks)
    beside = points + np.isin(points, kinks) * 4 * np.spacing(np.maximum(1, np.abs(points)))
    return samples(np.stack([points[0], *beside[1:]]))[range(3), range(3)]
