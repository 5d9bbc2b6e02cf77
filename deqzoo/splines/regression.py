"""Regression in one variable with few knots under a bound of the slopes, solved exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Float

from deqzoo.activation.piecewise_linear import PiecewiseLinear
from deqzoo.settings import In, fitted
from deqzoo.splines.interior_point import interior_point
from deqzoo.splines.sparsest import points, sparsest

_ACTIVE = 1e-5  # share of its bound by which a multiplier may miss it and count as at it
_SAME = 1e-7  # slopes of close points, which rounding of z tells apart
_REFINEMENTS = 4  # of linear equations that are badly conditioned


@dataclass(frozen=True)
class Regression:
    """A solution of min ½‖z - y‖² + λ‖Lz‖₁ with slopes in [-L̄, L̄].

    Attributes:
        values: z.
        spline: its interpolant of fewest knots.
        optimality: the largest violation of the conditions of optimality, relative to max |y|.
    """

    values: Float[np.ndarray, " points"]
    spline: PiecewiseLinear
    optimality: float


def regression(
    x: Float[np.ndarray, " points"],
    y: Float[np.ndarray, " points"],
    weight: float,
    lipschitz: float = math.inf,
) -> Regression:
    """Min over f of ½ Σ (f(x_i) - y_i)² + λ ∫ |f''| with |f'| <= L̄.

    The values z_i = f(x_i) solve a convex quadratic program, (Lz)_i being the jump of the slope at
    x_i: a method of interior points finds which jumps are 0 and which slopes are at L̄, then the
    linear equations of these give z to rounding. What they leave of the conditions of optimality is
    measured, not supposed.

    Args:
        x: increasing, at least three.
        y: what is to be approached.
        weight: λ > 0; from ``largest_weight`` on f is the line of least squares.
        lipschitz: L̄ > 0.

    Raises:
        ValueError: other points or settings.

    References:
        Aziznejad, Debarre and Unser, "Sparsest Univariate Learning Models Under Lipschitz
        Constraint", arXiv 2112.13542: problem and existence of such solutions. How it is solved
        here: deqzoo.

    Example:
        >>> import numpy as np
        >>> from deqzoo.splines import regression
        >>> x = np.linspace(-1, 1, 21)
        >>> found = regression(x, np.abs(x), weight=0.01, lipschitz=0.5)
        >>> found.spline.lipschitz <= 0.5 + 1e-9, found.optimality < 1e-10
        (True, True)
    """
    x, y = points(x, y)
    weight = fitted("weight", weight, Annotated[float, In("(0, inf)")])
    bound = fitted("lipschitz", lipschitz, Annotated[float, In("(0, inf]")])
    D, L = _differences(x)
    mu, nu = _multipliers(y, weight, bound, D, L)
    z, optimality = _polished(y, weight, bound, D, L, mu, nu)
    return Regression(z, sparsest(x, z, _SAME), optimality)


def largest_weight(x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"]) -> float:
    """The λ from which on the solution without a bound is a line: max_m |Σ_{i<m} (x_m - x_i) h_i|.

    h are the residuals of the line of least squares.
    """
    x, y = points(x, y)
    basis = np.stack([np.ones_like(x), x - np.mean(x)], axis=1)
    h = y - basis @ np.linalg.lstsq(basis, y)[0]
    return float(np.max(np.abs(x * np.cumsum(h) - np.cumsum(x * h))))


def _differences(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrices of the slopes and of their jumps."""
    D = np.diff(np.eye(len(x)), axis=0) / np.diff(x)[:, None]
    return D, np.diff(D, axis=0)


def _multipliers(y, weight, bound, D, L) -> tuple[np.ndarray, np.ndarray]:
    """Of the jumps, in [-λ, λ], and of the slopes."""
    M, J = len(y), len(L)
    P = np.zeros((M + J, M + J))
    P[:M, :M] = np.eye(M)
    size = np.linalg.norm(L, axis=1)
    q = np.concatenate([-y, weight * size])
    L = L / size[:, None]
    rows = [np.hstack([L, -np.eye(J)]), np.hstack([-L, -np.eye(J)])]
    limits = [np.zeros(2 * J)]
    if math.isfinite(bound):
        slopes = np.hstack([D, np.zeros((len(D), J))])
        rows += [slopes, -slopes]
        limits += [np.full(2 * len(D), bound)]
    dual = interior_point(P, q, np.vstack(rows), np.concatenate(limits))
    up, down, *rest = np.split(dual, [J, 2 * J, 2 * J + len(D)])
    nu = rest[0] - rest[1] if math.isfinite(bound) else np.zeros(len(D))
    return (up - down) / size, nu


def _polished(y, weight, bound, D, L, mu, nu) -> tuple[np.ndarray, float]:
    """Z of the active conditions, and what is left of those of optimality."""
    bent = np.abs(mu) >= weight * (1 - _ACTIVE)
    steep = np.abs(nu) > _ACTIVE * max(weight, float(np.max(np.abs(nu), initial=0.0)))
    between = steep[1:] & steep[:-1] & ~bent  # of one slope already, with multipliers of choice
    fixed = np.where(bent, np.sign(mu) * weight, np.where(between, mu, 0.0))
    straight = ~bent & ~between
    held = np.vstack([L[straight], D[steep]])
    size = np.linalg.norm(held, axis=1)
    limit = bound if math.isfinite(bound) else 0.0
    goal = np.concatenate([np.zeros(np.sum(straight)), limit * np.sign(nu[steep])])
    free = y - L.T @ fixed
    scaled = held / size[:, None]
    inverse = np.linalg.pinv(scaled @ scaled.T, rcond=1e-14, hermitian=True)
    z, multipliers = free, np.zeros(len(held))
    for _ in range(_REFINEMENTS):
        multipliers = multipliers + inverse @ (scaled @ z - goal / size)
        z = free - scaled.T @ multipliers
    multipliers = multipliers / size
    jumps, slopes = L @ z, D @ z
    jumps[~bent] = 0
    flat, at = np.split(multipliers, [int(np.sum(straight))])
    violations = [
        np.max(np.abs(held @ z - goal), initial=0.0),
        np.max(np.abs(flat) - weight, initial=0.0),
        np.max(-jumps * np.sign(mu), initial=0.0),
        np.max(np.abs(slopes) - bound, initial=0.0),
        np.max(-at * np.sign(nu[steep]), initial=0.0),
    ]
    return z, float(max(violations) / max(1e-300, float(np.max(np.abs(y)))))
