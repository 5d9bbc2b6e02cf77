"""The covariance fixed point of every pair of inputs.

C_ij = s_w² E φ(u)φ(v) + s_u² x_i·x_j/d, (u, v) ~ N(0, [[q_i, C_ij], [C_ij, q_j]]), solved by
Newton's method, whose derivative 1 - s_w² E φ'(u)φ'(v) is at least 1 - (s_w L)² > 0.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from deqzoo.activation import panels
from deqzoo.activation.contract import Activation
from deqzoo.theory.angle_table import AngleTable, tabulate
from deqzoo.theory.hermite import coefficient_table, hermite_series
from deqzoo.theory.inputs import Inputs
from deqzoo.theory.variances import Variances, solve_variances

_MAX_STEPS = 50
_ENOUGH = 1e-13
_NEGLIGIBLE = 1e-11  # truncation below which an entry of the series is good enough
_EXACT_ENTRIES = 10_000  # of a matrix are solved one by one, fewer where φ needs more panels
_DEGREE, _SERIES = 400, 0.9  # 0.9^400 is 5e-19

Matrix = Float[np.ndarray, "n m"]


class Pairs(NamedTuple):
    """Of a block of pairs: E φ(u)φ(v), E φ'(u)φ'(v), C and x·x'/d, each (n, m)."""

    K: Matrix
    K_dot: Matrix
    C: Matrix
    products: Matrix


@dataclass
class Defect:
    """What the solution of the pairs still lacks.

    Attributes:
        residual: the largest defect of a covariance equation, relative to √(q_i q_j).
        truncation: what approximating the duals costs, K relative to the largest variance and
            K_dot as it is: of a series a bound on the terms left out, of a table an estimate.
        steps: the most Newton steps any block took.
        method: how the dual was evaluated.
    """

    residual: float
    truncation: float
    steps: int
    method: str

    def add(self, residual: float, truncation: float, steps: int) -> None:
        """Keep the worst."""
        self.residual = max(self.residual, residual)
        self.truncation = max(self.truncation, truncation)
        self.steps = max(self.steps, steps)


Block = tuple[Inputs, Variances]
Solve = Callable[[Block, Block], Pairs]
Dual = Callable[[np.ndarray], list[np.ndarray]]  # of K and K_dot


def on_a_sphere(
    activation: Activation, s_w: float, s_u: float, square: float
) -> tuple[Solve, Defect]:
    """Inputs of one norm: every kernel is a function of the angle, solved once on a table.

    Args:
        activation: φ.
        s_w: weight scale.
        s_u: input scale.
        square: ‖x‖²/d of all inputs.
    """
    table, defect = _angle_table(activation, s_w, s_u, square)

    def solve(first: Block, second: Block) -> Pairs:
        rows, columns = first[0], second[0]
        angles = rows.angles(columns)
        K, K_dot = table(angles)
        C = s_w**2 * K + s_u**2 * square * np.cos(angles)
        return Pairs(K, K_dot, C, rows.products(columns))

    return solve, replace(defect)


@functools.lru_cache(maxsize=64)
def _angle_table(
    activation: Activation, s_w: float, s_u: float, square: float
) -> tuple[AngleTable, Defect]:
    variance = solve_variances(activation, np.array([square]), s_w, s_u)
    q = float(variance.q[0])
    pinned = np.array([variance.square[0], variance.slope_square[0]])
    defect = Defect(variance.residual, variance.truncation, 0, "table in the angle between inputs")

    dual = functools.partial(_dual, activation, q1=q, q2=q)
    if not has_closed_dual(activation):
        dual, error = _tabulated_dual(activation, q, pinned)
        defect.add(0.0, error, 0)

    def solve_angles(angles: np.ndarray) -> np.ndarray:
        source = s_u**2 * square * np.cos(angles)
        c, steps = _newton(dual, source, s_w, q)
        K, K_dot = dual(c)
        defect.add(float(np.max(np.abs(c - s_w**2 * K - source))) / q, 0.0, steps)
        return np.where(angles == 0, pinned[:, None], [K, K_dot])

    table = tabulate(solve_angles)
    defect.add(0.0, table.error, 0)
    return table, defect


def _tabulated_dual(activation: Activation, q: float, pinned: np.ndarray) -> tuple[Dual, float]:
    """The dual at one variance as a table in arccos(c/q), and the error of the table.

    Away from ±1 the Hermite series gives it to rounding, at a fraction of the time.
    """
    series = hermite_series(activation, q, _DEGREE)

    def at(angles: np.ndarray) -> np.ndarray:
        R = np.cos(angles)
        values = np.array([series.dual(R), series.dual_slope(R)])
        outer = np.abs(R) > _SERIES
        values[:, outer] = _dual(activation, q * R[outer], q, q)
        return np.where(angles == 0, pinned[:, None], values)

    table = tabulate(at)
    return lambda c: table(np.arccos(np.clip(c / q, -1, 1))), table.error


def _newton(dual: Dual, source: np.ndarray, s_w: float, size):
    """C of pairs one by one, √(q1 q2) = ``size``, and the steps it took."""
    c, step = np.clip(source, -size, size), 0
    while step < _MAX_STEPS:
        step += 1
        K, K_dot = dual(c)
        change = (s_w**2 * K + source - c) / (1 - s_w**2 * K_dot)
        c = np.clip(c + change, -size, size)
        if np.all(np.abs(change) <= _ENOUGH * size):
            break
    return c, step


def _dual(activation: Activation, c: np.ndarray, q1, q2) -> list[np.ndarray]:
    q1, q2 = np.broadcast_to(q1, c.shape), np.broadcast_to(q2, c.shape)
    with jax.enable_x64(True):
        return [
            np.asarray(activation.dual_covariance(c, q1, q2)),
            np.asarray(activation.dual_slope(c, q1, q2)),
        ]


def has_closed_dual(activation: Activation) -> bool:
    """Whether the plug-in brings its dual along."""
    return type(activation).dual_covariance is not Activation.dual_covariance


def of_any_norm(
    activation: Activation, s_w: float, s_u: float, q: Float[np.ndarray, " n"]
) -> tuple[Solve, Defect]:
    """Inputs of different norms: the closed dual entry by entry, or a Hermite series.

    Entries that the series cannot give, of nearly parallel inputs under a φ with kinks or of a zero
    input, are solved with the exact dual as long as they are few; the others count in
    ``truncation``.

    Args:
        activation: φ.
        s_w: weight scale.
        s_u: input scale.
        q: every variance that will be asked for.
    """
    if has_closed_dual(activation):
        return _closed_pairs(activation, s_w, s_u)
    return _series_pairs(activation, s_w, s_u, q)


def _closed_pairs(activation: Activation, s_w: float, s_u: float) -> tuple[Solve, Defect]:
    defect = Defect(0.0, 0.0, 0, "closed form of the dual")

    def solve(first: Block, second: Block) -> Pairs:
        (rows, q1), (columns, q2) = first, second
        products, nothing = rows.products(columns), np.zeros((1, 1))
        block, residual, _, steps = _solve_block(
            activation, s_u**2 * products, s_w**2, q1.q, q2.q, nothing, nothing
        )
        defect.add(residual, 0.0, steps)
        return Pairs(*block, products)

    return solve, defect


def _series_pairs(
    activation: Activation, s_w: float, s_u: float, q: np.ndarray
) -> tuple[Solve, Defect]:
    ends = (max(float(q.min()), 1e-6), float(q.max()))
    degree = max(hermite_series(activation, end).degree for end in ends)
    defect = Defect(0.0, 0.0, 0, f"Hermite series of degree {degree}")
    growth = 1 / (1 - (s_w * activation.lipschitz) ** 2)  # of an error of the dual into K
    room = _EXACT_ENTRIES // (1 + len(panels.edges(activation, ends[1])))

    def solve(first: Block, second: Block) -> Pairs:
        nonlocal room
        (rows, q1), (columns, q2) = first, second
        products = rows.products(columns)
        source = s_u**2 * products
        left, right = (coefficient_table(activation, each.q, degree) for each in (q1, q2))
        block, residual, R, steps = _solve_block(None, source, s_w**2, q1.q, q2.q, left, right)
        if first is second:
            np.fill_diagonal(R, 0.0)  # known from one-dimensional quadrature
        lost = growth * _left_out(R, degree, (q1, left), (q2, right)) / q.max()
        lost[np.outer(q1.q, q2.q) == 0] = np.inf
        i, j = np.nonzero(lost > _NEGLIGIBLE)
        if len(i) <= room:
            room -= len(i)
            exact, more = _exact_entries(activation, source[i, j], s_w, q1.q[i], q2.q[j])
            for matrix, values in zip(block, exact, strict=True):
                matrix[i, j] = values
            lost[i, j], steps = 0.0, max(steps, more)
        defect.add(residual, float(np.max(lost)), steps)
        return Pairs(*block, products)

    return solve, defect


def _left_out(R: Matrix, degree: int, *sides: tuple[Variances, np.ndarray]) -> Matrix:
    """What the series leaves out of K, or q times that of K_dot if it is more.

    By Cauchy-Schwarz at most |R|^(N+1) √(T_i T_j) with the Parseval tails T of both inputs.
    """
    k, tails, slope_tails = np.arange(degree + 1), [], []
    for variances, coefficients in sides:
        safe = np.where(variances.q > 0, variances.q, 1)
        terms = coefficients**2
        tails.append(np.maximum(variances.square - terms.sum(axis=1), 0))
        slope_tails.append(np.maximum(variances.slope_square - terms @ k / safe, 0))
    largest = max(float(variances.q.max()) for variances, _ in sides)
    of_K, of_K_dot = (np.sqrt(np.outer(*pair)) for pair in (tails, slope_tails))
    return np.maximum(R ** (degree + 1) * of_K, largest * R**degree * of_K_dot)


def _exact_entries(activation: Activation, source: np.ndarray, s_w: float, q1, q2):
    """(K, K_dot, C) of single pairs."""
    if not len(source):
        return (source, source, source), 0
    dual = functools.partial(_dual, activation, q1=q1, q2=q2)
    c, steps = _newton(dual, source, s_w, np.sqrt(q1 * q2))
    return (*dual(c), c), steps


def _solve_block(activation: Activation | None, source, square, q1, q2, left, right):
    """K, K_dot and C of a block; its residual, |R| and the steps; without φ by its series."""
    with jax.enable_x64(True):
        found = _iterate_block(activation, source, square, q1[:, None], q2[None], left, right)
        K, K_dot, C, residual, R, steps = (np.array(value) for value in found)
    return (K, K_dot, C), float(residual), R, int(steps)


@functools.partial(jax.jit, static_argnums=0)
def _iterate_block(activation: Activation | None, source, square, q1, q2, left, right):
    """Newton's method on all entries of a block at once."""
    size = jnp.sqrt(q1 * q2)
    dual = (
        functools.partial(_series, q1=q1, q2=q2, left=left, right=right)
        if activation is None
        else lambda c: _closed(activation, c, q1, q2)
    )

    def newton(carry):
        c, _, step = carry
        K, K_dot = dual(c)
        change = (square * K + source - c) / (1 - square * K_dot)
        c = jnp.clip(c + change, -size, size)
        return c, jnp.max(jnp.abs(change) / jnp.where(size > 0, size, 1)), step + 1

    def unfinished(carry):
        return (carry[1] > _ENOUGH) & (carry[2] < _MAX_STEPS)

    start = (jnp.clip(source, -size, size), jnp.inf, 0)
    c, _, steps = lax.while_loop(unfinished, newton, start)
    K, K_dot = dual(c)
    safe = jnp.where(size > 0, size, 1)
    residual = jnp.max(jnp.abs(c - square * K - source) / safe)
    return K, K_dot, c, residual, jnp.abs(c) / safe, steps


def _closed(activation: Activation, c, q1, q2):
    q1, q2 = jnp.broadcast_to(q1, c.shape), jnp.broadcast_to(q2, c.shape)
    return activation.dual_covariance(c, q1, q2), activation.dual_slope(c, q1, q2)


def _series(c, *, q1, q2, left, right):
    """Σ a_k(q1) a_k(q2) R^k and its derivative in c, by Horner's rule."""
    size = jnp.sqrt(q1 * q2)
    scale = jnp.where(size > 0, size, 1)
    R = jnp.where(size > 0, c / scale, 0)

    def step(carry, row):
        value, slope = carry
        return (value * R + row[0][:, None] * row[1][None, :], slope * R + value), None

    start = (jnp.zeros_like(c), jnp.zeros_like(c))
    (value, slope), _ = lax.scan(step, start, (left.T[::-1], right.T[::-1]))
    return value, slope / scale
