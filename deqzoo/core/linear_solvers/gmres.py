"""GMRES for u = Ju + b: the smallest residual of a Krylov space, restarted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from deqzoo.core import krylov, trees
from deqzoo.core.linear_solver import Answer, LinearSolver
from deqzoo.core.map.program import Map
from deqzoo.core.trees import State
from deqzoo.settings import In

__all__ = ["GMRES"]

_STALLED = 0.99  # a cycle that leaves more than this part of the residual is the last one
_NOISE = 4.0  # roundings: what orthogonalisation leaves below it is not a direction


class _Solve(NamedTuple):
    """Between two cycles; rows are examples."""

    u: Float[Array, "batch size"]
    residual: Float[Array, "batch size"]  # b - u + Ju, measured
    steps: Int[Array, " batch"]
    falls: Bool[Array, " batch"]


class _Cycle(NamedTuple):
    """A Krylov space under construction: (I - J) basis = basis H, and H = rotations · columns."""

    basis: Float[Array, "history+1 batch size"]
    columns: Float[Array, "history history batch"]  # the rotated columns of H, by column
    cosines: Float[Array, "history batch"]
    sines: Float[Array, "history batch"]
    rhs: Float[Array, "history batch"]  # rotated right-hand side
    rest: Float[Array, " batch"]  # its last entry: the recurred residual
    running: Bool[Array, " batch"]
    steps: Int[Array, " batch"]
    length: Int[Array, ""]


@dataclass(frozen=True)
class GMRES(LinearSolver):
    """The u with the smallest ||b - (I - J)u||_2 in a Krylov space of every example's own.

    After ``history`` products the space is dropped and the next one grows from the residual, which
    is measured then and not recurred; an example whose residual a whole cycle could not reduce is
    STAGNATED. Every product counts, also those that measure a residual.

    Attributes:
        history: products before a restart; the memory is that many states.

    References:
        Saad and Schultz, "GMRES: a generalized minimal residual algorithm for solving nonsymmetric
        linear systems", SIAM J. Sci. Stat. Comput. 7 (1986).

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo.core.linear_solvers.gmres import GMRES
        >>> answer = GMRES(rtol=1e-6).solve(lambda u: 3 * u, jnp.ones((1, 2)), None)
        >>> answer.value.tolist(), int(answer.stats.steps[0])
        ([[-0.5, -0.5]], 2)
    """

    history: Annotated[int, In("[1, inf)")] = 30

    def solve(
        self,
        product: Map,
        rhs: State,
        guess: State | None,
        *,
        goal: Float[Array, " batch"] | None = None,
        limit: Int[Array, " batch"] | None = None,
    ) -> Answer:
        """Cycles until every residual meets its goal, stalls, or has spent its products."""
        b, apply = trees.ravel(rhs), krylov.operator(product, rhs)
        goal, limit = krylov.terms(self, rhs, goal, limit)
        none = jnp.zeros_like(goal, jnp.int32)
        u, residual, spent = krylov.start(apply, b, guess)
        state = _Solve(u, residual, none + spent, none == 0)
        state = lax.while_loop(
            lambda state: jnp.any(_unfinished(state, goal, limit)),
            lambda state: self._again(apply, b, state, goal, limit),
            state,
        )
        exhausted = state.steps + 2 > limit
        return krylov.verdict(state.u, state.residual, b, goal, state.steps, exhausted, rhs)

    def _again(self, apply: Map, b: Array, state: _Solve, goal: Array, limit: Array) -> _Solve:
        """One cycle, and the residual that it really left."""
        running = _unfinished(state, goal, limit)
        cycle = lax.while_loop(
            lambda cycle: (cycle.length < self.history) & jnp.any(cycle.running),
            lambda cycle: _grow(apply, goal, limit, cycle),
            self._open(state, running),
        )
        u = state.u + _combination(cycle)
        residual = b - apply(u)
        old, new = krylov.length(state.residual), krylov.length(residual)
        better = running & (new < old)
        return _Solve(
            u=jnp.where(better[:, None], u, state.u),
            residual=jnp.where(better[:, None], residual, state.residual),
            steps=cycle.steps + running.astype(jnp.int32),
            falls=jnp.where(running, new <= _STALLED * old, state.falls),
        )

    def _open(self, state: _Solve, running: Array) -> _Cycle:
        """The space of the residual alone."""
        norm, history = krylov.length(state.residual), self.history
        first = jnp.where(running[:, None], state.residual / _nonzero(norm)[:, None], 0)
        # Zeros that vary over devices as the examples do.
        zeros = jnp.zeros_like(norm)[None] + jnp.zeros((history, 1), first.dtype)
        later = jnp.zeros((history, 1, 1), first.dtype) + jnp.zeros_like(first)[None]
        return _Cycle(
            basis=jnp.concatenate([first[None], later]),
            columns=jnp.eye(history, dtype=first.dtype)[:, :, None] + zeros[None],
            cosines=zeros,
            sines=zeros,
            rhs=zeros,
            rest=norm,
            running=running,
            steps=state.steps,
            length=jnp.zeros((), jnp.int32),
        )


def _unfinished(state: _Solve, goal: Array, limit: Array) -> Bool[Array, " batch"]:
    """One product to grow the space and one to measure must be left; false for NaN."""
    norm = krylov.length(state.residual)
    return state.falls & (norm > goal) & jnp.isfinite(norm) & (state.steps + 2 <= limit)


def _grow(apply: Map, goal: Array, limit: Array, c: _Cycle) -> _Cycle:
    """One more direction: modified Gram-Schmidt, and the rotations on the way."""
    image = apply(c.basis[c.length])
    size = krylov.length(image)

    def project(i, state):
        image, column, top = state
        overlap = krylov.dot(c.basis[i], image)
        before = jnp.maximum(i - 1, 0)
        cosine = jnp.where(i == 0, 0, c.cosines[before])
        sine = jnp.where(i == 0, 1, c.sines[before])
        # Row i - 1 is final after its rotation; for i = 0 the write is overwritten.
        column = column.at[before].set(cosine * top + sine * overlap)
        top = jnp.where(i == 0, overlap, cosine * overlap - sine * top)
        return image - overlap[:, None] * c.basis[i], column, top

    empty = jnp.zeros_like(c.rhs)
    image, column, top = lax.fori_loop(0, c.length + 1, project, (image, empty, empty[0]))
    noise = _NOISE * jnp.finfo(size.dtype).eps * size
    norm = krylov.length(image)
    norm = jnp.where(norm <= noise, 0, norm)
    pivot = jnp.sqrt(top * top + norm * norm)
    usable = c.running & (pivot > noise)  # else the matrix is singular on this space
    cosine, sine = top / _nonzero(pivot), norm / _nonzero(pivot)
    column = column.at[c.length].set(pivot)
    unit = jnp.zeros_like(empty).at[c.length].set(1)
    rest = jnp.where(usable, -sine * c.rest, c.rest)
    steps = c.steps + c.running.astype(jnp.int32)
    following = jnp.where(usable[:, None], image / _nonzero(norm)[:, None], 0)
    return _Cycle(
        basis=c.basis.at[c.length + 1].set(following),
        columns=c.columns.at[c.length].set(jnp.where(usable[None], column, unit)),
        cosines=c.cosines.at[c.length].set(cosine),
        sines=c.sines.at[c.length].set(sine),
        rhs=c.rhs.at[c.length].set(jnp.where(usable, cosine * c.rest, 0)),
        rest=rest,
        running=usable & (jnp.abs(rest) > goal) & (steps + 2 <= limit),
        steps=steps,
        length=c.length + 1,
    )


def _combination(c: _Cycle) -> Float[Array, "batch size"]:
    """The element of the space with the smallest residual; 0 along directions that were not run."""
    history = len(c.rhs)

    def eliminate(k, rhs):
        j = history - 1 - k
        known = rhs[j] / c.columns[j, j]
        return (rhs - known[None] * c.columns[j]).at[j].set(known)

    weights = lax.fori_loop(0, history, eliminate, c.rhs)
    return jnp.sum(weights[:, :, None] * c.basis[:history], axis=0)


def _nonzero(values: Array) -> Array:
    return jnp.where(values > 0, values, 1)
