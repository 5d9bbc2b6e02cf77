"""Sequential averaging: of several equilibria the one of least norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from deqzoo.core import trees
from deqzoo.core.map.program import Map
from deqzoo.core.solver import Evaluation, Solver
from deqzoo.core.trees import State
from deqzoo.settings import In

__all__ = ["SequentialAveraging"]

_LATE = 3  # so that the first step goes along the map too


@dataclass(frozen=True)
class SequentialAveraging(Solver):
    """z_{k+1} = b_k (1 - s) z_k + (1 - b_k) f(z_k), b_k = min(2c/(k + 3), 1).

    For maps that are nonexpansive and have several fixed points: ``picard`` keeps what the map
    leaves free of z0, this goes to the fixed point of least Euclidean norm, for (1 - s)z is a
    gradient step of |z|²/2. Slow: b_k falls like 1/k, and so do the residual and the error, if
    cs >= 1/2. A relative residual of 1e-3 takes about 2000 cs steps, one of 1e-5 200,000; give both
    ``rtol`` and ``max_steps``. Where the map contracts there is one fixed point, and every other
    solver is faster. A start that is a fixed point within the tolerance is kept.

    The implicit adjoint needs I - J to be invertible, which it is not where fixed points are not
    isolated: differentiate with ``phantom`` there.

    Attributes:
        shrinkage: s in (0, 1]; 1 draws straight to zero.
        pace: c > 0.

    References:
        Xie et al., "Optimization Induced Equilibrium Networks", arXiv 2105.13228, for averaging
        with a step of another problem; the schedule starts later here.

    Example:
        >>> import jax.numpy as jnp, deqzoo
        >>> fn = lambda z, x: jnp.stack([z[:, 0], 0.5 * z[:, 1] + x], axis=1)  # z_0 is free
        >>> z0, x = jnp.array([[3.0, 3.0]]), jnp.ones(1)
        >>> solver = "sequential_averaging(rtol=1e-3, max_steps=5000)"
        >>> solution = deqzoo.fixed_point(fn, z0, x, solver=solver)
        >>> [round(z, 1) for z in solution.value[0].tolist()]
        [0.0, 2.0]
    """

    shrinkage: Annotated[float, In("(0, 1]")] = 1.0
    pace: Annotated[float, In("(0, inf)")] = 1.0

    is_sublinear: ClassVar[bool] = True

    def init(self, fn: Map, z0: State) -> None:
        """No memory."""

    def step(self, evaluation: Evaluation, memory: None) -> tuple[State, None]:
        """The mean of a shrunken z and f(z)."""
        dtype = trees.reduction_dtype(evaluation.z)
        share = jnp.minimum(2 * self.pace / (evaluation.step.astype(dtype) + _LATE), 1)

        def mean(z, fz):
            shrunk = (1 - self.shrinkage) * z.astype(dtype)
            return (share * shrunk + (1 - share) * fz.astype(dtype)).astype(z.dtype)

        return jax.tree.map(mean, evaluation.z, evaluation.fz), None
