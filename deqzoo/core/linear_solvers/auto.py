"""Picard iteration where J contracts fast, BiCGStab where it does not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from deqzoo import catalog
from deqzoo.core import loop, trees
from deqzoo.core.linear_solver import Answer, LinearSolver, affine
from deqzoo.core.linear_solvers.bicgstab import BiCGStab
from deqzoo.core.map.program import Map
from deqzoo.core.solvers.picard import Picard
from deqzoo.core.trees import State
from deqzoo.settings import OneOf

__all__ = ["Auto"]


@dataclass(frozen=True)
class Auto(LinearSolver):
    """u <- Ju + b; an example that would need many more such steps goes on with BiCGStab.

    Attributes:
        then: the linear solver for slow examples, or its recipe.
        precision: "bfloat16" or "float32": as for solvers; it speeds up the Picard steps.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo.core.linear_solvers.auto import Auto
        >>> answer = Auto(rtol=1e-6).solve(lambda u: 0.9 * u, jnp.ones((1, 2)), None)
        >>> bool(jnp.allclose(answer.value, 10.0, rtol=1e-4))
        True
    """

    then: LinearSolver | str = BiCGStab()
    precision: Annotated[str, OneOf("bfloat16", "float32")] | None = None

    def __post_init__(self):
        super().__post_init__()
        rule = catalog.linear_solvers.get(self.then)
        rule = replace(rule, rtol=self.rtol, max_steps=self.max_steps)
        object.__setattr__(self, "then", rule)

    def solve(
        self,
        product: Map,
        rhs: State,
        guess: State | None,
        *,
        goal: Float[Array, " batch"] | None = None,
        limit: Int[Array, " batch"] | None = None,
    ) -> Answer:
        """Both stages; the second one only if an example needs it.

        With a ``goal`` or ``limit`` of its own for every example, the second stage alone.
        """
        then = catalog.linear_solvers.get(self.then)
        if goal is not None or limit is not None:
            return then.solve(product, rhs, guess, goal=goal, limit=limit)
        first = Picard(rtol=self.rtol, max_steps=self.max_steps, precision=self.precision)
        fn = affine(product, rhs, guess)
        ran = loop.run(first, fn, fn.origin, leaves_slow=True)
        start = Answer(ran.solution.value, ran.solution.stats, ran.sound)

        def go_on(start: Answer) -> Answer:
            left = self.max_steps - start.stats.steps
            answer = then.solve(product, rhs, start.value, limit=left)
            stats = replace(answer.stats, steps=start.stats.steps + answer.stats.steps)
            answer = answer._replace(stats=stats)
            return jax.tree.map(lambda a, b: _select(ran.slow, a, b), answer, start)

        return lax.cond(jnp.any(ran.slow), go_on, lambda start: start, start)


def _select(mask, a, b):
    return jnp.where(trees.per_example(mask, a), a, b)
