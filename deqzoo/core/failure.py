"""What becomes of an example whose fixed point was not found."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.core import stopping, trees
from deqzoo.core.map.program import Map
from deqzoo.core.solution import Solution, Status
from deqzoo.core.solver import Solver
from deqzoo.core.trees import State


def answered(solver: Solver, one_step: Map, solution: Solution) -> State:
    """The value of a solution, or what ``on_failure`` puts in the place of a failed example.

    Args:
        solver: its ``on_failure``. An example has failed that is not CONVERGED and whose residual
            is above a tenth of its value.
        one_step: z -> z with the derivative of one step of the map.
        solution: what was found.
    """
    policy, stats, z = solver.on_failure, solution.stats, solution.value
    if policy == "keep":
        return z
    sound = stopping.is_sound(stats.relative_residual, jnp.ones_like(stats.residual))
    sound |= stats.status == Status.CONVERGED
    if policy == "phantom":
        return trees.select(sound, z, one_step(z))
    if policy == "warn":
        jax.debug.callback(_warn, sound, stats.relative_residual)
        return z
    # A factor, so that the derivative is NaN as well and not zero.
    return trees.scale(jnp.where(sound, 1.0, jnp.nan), z)


def _warn(sound: np.ndarray, relative_residual: np.ndarray) -> None:
    if not np.all(sound):
        worst = np.max(relative_residual[~sound])
        warnings.warn(
            f"{np.sum(~sound)} of {sound.size} fixed points were not found (worst relative "
            f"residual {worst:.1e}): their values and gradients are wrong, and Solution.check() "
            "says why",
            stacklevel=2,
        )
