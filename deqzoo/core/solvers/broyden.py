"""Broyden's quasi-Newton method with a fixed window of remembered updates."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from deqzoo.core import trees
from deqzoo.core.map.program import Map
from deqzoo.core.solver import Evaluation, Solver
from deqzoo.core.trees import State
from deqzoo.settings import In

__all__ = ["Broyden"]

# Cosine between a step and what the estimate makes of the change of the residual. A smaller one
# would blow the estimate up by more than its inverse: the update is skipped.
_COSINE = 1e-3
_SHORTER = 0.5  # factor on the step after every rejected point in a row


class _Memory(NamedTuple):
    """The last accepted point of every example and its estimate K = I + sum_i left_i right_i^T."""

    z: Float[Array, "batch size"]
    residual: Float[Array, "batch size"]
    window: _Window
    damping: Float[Array, " batch"]


class _Window(NamedTuple):
    """Remembered updates. The newest waits outside: writing before reading spares a copy."""

    left: Float[Array, "history batch size"]
    right: Float[Array, "history batch size"]
    filled: Bool[Array, "history batch"]
    newest: tuple[Float[Array, "batch size"], Float[Array, "batch size"]]
    waits: Bool[Array, " batch"]
    slot: Int[Array, ""]


@dataclass(frozen=True)
class Broyden(Solver):
    """z_{k+1} = z_k + K_k (f(z_k) - z_k) with a low-rank estimate K_k of (I - J)^{-1}.

    K_0 = I, so that the first step is Picard's. With s the last step and y the fall of the residual
    in it, K += (s - K y) (K^T s)^T / (s^T K y) makes K y = s (the "good" update). An update with a
    vanishing denominator is skipped. Memory is 2 ``history`` + 4 states, whatever ``max_steps``;
    when the window is full K starts again from I and the newest update, which takes fewer steps
    than dropping the oldest. A point whose residual exceeds ``restart`` times the best one is
    rejected: the example goes back to its last accepted point, forgets its estimate and takes a
    shorter Picard step. All of this runs for every example by itself and does not depend on scale.

    Attributes:
        history: remembered updates, at least 1.
        restart: allowed growth of the residual over the best one, above 1.

    References:
        Broyden, "A class of methods for solving nonlinear simultaneous equations", Math. Comp. 19
        (1965).
        Gay, "Some convergence properties of Broyden's method", SIAM J. Numer. Anal. 16 (1979).

    Example:
        >>> import jax.numpy as jnp, deqzoo
        >>> fn, z0 = lambda z, x: x - 2 * z, jnp.zeros((1, 2))  # Picard runs away
        >>> solution = deqzoo.fixed_point(fn, z0, 3.0, solver="broyden")
        >>> [round(z, 4) for z in solution.value[0].tolist()]
        [1.0, 1.0]
    """

    history: Annotated[int, In("[1, inf)")] = 10
    restart: Annotated[float, In("(1, inf)")] = 4.0

    chances: ClassVar[int] = 10

    def init(self, fn: Map, z0: State) -> _Memory:
        """K = I."""
        rows = trees.ravel(z0)
        batch, size = rows.shape
        none, empty = jnp.zeros_like(rows), jnp.zeros((self.history, batch, size), rows.dtype)
        filled, waits = jnp.zeros((self.history, batch), bool), jnp.zeros(batch, bool)
        slot, damping = jnp.zeros((), jnp.int32), jnp.ones(batch, rows.dtype)
        window = _Window(empty, empty, filled, (none, none), waits, slot)
        return _Memory(rows, none, window, damping)

    def step(self, evaluation: Evaluation, memory: _Memory) -> tuple[State, _Memory]:
        """Learn from an accepted point and go on from it; go back from a rejected one."""
        usable = jnp.isfinite(evaluation.norm)[:, None]
        z = jnp.where(usable, trees.ravel(evaluation.z), 0)
        residual = jnp.where(usable, trees.ravel(evaluation.residual), 0)
        accepted = evaluation.norm <= self.restart * evaluation.best_norm
        slot = evaluation.step % self.history
        direction, window = _learn(memory, z, residual, accepted, slot)
        damping = jnp.where(accepted, 1, _SHORTER * memory.damping)
        shorter = memory.z + damping[:, None] * memory.residual
        target = jnp.where(accepted[:, None], z + direction, shorter)
        z = jnp.where(accepted[:, None], z, memory.z)
        residual = jnp.where(accepted[:, None], residual, memory.residual)
        return trees.unravel(target, evaluation.z), _Memory(z, residual, window, damping)

    @staticmethod
    def inverse(memory: _Memory, state: State) -> State:
        """K applied to every example: the estimate of (I - J)^{-1} at the last accepted point."""
        window = _written(memory.window)
        rows = _product(window.filled, window.left, window.right, trees.ravel(state))
        return trees.unravel(rows, state)

    @staticmethod
    def inverse_transposed(memory: _Memory, state: State) -> State:
        """K^T applied to every example."""
        window = _written(memory.window)
        rows = _product(window.filled, window.right, window.left, trees.ravel(state))
        return trees.unravel(rows, state)


def _learn(
    memory: _Memory, z: Array, residual: Array, accepted: Bool[Array, " batch"], slot: Array
) -> tuple[Float[Array, "batch size"], _Window]:
    """K_{k+1} times the residual, and the window with the new update in ``slot``.

    K_k r_k is the last step itself, unless K_k was I: one product with K_k serves for both.
    """
    window = _written(memory.window)
    s = z - memory.z
    full = window.filled[slot] & jnp.any(s != 0, axis=1)  # begin again from I
    filled = window.filled & ~full[None]
    moved = _product(window.filled, window.left, window.right, residual)
    moved = jnp.where(full[:, None], residual, moved)
    was_last_step = jnp.any(filled, axis=0)[:, None]
    # Of size one, so that no square underflows, in the derivative either.
    size = lax.stop_gradient(trees.magnitude(s))[:, None]
    ky = (jnp.where(was_last_step, s, memory.residual) - moved) / size
    s = s / size
    kts = _product(filled, window.right, window.left, s)
    overlap, lengths = _dot(s, ky), _dot(s, s) * _dot(ky, ky)
    sound = accepted & (jnp.abs(overlap) > _COSINE * jnp.sqrt(lengths))
    u = jnp.where(sound[:, None], (s - ky) / jnp.where(sound, overlap, 1)[:, None], 0)
    direction = moved + u * _dot(kts, residual)[:, None]
    filled = filled & accepted[None]
    return direction, window._replace(filled=filled, newest=(u, kts), waits=sound, slot=slot)


def _written(window: _Window) -> _Window:
    """The window with the newest update in its slot; where there is none, with what was there."""
    slot, new = window.slot, window.waits[:, None]
    left, right = (
        lax.dynamic_update_index_in_dim(kept, jnp.where(new, rows, kept[slot]), slot, 0)
        for kept, rows in zip((window.left, window.right), window.newest, strict=True)
    )
    taken = window.filled[slot] | window.waits
    filled = lax.dynamic_update_index_in_dim(window.filled, taken, slot, 0)
    return window._replace(left=left, right=right, filled=filled, waits=window.waits & False)


def _product(filled: Array, left: Array, right: Array, x: Array) -> Float[Array, "batch size"]:
    """(I + sum_i left_i right_i^T) x."""
    weights = jnp.where(filled, _dot(right, x[None]), 0)
    terms = [weights[i][:, None] * left[i] for i in range(len(left))]
    return functools.reduce(jnp.add, terms, x)


def _dot(a: Array, b: Array) -> Array:
    """Inner products along the last axis; a product with ones is the fastest form on the CPU."""
    return jnp.matmul(a * b, jnp.ones(b.shape[-1], b.dtype), precision="highest")
