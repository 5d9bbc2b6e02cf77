"""Projected FISTA on the matching loss of many rows at once."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.identification.branch import branch


class Descent(NamedTuple):
    """What the descent has come to.

    Attributes:
        weights: the iterate.
        ahead: where the next gradient is taken.
        momentum: t of FISTA.
        steps: taken.
        gradient: norm of the gradient map over that of the gradient at zero; 0 at a minimum alone.
    """

    weights: Float[Array, "rows features"]
    ahead: Float[Array, "rows features"]
    momentum: Float[Array, ""]
    steps: Array
    gradient: Float[Array, ""]


def descend(
    activation: Activation,
    F: Float[np.ndarray, "n features"],
    T: Float[np.ndarray, "n rows"],
    *,
    columns: int = 0,
    limit: float = np.inf,
    rtol: float,
    max_steps: int,
) -> Descent:
    """Minimise mean_i Σ_j Φ(p_j·f_i) - t_ij p_j·f_i, Φ' = max(φ, low), ‖P[:, :columns]‖₂ <= limit.

    Convex, because max(φ, low) does not fall (``branch``; for a monotone φ it is φ), with a
    gradient of slope at most sup φ' λ_max(FᵀF/n): its reciprocal is the step. Momentum is dropped
    where it points uphill. Float64 whatever the global flag.

    Args:
        activation: φ.
        F: a row of features per example.
        T: what φ is to be there.
        columns: of P, those that are kept in the ball; 0 for none.
        limit: its radius.
        rtol: the norm of the gradient map at which it stops, relative to that at zero.
        max_steps: of the descent.

    References:
        Beck and Teboulle, SIAM J. Imaging Sci. 2 (2009); O'Donoghue and Candès, arXiv 1204.3982
        (restart).
    """
    low = -np.inf if activation.is_monotone else branch(activation).low
    steepest = max(activation.slope[1], 0.0) or 1.0
    steepness = steepest * float(np.linalg.norm(F, 2)) ** 2 / len(F) or 1.0
    with jax.enable_x64(True):
        found = _descend(
            activation, columns, F, np.maximum(T, low), low, limit, steepness, rtol, max_steps
        )
        return jax.tree.map(np.asarray, found)


@functools.partial(jax.jit, static_argnames=("activation", "columns"))
def _descend(
    activation: Activation, columns: int, F, T, low, limit, steepness, rtol, max_steps
) -> Descent:
    def gradient(P):
        return (jnp.maximum(activation(F @ P.T), low) - T).T @ F / len(F)

    start = jnp.zeros((T.shape[1], F.shape[1]))
    first = jnp.linalg.norm(gradient(start))

    def step(at: Descent) -> Descent:
        after = at.ahead - gradient(at.ahead) / steepness
        after = _clipped(after, columns, limit)
        moved = at.ahead - after
        uphill = jnp.vdot(moved, after - at.weights) > 0
        momentum = (1 + jnp.sqrt(1 + 4 * at.momentum**2)) / 2
        share = jnp.where(uphill, 0, (at.momentum - 1) / momentum)
        ahead = after + share * (after - at.weights)
        momentum = jnp.where(uphill, 1, momentum)
        gradient_map = steepness * jnp.linalg.norm(moved) / first
        return Descent(after, ahead, momentum, at.steps + 1, gradient_map)

    begin = Descent(start, start, jnp.ones(()), jnp.zeros((), int), jnp.where(first > 0, 1.0, 0.0))
    unfinished = lambda at: (at.gradient > rtol) & (at.steps < max_steps)  # noqa: E731
    return jax.lax.while_loop(unfinished, step, begin)


def _clipped(P: Array, columns: int, limit: Array) -> Array:
    """The nearest with ‖P[:, :columns]‖₂ <= limit."""
    if columns == 0:
        return P
    A = P[:, :columns]
    squares, V = jnp.linalg.eigh(A.T @ A)  # much faster than the singular values themselves
    shrunk = jnp.minimum(1, limit / jnp.sqrt(jnp.maximum(squares, jnp.finfo(A.dtype).tiny)))
    return P.at[:, :columns].set(A @ (V * shrunk[None]) @ V.T)
