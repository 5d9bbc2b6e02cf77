"""How the derivative of a fixed point is taken: independent of how the fixed point is found."""

from __future__ import annotations

import abc
import functools
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from deqzoo.core import reals, trees
from deqzoo.core.carried import Carried
from deqzoo.core.loop import solve
from deqzoo.core.map.program import Program
from deqzoo.core.solution import Solution, Stats
from deqzoo.core.solver import Solver
from deqzoo.core.trees import State
from deqzoo.settings import validate


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Backward:
    """What the backward solve of a reverse-mode derivative found.

    It is handed to ``fixed_point`` as an argument, and its *cotangent* is what the backward pass of
    that call found: ``jax.grad(loss, argnums=(0, 1))(parameters, Backward.empty(z))[1]``. Handed to
    the next call it is the start of the next backward solve.

    Attributes:
        stats: steps, residual and status of u = Jᵀu + cotangent per example, as floats.
        solution: u, or None if it is not wanted.
    """

    stats: Stats
    solution: State | None = None

    @classmethod
    def empty(cls, z: State, *, keeps_solution: bool = False) -> Backward:
        """Nothing found yet, for states like ``z``."""
        zeros = jnp.zeros(trees.batch_size(z), trees.reduction_dtype(reals.parts(z)))
        solution = trees.full_like(z, 0.0) if keeps_solution else None
        return cls(Stats(zeros, zeros, zeros, zeros, zeros), solution)

    def filled(self, stats: Stats, solution: State) -> Backward:
        """The same with these findings."""
        as_float = jax.tree.map(lambda new, old: new.astype(old.dtype), stats, self.stats)
        return Backward(as_float, None if self.solution is None else solution)


@dataclass(frozen=True)
class Adjoint(abc.ABC):
    """Find z = fn(z) with a given solver such that the result can be differentiated.

    To write an adjoint, derive a frozen dataclass in a file of ``deqzoo/adjoints`` and define
    ``__call__``. Derivatives with respect to what ``fn`` captured are the point of an adjoint: as a
    ``Program`` it is a pytree with these arrays as leaves.
    """

    # The solvers that it goes with.
    solvers: ClassVar[tuple[type[Solver], ...]] = (Solver,)

    def __post_init__(self):
        validate(self)

    @abc.abstractmethod
    def __call__(
        self,
        solver: Solver,
        fn: Program,
        z0: State,
        *,
        guess: State | None = None,
        backward: Backward | None = None,
    ) -> Solution:
        """Solve from ``z0`` or ``guess`` and return a ``Solution`` whose value carries derivatives.

        Args:
            solver: how the fixed point is found.
            fn: the map.
            z0: the start.
            guess: another start, taken where it is much better.
            backward: its cotangent becomes what the backward solve found; an adjoint without one
                leaves it zero.
        """


@dataclass(frozen=True)
class TangentAdjoint(Adjoint):
    """An adjoint that is given by the tangent dz of the fixed point for a change of the map.

    To write one, define ``tangent`` out of operations that are linear in the change and that JAX
    can transpose; every mode of differentiation follows.
    """

    def __call__(
        self,
        solver: Solver,
        fn: Program,
        z0: State,
        *,
        guess: State | None = None,
        backward: Backward | None = None,
    ) -> Solution:
        """Solve, and attach the derivative."""
        z0, guess = lax.stop_gradient((z0, guess))
        carried = Carried.of(solver, trees.reduction_dtype(z0))
        solution = _root(self, carried, fn, z0, guess, backward)
        return replace(solution, stats=_counted(solution.stats))

    @abc.abstractmethod
    def tangent(
        self,
        solver: Solver,
        fn: Program,
        change: Program,
        z: State,
        backward: Backward | None,
        report: Backward | None,
    ) -> State:
        """The change of the fixed point.

        Args:
            solver: the forward solver.
            fn: the map.
            change: its tangent: one for every captured array.
            z: the fixed point.
            backward: what the last backward solve found.
            report: the tangent of ``backward``; its cotangent is to be what this one finds.
        """


def riding(df: State, report: Backward | None) -> tuple[State, Backward | None]:
    """Both as they are, every array a function of all others too.

    JAX transposes a linear solve only where all of its right-hand side has a cotangent, and a
    derivative may be asked for the map's arguments alone, of which not every array of the state
    need depend by itself, or for ``backward`` alone.
    """
    if len(jax.tree.leaves(df)) > 1:
        df = _with_nothing_of(df, df)
    if report is None:
        return df, None
    return _with_nothing_of(report, df), _with_nothing_of(df, report)


def _with_nothing_of(other: Any, tree: Any) -> Any:
    """The tree plus the sum of no entries, which takes no cotangent and gives none."""
    nothing = sum(jnp.sum(leaf.reshape(-1)[:0]) for leaf in jax.tree.leaves(other))
    return jax.tree.map(lambda leaf: leaf + jnp.asarray(nothing).astype(leaf.dtype), tree)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _root(adjoint, carried, fn, z0, guess, backward):
    # JAX names the empty mesh where it differentiates and not before: name it always, or the trace
    # of the solve is not found again.
    with jax.sharding.use_abstract_mesh(jax.sharding.get_abstract_mesh()):
        solution = _solve(carried, fn, z0, guess)
    # An integer has no tangent that shard_map would know the devices of: counts ride as floats.
    return replace(solution, stats=_measured(solution.stats))


# A gradient traces the solve for the value and again for the derivative; then it is known.
@jax.jit
def _solve(carried, fn, z0, guess):
    return solve(carried.solver, fn.prepared(), z0, guess=guess)


@_root.defjvp
def _root_jvp(adjoint, primals, tangents):
    carried, fn, _, _, backward = primals
    _, change, _, _, report = tangents
    solution = _root(adjoint, *primals)
    dz = adjoint.tangent(carried.solver, fn, change, solution.value, backward, report)
    return solution, replace(jax.tree.map(jnp.zeros_like, solution), value=dz)


def _measured(stats: Stats) -> Stats:
    wide = trees.reduction_dtype(stats.residual)
    return replace(stats, steps=stats.steps.astype(wide), status=stats.status.astype(wide))


def _counted(stats: Stats) -> Stats:
    stats = lax.stop_gradient(stats)
    return replace(
        stats, steps=stats.steps.astype(jnp.int32), status=stats.status.astype(jnp.int32)
    )
