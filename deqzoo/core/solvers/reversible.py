"""Two coupled states that follow each other: an iteration that can be run backwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import jax

from deqzoo.core.map.program import Map
from deqzoo.core.solver import Evaluation, Solver
from deqzoo.core.trees import State
from deqzoo.settings import In

__all__ = ["Reversible"]


class _Memory(NamedTuple):
    """Where the iteration began, and the state that was not evaluated last."""

    start: State
    other: State


@dataclass(frozen=True)
class Reversible(Solver):
    """y <- (1 - d) y + d f(z), then z <- (1 - d) z + d f(y), with d = ``damping``.

    The two halves are one recurrence, x_{k+1} = (1 - d) x_{k-1} + d f(x_k), with one evaluation per
    step. x_{k-1} = (x_{k+1} - d f(x_k)) / (1 - d) runs it backwards, which the adjoint
    ``reversible`` uses for exact gradients without stored states. It converges wherever f
    contracts, at a factor of at least sqrt(1 - d) and for an eigenvalue m of the Jacobian at the
    larger root of t^2 = d m t + 1 - d: choose it for its gradient, not for its speed.

    Attributes:
        damping: share of the new value d, in (0, 1).

    References:
        McCallum, Arora and Foster, "Reversible Deep Equilibrium Models", arXiv 2509.12917.

    Example:
        >>> import jax.numpy as jnp, deqzoo
        >>> z0 = jnp.zeros((1, 1))
        >>> solution = deqzoo.fixed_point(lambda z, x: jnp.cos(z), z0, solver="reversible")
        >>> round(float(solution.value[0, 0]), 4)
        0.7391
    """

    damping: Annotated[float, In("(0, 1)")] = 0.5

    def init(self, fn: Map, z0: State) -> _Memory:
        """Both states at the start."""
        return _Memory(z0, z0)

    def step(self, evaluation: Evaluation, memory: _Memory) -> tuple[State, _Memory]:
        """Move the other state by the value at this one, and evaluate there next."""
        z = self.advance(memory.other, evaluation.fz)
        return z, memory._replace(other=evaluation.z)

    def advance(self, previous: State, fz: State) -> State:
        """x_{k+1} from x_{k-1} and f(x_k)."""
        return jax.tree.map(lambda x, fz: (1 - self.damping) * x + self.damping * fz, previous, fz)

    def retreat(self, following: State, fz: State) -> State:
        """x_{k-1} from x_{k+1} and f(x_k)."""
        return jax.tree.map(
            lambda x, fz: (x - self.damping * fz) / (1 - self.damping), following, fz
        )
