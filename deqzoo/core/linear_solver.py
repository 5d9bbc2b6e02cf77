"""The linear equation behind every derivative of a fixed point: u = Ju + b, per example."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from deqzoo.core import loop, stopping, trees
from deqzoo.core.map.program import Map
from deqzoo.core.solution import Stats
from deqzoo.core.solver import Count, Solver, Tolerance
from deqzoo.core.trees import State
from deqzoo.settings import validate


class Answer(NamedTuple):
    """What a linear solve found.

    Attributes:
        value: u.
        stats: per example; the residual is ||Ju + b - u||_2, measured at u and not recurred.
        sound: whether the residual is finite and below a tenth of u (Krylov solvers and LU: of b).
    """

    value: State
    stats: Stats
    sound: Bool[Array, " batch"]


@dataclass(frozen=True)
class LinearSolver(abc.ABC):
    """Solve u = Ju + b for every example by itself.

    To write one, derive a frozen dataclass in a file of ``deqzoo/linear_solvers`` and define
    ``solve``.

    Attributes:
        rtol: relative tolerance, ||Ju + b - u||_2 <= rtol ||b||_2; None takes that of the forward
            solver.
        max_steps: products with J at most.
    """

    rtol: Tolerance | None = None
    max_steps: Count = 200

    def __post_init__(self):
        validate(self)

    @abc.abstractmethod
    def solve(
        self,
        product: Map,
        rhs: State,
        guess: State | None,
        *,
        goal: Float[Array, " batch"] | None = None,
        limit: Int[Array, " batch"] | None = None,
    ) -> Answer:
        """Solve u = product(u) + rhs.

        Args:
            product: u -> Ju, linear, examples apart.
            rhs: b, every example of size about one.
            guess: where to start, if better than nothing.
            goal: norm of the residual that every example wants, instead of ``rtol ||b||``.
            limit: products that every example may use, instead of ``max_steps``.
        """


def solve(
    solver: LinearSolver | Solver, product: Map, rhs: State, guess: State | None = None
) -> Answer:
    """Solve u = Ju + b with any linear solver or fixed-point solver.

    Every example is scaled to size one first: a tiny cotangent must not meet an absolute threshold.
    """
    size = trees.magnitude(rhs)
    unit = trees.scale(1 / size, rhs)
    guess = None if guess is None else trees.scale(1 / size, guess)
    if isinstance(solver, Solver):
        answer = _iterate(solver, product, unit, guess)
    else:
        answer = solver.solve(product, unit, guess)
    return answer._replace(value=trees.scale(size, answer.value))


class Affine(NamedTuple):
    """u -> Ju + b, and a place to iterate it from.

    Attributes:
        product: u -> Ju.
        rhs: b.
        origin: where iterations begin.
        value: J origin + b.
    """

    product: Map
    rhs: State
    origin: State
    value: State

    @property
    def is_scaled(self) -> bool:
        """Its states are of about size one."""
        return True

    def start(self, origin: State) -> State:
        """What is known already."""
        del origin
        return self.value

    def __call__(self, u: State) -> State:
        """Ju + b."""
        return trees.add(self.product(u), self.rhs)


def affine(product: Map, rhs: State, guess: State | None) -> Affine:
    """The map u -> Ju + b, to be iterated from zero or from the best multiple of a guess.

    A cotangent that has grown, shrunk or changed its sign leaves the direction of its solution. One
    product tells the multiple t of the smallest residual ||b - t (g - Jg)||_2; an example for which
    that is more than half of ||b||_2 begins at zero, whose value costs no product.
    """
    zero = trees.full_like(rhs, 0.0)
    if guess is None:
        return Affine(product, rhs, zero, rhs)
    pushed = product(guess)
    change = trees.subtract(guess, pushed)
    multiple, share = best_multiple(trees.ravel(rhs), trees.ravel(change))
    good = share > 1 - stopping.STALE**2  # false for NaN
    origin = trees.select(good, trees.scale(multiple, guess), zero)
    value = trees.select(good, trees.add(trees.scale(multiple, pushed), rhs), rhs)
    return Affine(product, rhs, origin, value)


def best_multiple(
    b: Float[Array, "batch size"], change: Float[Array, "batch size"]
) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    """The t of the smallest ||b - t change||_2, and the share of ||b||_2^2 that it takes away.

    NaN where there is none.
    """
    overlap = jnp.sum(b * change, axis=1)
    multiple = overlap / jnp.sum(change * change, axis=1)
    return multiple, overlap * multiple / jnp.sum(b * b, axis=1)


def _iterate(solver: Solver, product: Map, rhs: State, guess: State | None) -> Answer:
    fn = affine(product, rhs, guess)
    ran = loop.run(solver, fn, fn.origin)
    return Answer(ran.solution.value, ran.solution.stats, ran.sound)
