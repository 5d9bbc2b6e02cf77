"""Polyak's heavy ball: damped Picard iteration with momentum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deqzoo.core import trees
from deqzoo.core.map.program import Map
from deqzoo.core.solver import Evaluation, Solver
from deqzoo.core.trees import State
from deqzoo.settings import In

__all__ = ["HeavyBall"]

_RISE = 1.25  # residual over the best one at which momentum is taken to do harm
_FADING = 0.1  # what is then left of it


class _Memory(NamedTuple):
    """The iterate before, and the momentum that is left to every example."""

    z: State
    momentum: Float[Array, " batch"]


@dataclass(frozen=True)
class HeavyBall(Solver):
    """z_{k+1} = z_k + step_size (f(z_k) - z_k) + momentum (z_k - z_{k-1}).

    Pays on slow maps whose Jacobian has real eigenvalues (symmetric weights): for eigenvalues in
    [-c, c] and step size 1 the best momentum is (1 - sqrt(1 - c))^2 and turns Picard's factor c
    into 1 - sqrt(1 - c). With complex eigenvalues momentum can drive the iterates away: when the
    residual of an example exceeds its best one by a quarter, the next step is taken without
    momentum, and a tenth of the momentum is left from then on. A bound c far above the eigenvalues
    met, as where the slopes of an activation are small, wins little (docs/second_order.md).
    ``anderson`` needs no constants and
    fewer steps, but several states of memory more.

    Attributes:
        step_size: weight of the residual, above 0.
        momentum: weight of the last step, in [0, 1).
        contraction: None, or c in [0, 1), a bound on the size of the eigenvalues of the Jacobian,
            for example L ||W||_2; it replaces ``momentum`` by the best one.

    References:
        Polyak, "Some methods of speeding up the convergence of iteration methods", USSR Comput.
        Math. Math. Phys. 4 (1964).

    Example:
        >>> import jax.numpy as jnp, deqzoo
        >>> fn, z0 = lambda z, x: 0.9 * z + x, jnp.zeros((1, 1))
        >>> solution = deqzoo.fixed_point(fn, z0, 1.0, solver="heavy_ball(contraction=0.9)")
        >>> int(solution.stats.steps[0]) < 50  # Picard: 87
        True
    """

    step_size: Annotated[float, In("(0, inf)")] = 1.0
    momentum: Annotated[float, In("[0, 1)")] = 0.5
    contraction: Annotated[float, In("[0, 1)")] | None = None

    def init(self, fn: Map, z0: State) -> _Memory:
        """At rest."""
        momentum = self.momentum
        if self.contraction is not None:
            momentum = (1 - math.sqrt(1 - self.contraction)) ** 2
        return _Memory(z0, jnp.full(trees.batch_size(z0), momentum, trees.reduction_dtype(z0)))

    def step(self, evaluation: Evaluation, memory: _Memory) -> tuple[State, _Memory]:
        """A step of the ball; where the residual rose, one that begins at rest."""
        rose = evaluation.norm > _RISE * evaluation.best_norm
        push = jnp.where(rose, 0, memory.momentum)
        z = jax.tree.map(
            lambda *leaves: self._moved(push, *leaves),
            evaluation.z,
            evaluation.residual,
            memory.z,
        )
        momentum = jnp.where(rose, _FADING, 1) * memory.momentum
        return z, _Memory(evaluation.z, momentum)

    def _moved(self, push: Array, z: Array, residual: Array, old: Array) -> Array:
        wide = trees.reduction_dtype((z, push))
        pushed = trees.per_example(push, z) * (z - old).astype(wide)
        moved = (z + self.step_size * residual).astype(wide)
        return (moved + pushed).astype(z.dtype)
