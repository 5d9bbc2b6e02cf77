"""The same weights under another solver."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from flax import nnx

from deqzoo import catalog
from deqzoo.core.solver import Solver
from deqzoo.nn.model import Model


def with_solver(model: Model, solver: Solver) -> Model:
    """A copy of the model, with the same weights, that finds its equilibria otherwise.

    It takes the default adjoint: some others come with a solver of their own.

    Example:
        >>> from flax import nnx
        >>> from deqzoo import catalog
        >>> from deqzoo.runs.variants import with_solver
        >>> model = catalog.models.get(
        ...     "classifier", spec=(4,), outputs=2, width=8, rngs=nnx.Rngs(0)
        ... )
        >>> with_solver(model, catalog.solvers.get("picard")).deq.solver.max_steps
        200
    """
    copy = nnx.clone(model)
    copy.deq = type(copy.deq)(copy.deq.cell, solver=solver)
    return copy


def solvers(recipes: Sequence[str], own: Solver, changes: dict[str, Any]) -> list[Solver]:
    """The solver of every recipe, with some settings changed in all of them.

    Args:
        recipes: solver recipes; where there are none, ``own`` is changed.
        own: the solver of a run.
        changes: field of ``Solver`` -> value.

    Raises:
        CatalogError: a recipe that cannot be built.
        ValueError: a value that a solver does not take.

    Example:
        >>> from deqzoo.runs.variants import solvers
        >>> [changed] = solvers(["picard"], None, {"rtol": 1e-3})
        >>> changed.rtol
        0.001
    """
    rules = [catalog.solvers.get(recipe) for recipe in recipes]
    if changes and not rules:
        rules = [own]
    return [dataclasses.replace(rule, **changes) for rule in rules]
