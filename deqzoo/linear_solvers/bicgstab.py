"""BiCGStab for u = Ju + b: two products a step and no history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from deqzoo import loop, trees
from deqzoo.linear_solver import Answer, LinearSolver, is_sound
from deqzoo.program import Map
from deqzoo.solution import Stats, Status
from deqzoo.trees import State

__all__ = ["BiCGStab"]

_CYCLES = 4  # restarts from the true residual


class _Krylov(NamedTuple):
    """One recurrence; rows are examples."""

    u: Float[Array, "batch size"]
    r: Float[Array, "batch size"]
    shadow: Float[Array, "batch size"]
    p: Float[Array, "batch size"]
    rho: Float[Array, " batch"]
    best: Float[Array, "batch size"]
    best_norm: Float[Array, " batch"]
    running: Bool[Array, " batch"]
    steps: Int[Array, " batch"]


@dataclass(frozen=True)
class BiCGStab(LinearSolver):
    """Stabilised bi-conjugate gradients for (I - J) u = b.

    The recurred residual drifts away from the true one; it is therefore replaced by the true one
    when it meets the tolerance, and the recurrence starts again if that does not. A breakdown
    (shadow residual orthogonal to the residual) restarts the example that suffers it; the best
    iterate is kept.

    References:
        van der Vorst, "Bi-CGSTAB: a fast and smoothly converging variant of Bi-CG for the solution
        of nonsymmetric linear systems", SIAM J. Sci. Stat. Comput. 13 (1992).

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo.linear_solvers.bicgstab import BiCGStab
        >>> answer = BiCGStab(rtol=1e-6).solve(lambda u: 0.9 * u, jnp.ones((1, 2)), None)
        >>> bool(jnp.allclose(answer.value, 10.0))
        True
    """

    def solve(self, product: Map, rhs: State, guess: State | None) -> Answer:
        """Cycles of the recurrence, each from a true residual."""
        b = trees.ravel(rhs)
        goal = loop.resolve_rtol(self.rtol, rhs) * _norm(b)
        apply = lambda rows: rows - trees.ravel(product(trees.unravel(rows, rhs)))  # noqa: E731
        start = jnp.zeros_like(b) if guess is None else trees.ravel(guess)
        r = b if guess is None else b - apply(start)
        better = _norm(r) < _norm(b)
        u, r = jnp.where(better[:, None], start, 0), jnp.where(better[:, None], r, b)
        none = jnp.zeros_like(b[:, 0], jnp.int32)

        def unfinished(state):
            _, r, steps, cycle = state
            return (cycle < _CYCLES) & jnp.any((_norm(r) > goal) & (steps < self.max_steps))

        def again(state):
            u, r, steps, cycle = state
            moved = self._cycle(apply, u, r, goal, steps)
            fresh = b - apply(moved.best)
            improved = (_norm(fresh) < _norm(r))[:, None]
            u, r = jnp.where(improved, moved.best, u), jnp.where(improved, fresh, r)
            return u, r, moved.steps, cycle + 1

        spent = none if guess is None else none + 1
        u, r, steps, _ = lax.while_loop(unfinished, again, (u, r, spent, jnp.zeros((), jnp.int32)))
        return _answer(self, u, r, b, goal, steps, rhs)

    def _cycle(self, apply, u, r, goal, steps) -> _Krylov:
        """The recurrence until every residual meets its goal."""
        norm = _norm(r)
        running = (norm > goal) & (steps < self.max_steps)
        carry = _Krylov(u, r, r, r, _dot(r, r), u, norm, running, steps)
        return lax.while_loop(
            lambda carry: jnp.any(carry.running),
            lambda carry: self._step(apply, goal, carry),
            carry,
        )

    def _step(self, apply, goal, c: _Krylov) -> _Krylov:
        v = apply(c.p)
        alpha = _quotient(c.rho, _dot(c.shadow, v))
        s = c.r - alpha * v
        t = apply(s)
        omega = _quotient(_dot(t, s), _dot(t, t))
        u, r = c.u + alpha * c.p + omega * s, s - omega * t
        rho, norm = _dot(c.shadow, r), _norm(r)
        beta = _quotient(rho, c.rho) * _quotient(alpha[:, 0], omega[:, 0])
        broken = _is_broken(rho, _norm(c.shadow) * norm, alpha, omega)
        p = jnp.where(broken[:, None], r, r + beta * (c.p - omega * v))
        shadow = jnp.where(broken[:, None], r, c.shadow)
        rho = jnp.where(broken, norm * norm, rho)
        steps = c.steps + 2 * c.running
        better = c.running & (norm < c.best_norm)
        sound = jnp.isfinite(norm)
        go_on = c.running & sound & (norm > goal) & (steps + 1 < self.max_steps)
        keep = lambda new, old: jnp.where(c.running[:, None] & sound[:, None], new, old)  # noqa: E731
        return _Krylov(
            u=keep(u, c.u),
            r=keep(r, c.r),
            shadow=shadow,
            p=p,
            rho=rho,
            best=jnp.where(better[:, None], u, c.best),
            best_norm=jnp.where(better, norm, c.best_norm),
            running=go_on,
            steps=steps,
        )


def _is_broken(rho: Array, size: Array, alpha: Array, omega: Array) -> Bool[Array, " batch"]:
    """The next direction would be noise."""
    eps = jnp.finfo(rho.dtype).eps
    return (jnp.abs(rho) <= eps * size) | (alpha[:, 0] == 0) | (omega[:, 0] == 0)


def _quotient(a: Float[Array, " batch"], b: Float[Array, " batch"]) -> Float[Array, "batch 1"]:
    """a / b as a column; 0 where b is 0."""
    return jnp.where(b == 0, 0, a / jnp.where(b == 0, 1, b))[:, None]


def _dot(a: Float[Array, "batch size"], b: Float[Array, "batch size"]) -> Float[Array, " batch"]:
    return jnp.sum(a * b, axis=1)


def _norm(rows: Float[Array, "batch size"]) -> Float[Array, " batch"]:
    return jnp.sqrt(_dot(rows, rows))


def _answer(solver: BiCGStab, u, r, b, goal, steps, rhs: State) -> Answer:
    residual, scale = _norm(r), _norm(b)
    relative = residual / jnp.where(scale > 0, scale, 1)
    status = jnp.where(steps + 1 >= solver.max_steps, Status.MAX_STEPS, Status.STAGNATED)
    status = jnp.where(residual <= goal, Status.CONVERGED, status)
    status = jnp.where(jnp.isfinite(residual), status, Status.NONFINITE).astype(jnp.int32)
    stats = Stats(steps, residual, relative, status, jnp.full_like(residual, jnp.nan))
    return Answer(trees.unravel(u, rhs), stats, is_sound(relative))
