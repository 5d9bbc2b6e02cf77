"""Where φ varies: panels on which twenty nodes resolve φ', found by bisection on the host.

A Gaussian mean needs fine panels where φ bends, and there alone: tanh of a variance of 10⁶ is a
step with a narrow flank, sin(20x) turns everywhere.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float

from deqzoo.activation import gaussian

if TYPE_CHECKING:
    from deqzoo.activation.contract import Activation

NODES = 20
UNIFORM = 1.5  # panel width in units of the deviation that every mean has anyway
SMALLEST = 1.5  # deviation up to which all variances share their panels
_REACH = 13.0  # deviations; the density is below 1e-37 there
_ENOUGH = 1e-7  # of L, in the last coefficients of φ'; products of two are resolved to its square
_MOST, _LEVELS, _MULTIPLE = 512, 40, 16
_BLOCK = 64


def edges(activation: Activation, largest: float) -> Float[np.ndarray, " edges"]:
    """Where panels of φ(u) must end besides kinks and every 1.5 deviations, E u² <= ``largest``.

    Increasing, a multiple of 16 of them so that few programs are compiled; none where 1.5
    deviations are fine enough. At most 512: a φ that turns more often is not resolved.
    """
    doublings = math.ceil(math.log2(max(math.sqrt(largest) / SMALLEST, 1)))
    return _edges(activation, SMALLEST * 2**doublings)


def resolves(activation: Activation, largest: float) -> bool:
    """Whether φ' of deviations up to that of ``largest`` is resolved on the panels of ``edges``."""
    reach = _REACH * math.sqrt(largest)
    own = edges(activation, largest)
    even = np.arange(-reach, reach, UNIFORM * math.sqrt(largest))
    grid = _with_kinks(activation, np.union1d(even, own) if len(own) else even)
    return bool(np.all(_resolved(activation, grid[:-1], grid[1:])))


def outwards(activation: Activation, reach: float) -> Float[np.ndarray, " stops"]:
    """Where panels of ∫φ from 0 end: at kinks, at edges, and doubling from the first bend on."""
    grid = np.union1d(_outwards(activation, reach), edges(activation, 1.0))
    return _with_kinks(activation, grid)


@functools.lru_cache(maxsize=256)
def _edges(activation: Activation, deviation: float) -> Float[np.ndarray, " edges"]:
    reach = _REACH * deviation
    found = _with_kinks(activation, _outwards(activation, reach))
    if _is_straight(activation, found) or _is_resolved_anyway(activation, deviation):
        return np.empty(0)
    for _ in range(_LEVELS):
        coarse = ~_resolved(activation, found[:-1], found[1:])
        if not np.any(coarse) or len(found) + np.sum(coarse) > _MOST:
            break
        middles = (found[:-1] + found[1:])[coarse] / 2
        found = np.union1d(found, middles)
    missing = -len(found) % _MULTIPLE
    return np.append(found, np.full(missing, found[-1]))


def _is_straight(activation: Activation, grid: np.ndarray) -> bool:
    """Whether φ is a line on every panel."""
    slopes = _slopes(activation, grid[:-1], grid[1:])
    return bool(np.max(np.ptp(slopes, axis=1)) <= _ENOUGH**2 * activation.lipschitz)


def _is_resolved_anyway(activation: Activation, deviation: float) -> bool:
    """Whether panels of 1.5 deviations see every bend and resolve it, wherever they begin."""
    reach, width = _REACH * deviation, UNIFORM * deviation
    starts = (-reach, width / 2 - reach)
    grids = (_with_kinks(activation, np.arange(start, reach, width)) for start in starts)
    return width <= 4 * _bend(activation) and all(
        np.all(_resolved(activation, grid[:-1], grid[1:])) for grid in grids
    )


def _bend(activation: Activation) -> float:
    """L/sup |φ''|, over which φ' can change by its size; 1 where φ' jumps."""
    if activation.curvature == 0:
        return math.inf
    return activation.lipschitz / activation.curvature or 1.0


def _outwards(activation: Activation, reach: float) -> np.ndarray:
    """0 and panels that double in width, from the first bend on."""
    steps = [min(_bend(activation), reach)]
    while steps[-1] < reach:
        steps.append(min(2 * steps[-1], reach))
    return np.concatenate([-np.array(steps[::-1]), [0.0], steps])


def _with_kinks(activation: Activation, grid: np.ndarray) -> np.ndarray:
    kinks = np.array(activation.kinks, float)
    return np.union1d(grid, kinks[np.abs(kinks) < grid[-1]])


def _slopes(activation: Activation, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """φ' at the nodes of every panel; in blocks of one shape, for which φ is compiled once."""
    points, _ = gaussian.legendre(NODES)
    x = left[:, None] + (right - left)[:, None] / 2 * (1 + points)
    padded = np.zeros((-(-len(x) // _BLOCK) * _BLOCK, NODES))
    padded[: len(x)] = x
    with jax.ensure_compile_time_eval():
        blocks = [activation.slope_in_float64(block) for block in padded.reshape(-1, _BLOCK, NODES)]
    return np.concatenate(blocks)[: len(x)]


def _resolved(activation: Activation, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Whether the Legendre coefficients of φ' on each panel have died out."""
    points, weights = gaussian.legendre(NODES)
    degrees = np.arange(NODES - 2, NODES)
    basis = np.polynomial.legendre.legvander(points, NODES - 1)[:, degrees]
    last = _slopes(activation, left, right) @ (weights[:, None] * basis) * (degrees + 0.5)
    return np.max(np.abs(last), axis=1) <= _ENOUGH * activation.lipschitz
