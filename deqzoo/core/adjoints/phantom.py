"""Derivatives of a few damped steps at the fixed point: phantom gradients; one step is JFB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import jax

from deqzoo.core.adjoint import Backward, TangentAdjoint
from deqzoo.core.map.program import Program
from deqzoo.core.solver import Solver
from deqzoo.core.trees import State
from deqzoo.settings import In

__all__ = ["Phantom"]


@dataclass(frozen=True)
class Phantom(TangentAdjoint):
    """The derivative of z* -> (1 - damping) z + damping f(z), taken ``steps`` times from z*.

    Its error against ``implicit`` falls like the powers of (1 - damping) I + damping J. One
    undamped step is the Jacobian-free gradient (JFB). The steps are really taken, so the gradient
    also belongs to a state that has not converged; ``neumann`` is the cheaper series at z* itself.
    Memory grows with ``steps``, not with the steps of the solver; the value is that of every other
    adjoint.

    Attributes:
        steps: how many steps are differentiated, at least 1.
        damping: share of the new value in a step, in (0, 1].

    References:
        Fung et al., "JFB: Jacobian-Free Backpropagation for Implicit Networks", arXiv 2103.12803.
        Geng et al., "On Training Implicit Models", arXiv 2111.05177.

    Example:
        >>> import jax, jax.numpy as jnp, deqzoo
        >>> fn, z0 = lambda z, x: 0.5 * z + x, jnp.zeros((1, 1))
        >>> root = lambda x: deqzoo.fixed_point(fn, z0, x, adjoint="phantom(steps=3)").value[0, 0]
        >>> float(jax.grad(root)(jnp.ones((1, 1)))[0, 0])
        1.75
    """

    steps: Annotated[int, In("[1, inf)")] = 5
    damping: Annotated[float, In("(0, 1]")] = 1.0

    def tangent(
        self,
        solver: Solver,
        fn: Program,
        change: Program,
        z: State,
        backward: Backward | None,
        report: Backward | None,
    ) -> State:
        """The tangent of the last of the steps."""
        return jax.jvp(lambda fn: self._steps(fn, z), (fn,), (change,))[1]

    def _steps(self, fn: Program, z: State) -> State:
        for _ in range(self.steps):
            z = jax.tree.map(lambda z, fz: z + self.damping * (fz - z), z, fn(z))
        return z
