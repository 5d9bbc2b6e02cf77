"""Picard iteration z <- (1 - damping) z + damping f(z)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import jax

from deqzoo.core.map.program import Map
from deqzoo.core.solver import Evaluation, Solver
from deqzoo.core.trees import State
from deqzoo.settings import In

__all__ = ["Picard"]


@dataclass(frozen=True)
class Picard(Solver):
    """z_{k+1} = z_k + damping * (f(z_k) - z_k).

    Converges with factor L ||W||_2 on the wide DEQ; a smaller damping helps when f oscillates. An
    example is finished as soon as its residual times its observed contraction (the larger of the
    last two, and a tenth more) meets the tolerance: the next iterate is returned without being
    evaluated in the loop. Its true residual is measured when the statistics are looked at, and the
    status is MISSED if the forecast was wrong.

    Attributes:
        damping: share of the new value, in (0, 1]; 1 is the plain iteration.
        predict: foretell the last residual; False evaluates every iterate before it is returned.

    Example:
        >>> import jax.numpy as jnp, deqzoo
        >>> z0 = jnp.zeros((1, 1))
        >>> solution = deqzoo.fixed_point(lambda z, x: jnp.cos(z), z0, solver="picard")
        >>> round(float(solution.value[0, 0]), 4)
        0.7391
    """

    damping: Annotated[float, In("(0, 1]")] = 1.0
    predict: bool = True

    is_monotone: ClassVar[bool] = True

    @property
    def is_predictable(self) -> bool:
        """Whether residuals are foretold; the largest entry fluctuates too much for that."""
        return self.predict and self.norm == "euclidean"

    def init(self, fn: Map, z0: State) -> None:
        """No memory."""

    def step(self, evaluation: Evaluation, memory: None) -> tuple[State, None]:
        """f(z), or the damped mean of z and f(z)."""
        if self.damping == 1:
            return evaluation.fz, None
        damped = jax.tree.map(lambda z, r: z + self.damping * r, evaluation.z, evaluation.residual)
        return damped, None
