"""Picard iteration z <- (1 - damping) z + damping f(z)."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from deqzoo.solver import Evaluation, Solver
from deqzoo.trees import State

__all__ = ["Picard"]


@dataclass(frozen=True)
class Picard(Solver):
    """z_{k+1} = z_k + damping * (f(z_k) - z_k).

    Converges with factor L ||W||_2 on the wide DEQ; a smaller damping helps when f oscillates.

    Attributes:
        damping: share of the new value, in (0, 1]; 1 is the plain iteration.

    Example:
        >>> import jax.numpy as jnp, deqzoo
        >>> z0 = jnp.zeros((1, 1))
        >>> solution = deqzoo.fixed_point(lambda z, x: jnp.cos(z), z0, solver="picard")
        >>> round(float(solution.value[0, 0]), 4)
        0.7391
    """

    damping: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.damping <= 1:
            raise ValueError(f"damping must lie in (0, 1], got {self.damping}")

    def init(self, z0: State) -> None:
        """No memory."""

    def step(self, evaluation: Evaluation, memory: None) -> tuple[State, None]:
        """f(z), or the damped mean of z and f(z)."""
        if self.damping == 1:
            return evaluation.fz, None
        damped = jax.tree.map(lambda z, r: z + self.damping * r, evaluation.z, evaluation.residual)
        return damped, None
