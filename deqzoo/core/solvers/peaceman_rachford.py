"""Peaceman-Rachford splitting for monotone equilibrium models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from deqzoo import catalog
from deqzoo.core import inner, trees
from deqzoo.core.linear_solver import LinearSolver
from deqzoo.core.linear_solvers.gmres import GMRES
from deqzoo.core.map import split
from deqzoo.core.map.program import Map
from deqzoo.core.map.split import Near, SplitProgram
from deqzoo.core.solver import Evaluation, Solver
from deqzoo.core.trees import State
from deqzoo.settings import In

__all__ = ["PeacemanRachford"]

_ACCURACY = 0.1  # of the resolvent, relative to how far it moves; tighter costs more products
_USEFUL = 0.9  # a resolvent with a larger relative residual is none


class _Memory(NamedTuple):
    """The point that was reflected last, its prox, the step size, and the cost of resolvents."""

    u: State
    near: Near
    step_size: Float[Array, " batch"]
    inverse: Float[Array, "n n"] | None  # (I + α(I - W))^{-1}, where W is known
    spent: Int[Array, " batch"]
    total: Int[Array, " batch"]


@dataclass(frozen=True)
class PeacemanRachford(Solver):
    """Reflections in turn, for z = σ(Wz + b) with I - W strongly monotone.

    v = 2z - u,  x = (I + α(I - W))^{-1} (v + αb),  u <- 2x - v,  z <- prox_α(u). With exact steps
    it converges for every α > 0. A linear equation and a prox without a closed form are solved from
    where the last ones were, to a tenth of how far they move: nothing is proved of that, and what
    ends a solve is the residual of z itself. It needs far fewer steps than forward-backward
    splitting where ||W||_2 is large, each of them a linear solve whose products count as steps. A
    ``weight`` of the ``deqzoo.Split``, which the function must be, is inverted once: one product a
    step.

    Attributes:
        step_size: α > 0; None takes |det(I - W)|^{-1/n}, one over the geometric mean of the
            singular values, where W is known, and ||d||/||(I - W)d||, d = Wz0 + b - z0, for every
            example by itself where it is not: a larger step needs fewer but dearer resolvents.
        linear: the linear solver of the resolvent or its recipe.

    References:
        Winston and Kolter, "Monotone operator equilibrium networks", arXiv 2006.08591.

    Example:
        >>> import jax.numpy as jnp, deqzoo
        >>> from deqzoo import Split
        >>> fn, z0 = Split("relu", lambda z, x: x - 3 * z), jnp.zeros((1, 2))
        >>> solution = deqzoo.fixed_point(fn, z0, jnp.ones((1, 2)), solver="peaceman_rachford")
        >>> [round(z, 4) for z in solution.value[0].tolist()]
        [0.25, 0.25]
    """

    step_size: Annotated[float, In("(0, inf)")] | None = None
    linear: LinearSolver | str = GMRES()

    needs_split: ClassVar[bool] = True
    patience: ClassVar[int] = 500

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "linear", catalog.linear_solvers.get(self.linear))

    def init(self, fn: Map, z0: State) -> _Memory:
        """The start u = z0, the step size, and the resolvent where it is one matrix."""
        fn = split.require(fn, "peaceman_rachford")
        none, inverse = jnp.zeros_like(trees.norm(z0), jnp.int32), None
        if fn.weight is not None:
            alpha, inverse = _inverse(fn.weight, self.step_size)
            step_size = none + alpha
        else:
            step_size = _estimate(fn, z0) if self.step_size is None else none + self.step_size
        return _Memory(z0, fn.near(z0), step_size, inverse, none, none)

    def spent(self, memory: _Memory) -> Int[Array, " batch"]:
        """Products of the last step."""
        return memory.spent

    def step(self, evaluation: Evaluation, memory: _Memory) -> tuple[State, _Memory]:
        """Reflect, resolve, reflect, and apply the proximal operator."""
        fn, z = split.require(evaluation.fn, "peaceman_rachford"), evaluation.z
        mirrored = jax.tree.map(lambda z, u: 2 * z - u, z, memory.u)
        inverse = memory.inverse
        if inverse is None:
            change, spent = self._solved(fn, evaluation, mirrored, memory)
        else:
            moved = trees.scale(memory.step_size, fn.rise(z))
            rhs = trees.add(trees.subtract(mirrored, z), moved)
            change = jax.tree.map(lambda leaf: (leaf @ inverse.T).astype(leaf.dtype), rhs)
            spent = jnp.ones_like(memory.spent)
        u = jax.tree.map(lambda z, d, v: 2 * (z + d) - v, z, change, mirrored)
        z, near = fn.prox_near(u, memory.step_size, memory.near)
        total = memory.total + spent
        return z, memory._replace(u=u, near=near, spent=spent, total=total)

    def _solved(
        self, fn: SplitProgram, evaluation: Evaluation, v: State, memory: _Memory
    ) -> tuple[State, Array]:
        """The step x - z by products, and how many it took."""
        limit = inner.allowance(self, evaluation, memory.total)
        change, spent = self._resolve(fn, evaluation.z, v, memory.step_size, limit)
        if self.step_size is None:
            first = (evaluation.step == 0) & (limit > 0)
            spent += first.astype(spent.dtype)  # the product of the estimate
        return change, spent

    def _resolve(
        self, fn: SplitProgram, z: State, v: State, step_size: Array, limit: Array
    ) -> tuple[State, Array]:
        """The d = x - z of (I + α(I - W)) d = v - z + α(Wz + b - z), an equation d = Jd + c.

        Without a solution, for want of products, it is c.
        """
        share, rest = step_size / (1 + step_size), 1 / (1 + step_size)
        offset = trees.scale(rest, trees.subtract(v, z))
        rhs = trees.add(offset, trees.scale(share, fn.rise(z)))
        _, product = jax.linearize(fn.affine, z)
        goal = _ACCURACY * lax.stop_gradient(trees.norm(rhs))
        shared = lambda d: trees.scale(share, product(d))  # noqa: E731
        linear = catalog.linear_solvers.get(self.linear)
        found = inner.solve(linear, shared, rhs, goal, limit)
        return trees.select(found.error <= _USEFUL, found.value, rhs), found.steps


def _inverse(
    weight: Float[Array, "n n"], step_size: float | None
) -> tuple[Float[Array, ""], Float[Array, "n n"]]:
    """α and (I + α(I - W))^{-1}."""
    weight = weight.astype(trees.reduction_dtype(weight))
    monotone = jnp.eye(weight.shape[0], dtype=weight.dtype) - weight
    if step_size is None:
        logarithm = jnp.linalg.slogdet(lax.stop_gradient(monotone))[1]
        alpha = jnp.exp(-logarithm / weight.shape[0])
    else:
        alpha = jnp.asarray(step_size, weight.dtype)
    return alpha, jnp.linalg.inv(jnp.eye(weight.shape[0], dtype=weight.dtype) + alpha * monotone)


def _estimate(fn: SplitProgram, z: State) -> Float[Array, " batch"]:
    """||d||/||(I - W)d|| for d = Wz + b - z; 1 where that says nothing."""
    d, product = fn.rise(z), jax.linearize(fn.affine, z)[1]
    pushed = trees.norm(trees.subtract(d, product(d)))
    ratio = lax.stop_gradient(trees.norm(d) / jnp.where(pushed > 0, pushed, jnp.inf))
    return jnp.where(jnp.isfinite(ratio) & (ratio > 0), ratio, 1)
