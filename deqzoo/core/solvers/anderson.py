"""Anderson acceleration (type II) with a scale-free ridge and a safeguarded restart."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from deqzoo.core import trees
from deqzoo.core.map.program import Map
from deqzoo.core.solver import Evaluation, Solver
from deqzoo.core.trees import State
from deqzoo.settings import In

__all__ = ["Anderson"]


class _Memory(NamedTuple):
    """The last evaluations of every example, newest in slot ``step % history``."""

    targets: Float[Array, "batch history size"]  # z + mixing * residual
    residuals: Float[Array, "batch history size"]  # in their units
    unit: Float[Array, "batch history"]  # powers of two, in which their norms are about 1
    gram: Float[Array, "batch history history"]  # of the residuals in their units
    filled: Bool[Array, "batch history"]
    norm: Float[Array, " batch"]  # of the last residual
    eager: Bool[Array, " batch"]  # whether a Picard step has ever made the residual grow


@dataclass(frozen=True)
class Anderson(Solver):
    """z_{k+1} = sum_i alpha_i (z_i + mixing r_i), sum_i alpha_i = 1, minimal ||sum_i alpha_i r_i||.

    The combination is taken in every ``period``-th step; those between are Picard steps, which cost
    less and fill the history with directions that are more different. On a contraction that takes
    fewer steps than combining always. An example whose residual a Picard step makes grow combines
    in every step from then on.

    Every example has its own coefficients. The ridge is relative to the trace of the Gram matrix of
    the residuals, so the iteration does not change when the problem is rescaled. When a residual
    exceeds ``restart`` times the best one, the example goes back to the best remembered point and
    forgets the rest; when the small linear system fails, it takes a Picard step.

    Attributes:
        history: remembered evaluations, at least 1 (1 is damped Picard).
        period: steps from one combination to the next, at least 1.
        mixing: weight of the residual in the update, in (0, 1].
        ridge: Tikhonov weight relative to the mean squared residual; None stands for 10 roundings
            of the dtype.
        restart: allowed growth of the residual over the best one, above 1.

    References:
        Walker and Ni, "Anderson Acceleration for Fixed-Point Iterations", SIAM J. Numer. Anal. 49
        (2011).
        Banerjee, Suryanarayana and Pask, "Periodic Pulay method for robust and efficient
        convergence acceleration of self-consistent field iterations", Chem. Phys. Lett. 647 (2016).

    Example:
        >>> import jax.numpy as jnp, deqzoo
        >>> f = lambda z, x: 0.99 * z + x
        >>> solution = deqzoo.fixed_point(f, jnp.zeros((1, 2)), jnp.ones((1, 2)), solver="anderson")
        >>> int(solution.stats.steps[0]) < 10
        True
    """

    history: Annotated[int, In("[1, inf)")] = 6
    period: Annotated[int, In("[1, 2^31)")] = 3
    mixing: Annotated[float, In("(0, 1]")] = 1.0
    ridge: Annotated[float, In("(0, inf)")] | None = None
    restart: Annotated[float, In("(1, inf)")] = 4.0

    chances: ClassVar[int] = 3

    def init(self, fn: Map, z0: State) -> _Memory:
        """Empty history."""
        rows = trees.ravel(z0)
        batch, size = rows.shape
        empty = jnp.zeros((batch, self.history, size), rows.dtype)
        gram = jnp.zeros((batch, self.history, self.history), rows.dtype)
        filled, eager = jnp.zeros((batch, self.history), bool), jnp.zeros(batch, bool)
        norm = jnp.full(batch, jnp.inf, rows.dtype)
        return _Memory(empty, empty, jnp.ones(filled.shape, rows.dtype), gram, filled, norm, eager)

    def step(self, evaluation: Evaluation, memory: _Memory) -> tuple[State, _Memory]:
        """Remember the evaluation, then combine what is remembered or take a Picard step."""
        slot = evaluation.step % self.history
        memory = self._remember(evaluation, memory, slot)
        memory = memory._replace(filled=self._forget(evaluation, memory))
        due = evaluation.step % self.period == self.period - 1
        combines = due | memory.eager | ~memory.filled[:, slot]
        rows = lax.cond(
            jnp.any(combines),
            lambda: self._combination(memory, slot, combines),
            lambda: memory.targets[:, slot],
        )
        return trees.unravel(rows, evaluation.z), memory

    def grew(self, memory: _Memory) -> Bool[Array, " batch"]:
        """Whether a Picard step did."""
        return memory.eager

    def _remember(self, evaluation: Evaluation, memory: _Memory, slot: Array) -> _Memory:
        usable = jnp.isfinite(evaluation.norm)
        residual = jnp.where(usable[:, None], trees.ravel(evaluation.residual), 0)
        target = jnp.where(usable[:, None], trees.ravel(evaluation.z), 0) + self.mixing * residual
        targets = lax.dynamic_update_index_in_dim(memory.targets, target, slot, 1)
        unit = trees.magnitude(lax.stop_gradient(evaluation.norm))
        residual = residual * (1 / unit)[:, None]
        units = lax.dynamic_update_index_in_dim(memory.unit, unit, slot, 1)
        residuals = lax.dynamic_update_index_in_dim(memory.residuals, residual, slot, 1)
        row = jnp.matmul(residuals, residual[:, :, None], precision="highest")[:, :, 0]
        gram = lax.dynamic_update_index_in_dim(memory.gram, row, slot, 1)
        gram = lax.dynamic_update_index_in_dim(gram, row, slot, 2)
        filled = lax.dynamic_update_index_in_dim(memory.filled, usable, slot, 1)
        fell = (evaluation.norm <= memory.norm) | (evaluation.step % self.period == 0)
        eager = memory.eager | ~fell
        return _Memory(targets, residuals, units, gram, filled, evaluation.norm, eager)

    def _forget(self, evaluation: Evaluation, memory: _Memory) -> Bool[Array, "batch history"]:
        """After a bad step keep only the best point; never twice in a row, lest it stand still."""
        grew = evaluation.norm > self.restart * evaluation.best_norm
        grew &= jnp.sum(memory.filled, axis=1) > 2
        back = grew | ~jnp.isfinite(evaluation.norm)
        return jnp.where(back[:, None], _best(memory), memory.filled)

    def _combination(
        self, memory: _Memory, slot: Array, combines: Bool[Array, " batch"]
    ) -> Float[Array, "batch size"]:
        """The combined targets of some examples and the newest ones of the others."""
        newest = (jnp.arange(self.history)[None] == slot).astype(memory.gram.dtype)
        weights = jnp.where(combines[:, None], self._weights(memory, slot), newest)
        terms = [weights[:, i, None] * memory.targets[:, i] for i in range(self.history)]
        return functools.reduce(jnp.add, terms)

    def _weights(self, memory: _Memory, slot: Array) -> Float[Array, "batch history"]:
        """Alpha of every example; the newest point alone where the system fails."""
        eps = float(jnp.finfo(memory.gram.dtype).eps)
        ridge = 10 * eps if self.ridge is None else self.ridge
        unit = jnp.where(memory.filled, memory.unit, 0)
        largest = jnp.max(unit, axis=1, keepdims=True)
        unit = unit / jnp.where(largest > 0, largest, 1)
        gram = memory.gram * unit[:, :, None] * unit[:, None, :]
        squares = jnp.diagonal(gram, axis1=1, axis2=2)
        count = jnp.sum(memory.filled, axis=1, keepdims=True, dtype=gram.dtype)
        mean = jnp.sum(squares, axis=1, keepdims=True) / jnp.maximum(count, 1)
        gram = gram / jnp.where(mean > 0, mean, 1)[:, :, None]
        diagonal = jnp.where(memory.filled, ridge, 1.0)
        gram = gram + diagonal[:, :, None] * jnp.eye(self.history, dtype=gram.dtype)[None]
        raw = _solve_spd(gram, memory.filled.astype(gram.dtype))
        weights = raw / jnp.sum(raw, axis=1, keepdims=True)
        sound = jnp.all(jnp.isfinite(weights), axis=1, keepdims=True)
        newest = jnp.arange(self.history)[None] == slot
        return jnp.where(sound, weights, newest.astype(weights.dtype))


def _best(memory: _Memory) -> Bool[Array, "batch history"]:
    """Mark only the remembered point with the smallest residual."""
    norms = memory.unit * jnp.sqrt(jnp.diagonal(memory.gram, axis1=1, axis2=2))
    smallest = jnp.argmin(jnp.where(memory.filled, norms, jnp.inf), axis=1)
    return memory.filled & (jnp.arange(memory.filled.shape[1])[None] == smallest[:, None])


def _solve_spd(
    matrix: Float[Array, "batch n n"], rhs: Float[Array, "batch n"]
) -> Float[Array, "batch n"]:
    """Gauss-Jordan elimination of all examples at once: for so few unknowns no LAPACK call."""
    rows = jnp.concatenate([matrix, rhs[:, :, None]], axis=2)
    number = jnp.arange(rhs.shape[1])[:, None]

    def eliminate(pivot, rows):
        row = lax.dynamic_index_in_dim(rows, pivot, 1)
        column = lax.dynamic_index_in_dim(rows, pivot, 2)
        scaled = row / lax.dynamic_index_in_dim(row, pivot, 2)
        return jnp.where(number == pivot, scaled, rows - column * scaled)

    return lax.fori_loop(0, rhs.shape[1], eliminate, rows)[:, :, -1]
