"""The first terms of the Neumann series of the adjoint equation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import jax
from jax import lax

from deqzoo.core import trees
from deqzoo.core.adjoint import Backward, TangentAdjoint
from deqzoo.core.map.program import Program
from deqzoo.core.solver import Solver
from deqzoo.core.trees import State
from deqzoo.settings import In

__all__ = ["Neumann"]

_UNROLLED = 16  # terms; XLA runs transposed convolutions inside a loop on a slow path on the CPU


@dataclass(frozen=True)
class Neumann(TangentAdjoint):
    """dz* = sum_{k < steps} J^k df with J = df/dz at z*, instead of (I - J)^{-1} df.

    Its relative error is at most ||J||^steps. ``steps`` = 1 is the Jacobian-free gradient. The map
    is linearised once and memory does not grow with ``steps``.

    Attributes:
        steps: number of terms, at least 1.

    References:
        Geng et al., "On Training Implicit Models", arXiv 2111.05177.

    Example:
        >>> import jax, jax.numpy as jnp, deqzoo
        >>> fn, z0 = lambda z, x: 0.5 * z + x, jnp.zeros((1, 1))
        >>> root = lambda x: deqzoo.fixed_point(fn, z0, x, adjoint="neumann(steps=3)").value[0, 0]
        >>> float(jax.grad(root)(jnp.ones((1, 1)))[0, 0])
        1.75
    """

    steps: Annotated[int, In("[1, 2^31)")] = 10

    def tangent(
        self,
        solver: Solver,
        fn: Program,
        change: Program,
        z: State,
        backward: Backward | None,
        report: Backward | None,
    ) -> State:
        """Sum the terms by Horner's rule, ``total <- J total + df``."""
        _, df = jax.jvp(lambda fn: fn(z), (fn,), (change,))
        _, product = jax.linearize(fn, z)

        def step(total, _):
            return trees.add(product(total), df), None

        return lax.scan(step, df, length=self.steps - 1, unroll=self.steps <= _UNROLLED)[0]
