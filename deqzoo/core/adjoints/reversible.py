"""The exact derivative of a reversible iteration, without stored states."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from deqzoo.core import loop, trees
from deqzoo.core.adjoint import Adjoint, Backward
from deqzoo.core.carried import Carried
from deqzoo.core.map.program import Program
from deqzoo.core.solution import Solution, Stats, Status
from deqzoo.core.solver import Solver
from deqzoo.core.solvers.reversible import Reversible as ReversibleSolver
from deqzoo.core.trees import State
from deqzoo.settings import In

__all__ = ["Reversible"]

_DRIFT = 1e-2  # relative error of a reconstructed state above which it is reported


@dataclass(frozen=True)
class Reversible(Adjoint):
    """The chain rule through x_{k+1} = (1 - d) x_{k-1} + d f(x_k), run backwards from its end.

    x_{k-1} = (x_{k+1} - d f(x_k)) / (1 - d) gives every state again, so that memory does not grow
    with the steps. With the solver ``reversible`` it is the gradient of the iterations that were
    taken, converged or not. Any other solver keeps its value, and ``steps`` reversible steps from
    there are differentiated; the gradient tends to that of ``implicit`` at the factor of the solver
    ``reversible``. The start counts as a constant. First derivatives in reverse mode only.

    A step back multiplies rounding by up to 1 / (1 - d), and the cotangent need not fade as fast:
    after k steps the states are off by up to (1 - d)^-k roundings. Every ``refresh`` steps they are
    therefore computed again from the start, which adds about n^2 / (2 refresh) evaluations to n
    steps. The drift between two refreshments is the residual that reaches ``Backward``.

    Attributes:
        steps: reversible steps after a solver of another kind, at least 1.
        damping: share of the new value d in these steps, in (0, 1).
        refresh: steps back before the states are computed anew; None stands for as many as keep
            rounding below the square root of the dtype's (11 in float32 and 26 in float64 at
            d = 1/2).

    References:
        McCallum, Arora and Foster, "Reversible Deep Equilibrium Models", arXiv 2509.12917.

    Example:
        >>> import jax, jax.numpy as jnp, deqzoo
        >>> fn, z0 = lambda z, x: 0.5 * z + x, jnp.zeros((1, 1))
        >>> how = {"solver": "reversible(rtol=1e-6)", "adjoint": "reversible"}
        >>> root = lambda x: deqzoo.fixed_point(fn, z0, x, **how).value[0, 0]
        >>> round(float(jax.grad(root)(jnp.ones((1, 1)))[0, 0]), 4)
        2.0
    """

    steps: Annotated[int, In("[1, 2^31)")] = 20
    damping: Annotated[float, In("(0, 1)")] = 0.8
    refresh: Annotated[int, In("[1, 2^31)")] | None = None

    def __call__(
        self,
        solver: Solver,
        fn: Program,
        z0: State,
        *,
        guess: State | None = None,
        backward: Backward | None = None,
    ) -> Solution:
        """Solve; what the way back needs is the start, the value and the number of steps."""
        z0, guess = lax.stop_gradient((z0, guess))
        carried = Carried.of(solver, trees.reduction_dtype(z0))
        return _root(self, carried, fn, z0, guess, backward)

    def period(self, damping: float, z: State) -> int:
        """Steps back before rounding may have grown to its square root."""
        if self.refresh is not None:
            return self.refresh
        return max(1, int(math.log(trees.coarsest_eps(z)) / (2 * math.log(1 - damping))))


class _Pair(NamedTuple):
    """Two states in a row: all that the recurrence remembers."""

    x: State
    previous: State


class _Way(NamedTuple):
    """The way back: the pair after ``k`` steps and what was collected since the end."""

    k: Int[Array, ""]
    pair: _Pair
    cotangent: _Pair
    weights: list[Array]
    drift: Float[Array, " batch"]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _root(adjoint, carried, fn, z0, guess, backward):
    del adjoint
    return loop.run(carried.solver, fn, z0, guess=guess).solution


def _root_forward(adjoint, carried, fn, z0, guess, backward):
    del adjoint
    solver = carried.solver
    ran = loop.run(solver, fn, z0, guess=guess)
    start = ran.memory.start if _is_reversible(solver) else ran.solution.value
    value, steps = ran.solution.value, ran.solution.stats.steps
    return ran.solution, (Carried(carried.fixed, {}), fn, start, value, steps, backward)


def _root_backward(adjoint, kept, cotangent):
    carried, fn, start, value, steps, backward = kept
    solver = carried.fixed
    if _is_reversible(solver):
        rule = solver
        pair, counts = _find(rule, fn, start, value, steps)
    else:
        rule = ReversibleSolver(damping=adjoint.damping)
        counts = jnp.full_like(steps, adjoint.steps)
        pair = _ahead(rule, fn, start, jnp.asarray(adjoint.steps))
    period = adjoint.period(rule.damping, value)
    way = _back(rule, fn, start, counts, period, pair, cotangent.value)
    slope = jax.tree.unflatten(*_filled(fn, way.weights))
    return None, slope, None, None, _report(backward, counts, way.drift, value)


_root.defvjp(_root_forward, _root_backward)


def _is_reversible(solver: Solver) -> bool:
    return isinstance(solver, ReversibleSolver)


def _advance(rule: Any, fn: Program, pair: _Pair) -> _Pair:
    return _Pair(rule.advance(pair.previous, fn(pair.x)), pair.x)


def _ahead(rule: Any, fn: Program, start: State, count: Int[Array, ""]) -> _Pair:
    """The pair after ``count`` steps."""
    return lax.fori_loop(0, count, lambda _, pair: _advance(rule, fn, pair), _Pair(start, start))


def _find(
    rule: Any, fn: Program, start: State, value: State, steps: Int[Array, " batch"]
) -> tuple[_Pair, Int[Array, " batch"]]:
    """The pair whose newer state is the value, and how many steps lead to it.

    The solver returns the best iterate, not always the last, and does not remember the state before
    it: the iteration is run once more.
    """
    distance = lambda x: trees.norm(trees.subtract(x, value))  # noqa: E731

    def step(k, carry):
        pair, found, counts, nearest = carry
        pair = _advance(rule, fn, pair)
        here = distance(pair.x)
        nearer = (k < steps) & (here < nearest)
        found = _Pair(*(trees.select(nearer, a, b) for a, b in zip(pair, found, strict=True)))
        return pair, found, jnp.where(nearer, k, counts), jnp.where(nearer, here, nearest)

    first = _Pair(start, start)
    carry = first, first, jnp.zeros_like(steps), distance(start)
    _, found, counts, _ = lax.fori_loop(1, jnp.max(steps, initial=0), step, carry)
    return found, counts


def _back(
    rule: Any, fn: Program, start: State, counts: Array, period: int, pair: _Pair, cotangent: State
) -> _Way:
    """From the end of every example to the start, in stretches of ``period`` steps."""
    zero = trees.full_like(cotangent, 0.0)
    weights = [jnp.zeros_like(leaf) for leaf in _inexact(fn)]
    drift = jnp.zeros(len(counts), trees.reduction_dtype(start))
    way = _Way(jnp.max(counts, initial=0), pair, _Pair(cotangent, zero), weights, drift)

    def stretch(way):
        low = (way.k - 1) // period * period
        way = lax.while_loop(lambda w: w.k > low, lambda w: _step_back(rule, fn, counts, w), way)
        exact = _ahead(rule, fn, start, low)
        passed = counts > low
        error = trees.norm(trees.subtract(way.pair.x, exact.x))
        fresh = _select(passed, exact, way.pair)
        drift = jnp.where(passed, jnp.maximum(way.drift, error), way.drift)
        return way._replace(pair=fresh, drift=drift)

    return lax.while_loop(lambda way: way.k > 0, stretch, way)


def _step_back(rule: Any, fn: Program, counts: Array, way: _Way) -> _Way:
    """Undo the step that led to x_k, for the examples that took it."""
    took = counts >= way.k
    fx, pullback = jax.vjp(lambda w, z: _with(fn, w)(z), _inexact(fn), way.pair.previous)
    new, old = way.cotangent
    push = trees.select(took, new, trees.full_like(new, 0.0))
    weights, slope = pullback(jax.tree.map(lambda leaf: rule.damping * leaf, push))
    pair = _Pair(way.pair.previous, rule.retreat(way.pair.x, fx))
    cotangent = _Pair(
        trees.add(old, slope), jax.tree.map(lambda leaf: (1 - rule.damping) * leaf, new)
    )
    return way._replace(
        k=way.k - 1,
        pair=_select(took, pair, way.pair),
        cotangent=_select(took, cotangent, way.cotangent),
        weights=[total + part for total, part in zip(way.weights, weights, strict=True)],
    )


def _select(mask: Array, a: _Pair, b: _Pair) -> _Pair:
    return _Pair(*(trees.select(mask, x, y) for x, y in zip(a, b, strict=True)))


# Of the captured arrays only numbers have a derivative.


def _is_inexact(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def _inexact(fn: Program) -> list[Array]:
    return [leaf for leaf in jax.tree.leaves(fn) if _is_inexact(leaf)]


def _with(fn: Program, weights: list[Array]) -> Program:
    """The program with other captured numbers."""
    leaves, structure = jax.tree.flatten(fn)
    numbers = iter(weights)
    return structure.unflatten([next(numbers) if _is_inexact(leaf) else leaf for leaf in leaves])


def _filled(fn: Program, weights: list[Array]) -> tuple[Any, list[Any]]:
    """Structure and leaves of the cotangent of a program."""
    leaves, structure = jax.tree.flatten(fn)
    numbers = iter(weights)
    nothing = lambda leaf: np.zeros(leaf.shape, jax.dtypes.float0)  # noqa: E731
    return structure, [next(numbers) if _is_inexact(leaf) else nothing(leaf) for leaf in leaves]


def _report(
    backward: Backward | None, counts: Array, drift: Array, value: State
) -> Backward | None:
    """How far the reconstructed states had strayed, as statistics of a backward solve."""
    if backward is None:
        return None
    relative = drift / jnp.maximum(trees.norm(value), jnp.finfo(drift.dtype).tiny)
    status = jnp.where(relative <= _DRIFT, Status.CONVERGED.value, Status.FLOOR.value)
    stats = Stats(counts, drift, relative, status, jnp.full_like(drift, jnp.inf))
    return backward.filled(stats, trees.full_like(value, 0.0))
