"""Forward-backward splitting for monotone equilibrium models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from deqzoo.core import trees
from deqzoo.core.map import split
from deqzoo.core.map.program import Map
from deqzoo.core.map.split import Near
from deqzoo.core.solver import Evaluation, Solver
from deqzoo.core.trees import State
from deqzoo.settings import In

__all__ = ["ForwardBackward"]


class _Memory(NamedTuple):
    """The last point, the operator there, the step that left it, and the prox of that step."""

    z: State
    rise: State
    step_size: Float[Array, " batch"]
    near: Near


@dataclass(frozen=True)
class ForwardBackward(Solver):
    """z_{k+1} = prox_α(z_k + α (Wz_k + b - z_k)) for z = σ(Wz + b) with I - W strongly monotone.

    With <v, (I - W)v> >= m ||v||² and ||I - W||_2 <= L it converges for every α < 2m/L², with the
    factor sqrt(1 - m²/L²) for α = m/L²: no bound on ||W||_2 is needed. The function must be a
    ``deqzoo.Split``. α = 1 is Picard iteration.

    Attributes:
        step_size: α > 0; None takes <Δz, ΔF>/||ΔF||² of the last two evaluations, F = (I - W)z - b,
            which estimates m/L² for every example by itself.

    References:
        Winston and Kolter, "Monotone operator equilibrium networks", arXiv 2006.08591.
        Barzilai and Borwein, "Two-point step size gradient methods", IMA J. Numer. Anal. 8 (1988).

    Example:
        >>> import jax.numpy as jnp, deqzoo
        >>> from deqzoo import Split
        >>> fn, z0 = Split("relu", lambda z, x: x - 3 * z), jnp.zeros((1, 2))
        >>> solution = deqzoo.fixed_point(fn, z0, jnp.ones((1, 2)), solver="forward_backward")
        >>> [round(z, 4) for z in solution.value[0].tolist()]
        [0.25, 0.25]
    """

    step_size: Annotated[float, In("(0, inf)")] | None = None

    needs_split: ClassVar[bool] = True
    patience: ClassVar[int] = 500

    def init(self, fn: Map, z0: State) -> _Memory:
        """No last point."""
        near = split.require(fn, "forward_backward").near(z0)
        zeros = jax.tree.map(jnp.zeros_like, z0)
        step_size = jnp.zeros_like(trees.norm(z0)) + (self.step_size or 1.0)
        return _Memory(zeros, zeros, step_size, near)

    def step(self, evaluation: Evaluation, memory: _Memory) -> tuple[State, _Memory]:
        """A step along affine(z) - z, and the proximal operator."""
        fn, z = split.require(evaluation.fn, "forward_backward"), evaluation.z
        rise = fn.rise(z)  # the compiler shares its product with that of the evaluation
        step_size = memory.step_size
        if self.step_size is None:
            step_size = jnp.where(evaluation.step > 0, _estimate(z, rise, memory), step_size)
        moved = trees.add(z, trees.scale(step_size, rise))
        following, near = fn.prox_near(moved, step_size, memory.near)
        return following, _Memory(z, rise, step_size, near)


def _estimate(z: State, rise: State, memory: _Memory) -> Float[Array, " batch"]:
    """<Δz, ΔF>/||ΔF||²; half the last step where Δz says nothing or F is not monotone along it."""
    dz = trees.ravel(trees.subtract(z, memory.z))
    df = trees.ravel(trees.subtract(memory.rise, rise))
    length, height = (trees.norm(rows)[:, None] for rows in (dz, df))
    moves = (length > 0) & (height > 0)
    length, height = jnp.where(moves, length, 1), jnp.where(moves, height, 1)
    cosine = jnp.sum(dz / length * (df / height), axis=1)
    estimate = lax.stop_gradient(cosine * (length / height)[:, 0])
    usable = (estimate > 0) & jnp.isfinite(estimate)
    return jnp.where(usable, estimate, 0.5 * memory.step_size)
