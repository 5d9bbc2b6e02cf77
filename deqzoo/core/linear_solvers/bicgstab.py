"""BiCGStab for u = Ju + b: two products a step and no history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from deqzoo.core import krylov, trees
from deqzoo.core.krylov import Rows
from deqzoo.core.linear_solver import Answer, LinearSolver
from deqzoo.core.map.program import Map
from deqzoo.core.trees import State

__all__ = ["BiCGStab"]

_CYCLES = 4  # restarts from the true residual
# The recurred residual aims below the goal: where the true one missed it by a rounding, one more
# cycle for a few examples would cost all of them three products.
_AIM = 0.7
_STALLED = 0.5  # a cycle that leaves more of the true residual than this was the last


class _Krylov(NamedTuple):
    """One recurrence; rows are examples."""

    u: Rows
    r: Rows
    shadow: Rows
    p: Rows
    rho: Float[Array, " batch"]
    best: Rows
    best_norm: Float[Array, " batch"]
    running: Bool[Array, " batch"]
    steps: Int[Array, " batch"]


@dataclass(frozen=True)
class BiCGStab(LinearSolver):
    """Stabilised bi-conjugate gradients for (I - J) u = b.

    The recurred residual drifts away from the true one; it is therefore replaced by the true one
    when it meets the tolerance, and the recurrence starts again if that does not and is still
    falling. A breakdown (shadow residual orthogonal to the residual) restarts the example that
    suffers it; the best iterate is kept.

    References:
        van der Vorst, "Bi-CGSTAB: a fast and smoothly converging variant of Bi-CG for the solution
        of nonsymmetric linear systems", SIAM J. Sci. Stat. Comput. 13 (1992).

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo.core.linear_solvers.bicgstab import BiCGStab
        >>> answer = BiCGStab(rtol=1e-6).solve(lambda u: 0.9 * u, jnp.ones((1, 2)), None)
        >>> bool(jnp.allclose(answer.value, 10.0))
        True
    """

    def solve(
        self,
        product: Map,
        rhs: State,
        guess: State | None,
        *,
        goal: Float[Array, " batch"] | None = None,
        limit: Int[Array, " batch"] | None = None,
    ) -> Answer:
        """Cycles of the recurrence, each from a true residual."""
        b, apply = trees.ravel(rhs), krylov.operator(product, rhs)
        goal, limit = krylov.terms(self, rhs, goal, limit)
        none = jnp.zeros_like(goal, jnp.int32)
        u, r, spent = krylov.start(apply, b, guess)

        def again(state):
            u, r, wants, steps, cycle = state
            moved = _cycle(apply, u, r, wants, _AIM * goal, steps, limit)
            fresh = b - apply(moved.best)
            old, new = krylov.length(r), krylov.length(fresh)
            improved = (wants & (new < old))[:, None]
            u, r = jnp.where(improved, moved.best, u), jnp.where(improved, fresh, r)
            wants &= (new > goal) & (new <= _STALLED * old) & (moved.steps + 1 < limit)
            return u, r, wants, moved.steps, cycle + 1

        wants = (krylov.length(r) > goal) & (none + spent + 1 < limit)
        state = (u, r, wants, none + spent, jnp.zeros((), jnp.int32))
        u, r, _, steps, _ = lax.while_loop(
            lambda state: (state[4] < _CYCLES) & jnp.any(state[2]), again, state
        )
        return krylov.verdict(u, r, b, goal, steps, steps + 1 >= limit, rhs)


def _cycle(
    apply: Map, u: Rows, r: Rows, wants: Array, aim: Array, steps: Array, limit: Array
) -> _Krylov:
    """The recurrence until the residual of every example that wants it meets its aim."""
    carry = _Krylov(u, r, r, r, krylov.dot(r, r), u, krylov.length(r), wants, steps)
    return lax.while_loop(
        lambda carry: jnp.any(carry.running),
        lambda carry: _step(apply, aim, limit, carry),
        carry,
    )


def _step(apply: Map, goal: Array, limit: Array, c: _Krylov) -> _Krylov:
    v = apply(c.p)
    alpha = _quotient(c.rho, krylov.dot(c.shadow, v))
    s = c.r - alpha * v
    t = apply(s)
    omega = _quotient(krylov.dot(t, s), krylov.dot(t, t))
    u, r = c.u + alpha * c.p + omega * s, s - omega * t
    rho, norm = krylov.dot(c.shadow, r), krylov.length(r)
    beta = _quotient(rho, c.rho) * _quotient(alpha[:, 0], omega[:, 0])
    broken = _is_broken(rho, krylov.length(c.shadow) * norm, alpha, omega)
    p = jnp.where(broken[:, None], r, r + beta * (c.p - omega * v))
    shadow = jnp.where(broken[:, None], r, c.shadow)
    rho = jnp.where(broken, norm * norm, rho)
    steps = c.steps + 2 * c.running.astype(jnp.int32)
    better = c.running & (norm < c.best_norm)
    sound = jnp.isfinite(norm)
    go_on = c.running & sound & (norm > goal) & (steps + 1 < limit)
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
    """The quotient a / b as a column; 0 where b is 0."""
    return jnp.where(b == 0, 0, a / jnp.where(b == 0, 1, b))[:, None]
