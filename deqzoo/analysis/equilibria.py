"""Solve a model's equilibria from any start, by any solver, compiled."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any, NamedTuple

import jax
from flax import nnx
from jaxtyping import Array, Float

from deqzoo import catalog
from deqzoo.core.solution import Solution
from deqzoo.core.solver import Solver
from deqzoo.core.trees import State
from deqzoo.nn.deq import DEQ
from deqzoo.nn.model import Model


class Solved(NamedTuple):
    """Equilibria and what the head makes of them.

    Attributes:
        outputs: of the equilibria.
        solution: how they were found.
        along: outputs of the iterates that the solver's ``trajectory`` names.
    """

    outputs: Float[Array, "batch outputs"]
    solution: Solution
    along: tuple[Float[Array, "batch outputs"], ...]


def solve(model: Model, x: Any, *, solver: Solver | None = None, z0: State | None = None) -> Solved:
    """The equilibria of ``model`` at the inputs x.

    Weights are arguments of the compiled program: all checkpoints of a run share one.

    Args:
        model: the model.
        x: inputs.
        solver: the model's own if not given.
        z0: the start; ``cell.start`` if not given.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.analysis.equilibria import solve
        >>> from deqzoo.models.wide import Wide
        >>> model = Wide((8,), 1, activation="tanh", width=32, rngs=nnx.Rngs(0))
        >>> solve(model, jnp.ones((5, 8))).solution.value.shape
        (5, 32)
    """
    graph, state = nnx.split(model)
    return _solve(graph, state, x, z0, model.deq.solver if solver is None else solver)


def step_by_step(solver: Solver, **changes: Any) -> Solver:
    """The solver with every evaluation looked at, in the state's own precision."""
    return replace(solver, **{"check_every": 1, "precision": None, "trajectory": (), **changes})


def comparable(model: Model, *others: str) -> list[Solver]:
    """The model's solver, then others of other kinds under its tolerance, all with a trace."""
    own = step_by_step(model.deq.solver, trace=True)
    terms = {"rtol": own.rtol, "atol": own.atol, "max_steps": own.max_steps, "trace": True}
    rules = [step_by_step(catalog.solvers.get(name), **terms) for name in others]
    return [own, *(rule for rule in rules if type(rule) is not type(own))]


def name_of(solver: Solver) -> str:
    """Its name in the catalog."""
    return catalog.snake_case(type(solver).__name__)


@functools.partial(jax.jit, static_argnames=("graph", "solver"))
def _solve(graph: nnx.GraphDef, state: Any, x: Any, z0: State | None, solver: Solver) -> Solved:
    model = nnx.merge(graph, state)
    deq = DEQ(model.deq.cell, solver=solver)  # of the default adjoint, which takes every solver
    injected = model.stem(x)
    solution = deq(injected, z0)
    outputs, *others = (model.head(z, injected) for z in (solution.value, *solution.trajectory))
    return Solved(outputs, solution, tuple(others))
