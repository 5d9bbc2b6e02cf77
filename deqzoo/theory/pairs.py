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

from deqzoo.activation import Activation
from deqzoo.theory.angle_table import AngleTable, tabulate
from deqzoo.theory.hermite import coefficient_table, hermite_series
from deqzoo.theory.inputs import Inputs
from deqzoo.theory.variances import solve_variances

_MAX_STEPS = 50
_ENOUGH = 1e-13

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
        truncation: a bound (series) or an estimate (table) of what approximating the dual costs,
            relative to the largest variance.
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


Block = tuple[Inputs, Float[np.ndarray, " n"]]  # inputs with their variances
Solve = Callable[[Block, Block], Pairs]


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
    defect = Defect(variance.residual, 0.0, 0, "table in the angle between inputs")

    def solve_angles(angles: np.ndarray) -> np.ndarray:
        source = s_u**2 * square * np.cos(angles[1:])
        c, steps = _newton(activation, source, s_w, q)
        K, K_dot = _dual(activation, c, q)
        defect.add(float(np.max(np.abs(c - s_w**2 * K - source))) / q, 0.0, steps)
        return np.concatenate([pinned[:, None], [K, K_dot]], axis=1)

    table = tabulate(solve_angles)
    defect.add(0.0, table.error, 0)
    return table, defect


def _newton(activation: Activation, source: np.ndarray, s_w: float, q: float):
    c, step = np.clip(source, -q, q), 0
    while step < _MAX_STEPS:
        step += 1
        K, K_dot = _dual(activation, c, q)
        change = (s_w**2 * K + source - c) / (1 - s_w**2 * K_dot)
        c = np.clip(c + change, -q, q)
        if np.max(np.abs(change)) <= _ENOUGH * q:
            break
    return c, step


def _dual(activation: Activation, c: np.ndarray, q: float) -> tuple[np.ndarray, np.ndarray]:
    variances = np.full_like(c, q)
    with jax.enable_x64(True):
        return (
            np.asarray(activation.dual_covariance(c, variances, variances)),
            np.asarray(activation.dual_slope(c, variances, variances)),
        )


def of_any_norm(
    activation: Activation, s_w: float, s_u: float, q: Float[np.ndarray, " n"]
) -> tuple[Solve, Defect]:
    """Inputs of different norms: the closed dual entry by entry, or a Hermite series.

    Args:
        activation: φ.
        s_w: weight scale.
        s_u: input scale.
        q: every variance that will be asked for.
    """
    closed = type(activation).dual_covariance is not Activation.dual_covariance
    if closed:
        degree, tails = 0, (0.0, 0.0)
        defect = Defect(0.0, 0.0, 0, "closed form of the dual")
    else:
        low, high = (hermite_series(activation, float(v)) for v in (max(q.min(), 1e-6), q.max()))
        degree = max(low.degree, high.degree)
        tails = tuple(max(getattr(low, t), getattr(high, t)) for t in ("tail", "slope_tail"))
        defect = Defect(0.0, 0.0, 0, f"Hermite series of degree {degree}")

    def terms(block: Block) -> np.ndarray:
        return (
            np.zeros((len(block[1]), 1))
            if closed
            else coefficient_table(activation, block[1], degree)
        )

    def solve(first: Block, second: Block) -> Pairs:
        products = first[0].products(second[0])
        with jax.enable_x64(True):
            found = _solve_block(
                activation if closed else None,
                s_u**2 * products,
                s_w**2,
                first[1][:, None],
                second[1][None, :],
                terms(first),
                terms(second),
                first is second,
            )
            K, K_dot, C, residual, correlation, steps = (np.asarray(value) for value in found)
        truncation = 2 * correlation ** (degree + 1) * tails[0] / q.max() if not closed else 0.0
        defect.add(float(residual), float(truncation), int(steps))
        return Pairs(K, K_dot, C, products)

    return solve, defect


@functools.partial(jax.jit, static_argnums=(0, 7))
def _solve_block(activation: Activation | None, source, square, q1, q2, left, right, own: bool):
    """Newton's method on all entries of a block at once; ``own``: its diagonal is known already."""
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
    correlation = jnp.abs(c) / safe * (1 - own * jnp.eye(c.shape[0], c.shape[1]))
    return K, K_dot, c, residual, jnp.max(correlation), steps


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
