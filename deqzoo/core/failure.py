"""What becomes of an example whose fixed point was not found."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from deqzoo.core import stopping, trees
from deqzoo.core.map.program import Map
from deqzoo.core.solution import Solution, Status
from deqzoo.core.solver import Solver
from deqzoo.core.trees import State

_FAILED = (
    "fixed points were not found: their values and gradients are wrong, and Solution.check() says "
    "why"
)


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
        warn(_FAILED, sound, stats.relative_residual)
        return z
    # A factor, so that the derivative is NaN as well and not zero.
    return trees.scale(jnp.where(sound, 1.0, jnp.nan), z)


def warn(failed: str, sound: Bool[Array, " batch"], relative: Float[Array, " batch"]) -> None:
    """Warn at run time where some example is not sound.

    Args:
        failed: what "3 of 8" of them did, and what to do.
        sound: which examples are.
        relative: relative residuals, of which the worst is named.
    """

    def tell(sound: np.ndarray, relative: np.ndarray) -> None:
        if not np.all(sound):
            worst = f"worst relative residual {np.max(relative[~sound]):.1e}"
            counted = f"{np.sum(~sound)} of {sound.size}"
            warnings.warn(f"{counted} {failed} ({worst})", stacklevel=2)

    jax.debug.callback(tell, sound, relative)
