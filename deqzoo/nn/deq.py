"""A Flax NNX module whose output is the equilibrium of a cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flax import nnx

from deqzoo import catalog
from deqzoo.adjoint import Adjoint
from deqzoo.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER, fixed_point
from deqzoo.solution import Solution
from deqzoo.solver import Solver
from deqzoo.trees import State


class DEQ(nnx.Module):
    """z* = cell(z*, x), differentiable in the cell's parameters and in x.

    Args:
        cell: a module with ``cell(z, x) -> z`` and ``cell.start(x) -> z0``; it holds parameters
            only.
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn import DEQ, WideCell
        >>> deq = DEQ(WideCell(16, activations.get("gelu"), rngs=nnx.Rngs(0)), solver="picard")
        >>> deq(jnp.ones((4, 16))).value.shape
        (4, 16)
    """

    def __init__(
        self,
        cell: nnx.Module,
        *,
        solver: Solver | str = DEFAULT_SOLVER,
        adjoint: Adjoint | str = DEFAULT_ADJOINT,
    ):
        self.cell: Any = cell
        self.solver = catalog.solvers.get(solver)
        self.adjoint = catalog.adjoints.get(adjoint)

    def __call__(self, x: Any, z0: State | None = None) -> Solution:
        """Solve for the equilibrium at input ``x`` from ``z0`` (by default ``cell.start(x)``).

        Raises:
            ValueError: the cell holds state besides parameters.
        """
        start = self.cell.start(x) if z0 is None else z0
        graph, parameters, rest = nnx.split(self.cell, nnx.Param, ...)
        _refuse_state(rest)
        cell = _pure(graph, rest)
        return fixed_point(cell, start, (parameters, x), solver=self.solver, adjoint=self.adjoint)


def _pure(graph: nnx.GraphDef, rest: Any) -> Callable[[State, Any], State]:
    # copy=True gives the loop fresh variables: shared ones belong to another trace level.
    return lambda z, args: nnx.merge(graph, args[0], rest, copy=True)(z, args[1])


def _refuse_state(rest: Any) -> None:
    kinds = sorted({type(variable).__name__ for _, variable in nnx.to_flat_state(rest)})
    if kinds:
        raise ValueError(
            f"the cell holds {', '.join(kinds)} besides its parameters: a fixed point needs the "
            "same map at every step. Put BatchNorm and Dropout into the stem or head, and use "
            "LayerNorm or GroupNorm inside the cell"
        )
