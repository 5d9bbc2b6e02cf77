"""A Flax NNX module whose output is the equilibrium of a cell."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from deqzoo import catalog
from deqzoo.core import combination, stopping, trees
from deqzoo.core.adjoint import Adjoint, Backward
from deqzoo.core.fixed_point import DEFAULT_ADJOINT, DEFAULT_SOLVER, fixed_point
from deqzoo.core.map.program import Map
from deqzoo.core.map.split import Split
from deqzoo.core.solution import Solution
from deqzoo.core.solver import Solver
from deqzoo.core.trees import State
from deqzoo.nn.split_cell import SplitCell
from deqzoo.settings import quoted

_RANDOM = (nnx.RngKey, nnx.RngCount)


class DEQ(nnx.Module):
    """z* = cell(z*, x), differentiable in the cell's parameters and in x.

    Args:
        cell: a module with ``cell(z, x) -> z`` and ``cell.start(x) -> z0``. Besides parameters it
            may hold constants (arrays, or variables that it only reads) and random streams: a
            dropout mask is drawn once per solve, the same in every step, and the streams advance
            once per call. A cell in bfloat16 or float16 (one whose start is) is evaluated in that
            precision, while the state is kept and summed in float32. Of a ``SplitCell`` the solver
            knows both parts.
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.

    Raises:
        CombinationError: the solver does not go with the adjoint, or needs a ``deqzoo.Split``.

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
        combination.require(self.solver, self.adjoint, has_split=isinstance(cell, SplitCell))
        _require_cell(cell)

    def __call__(
        self,
        x: Any,
        z0: State | None = None,
        *,
        guess: State | None = None,
        backward: Backward | None = None,
    ) -> Solution:
        """Solve for the equilibrium at input ``x`` from ``z0`` (by default ``cell.start(x)``).

        Args:
            x: what the cell takes besides z.
            z0: the start.
            guess: another start, taken where it is much better; see ``deqzoo.fixed_point``.
            backward: its cotangent tells of the backward solve; see ``deqzoo.fixed_point``.

        Raises:
            ValueError: a call of the cell changes what the next one reads, such as the statistics
                of a BatchNorm in train mode.
        """
        own = self.cell.start(x)
        start = own if z0 is None else z0
        graph, parameters, held = _split(self.cell)
        solution = fixed_point(
            _as_function(self.cell, graph, own),
            jax.tree.map(_in_float32_at_least, start),
            (parameters, held, x, *_made_once(self.cell)),
            solver=_reachable(self.solver, own),
            adjoint=self.adjoint,
            guess=guess,
            backward=backward,
        )
        self._advance_streams(nnx.merge(graph, parameters, held, copy=True), own, x)
        return solution

    def map(self, x: Any) -> Callable[[State], State]:
        """Z -> cell(z, x) with the random streams as they are now: what ``__call__`` solves."""
        graph, parameters, held = _split(self.cell)
        own = self.cell.start(x)
        return lambda z: _evaluated(graph, own, z, parameters, held, x)

    def program(self, x: Any) -> Map:
        """The map at input ``x`` as a solver's loop takes it: of a ``SplitCell`` in two parts."""
        own = self.cell.start(x)
        graph, parameters, held = _split(self.cell)
        fn, args = _as_function(self.cell, graph, own), (parameters, held, x)
        args = (*args, *_made_once(self.cell))
        return fn.program(own, args) if isinstance(fn, Split) else lambda z: fn(z, args)

    def _advance_streams(self, copy: Any, z: State, x: Any) -> None:
        """Count the draws of one application."""
        if not nnx.to_flat_state(nnx.state(copy, nnx.RngCount)):
            return
        copy(z, x)
        nnx.update(self.cell, nnx.state(copy, nnx.RngCount))


def _as_function(
    cell: nnx.Module, graph: nnx.GraphDef, own: State
) -> Callable[[State, Any], State]:
    """The cell as a function of its state and of (parameters, held, x, what is made once)."""
    if not isinstance(cell, SplitCell):
        return lambda z, args: _evaluated(graph, own, z, *args)

    def affine(z: State, args: Any) -> State:
        *others, matrix, _ = args
        part = lambda cell, z, x: cell.affine(z, x, matrix)  # noqa: E731
        return _evaluated(graph, own, z, *others, part=part)

    return Split(cell.proximal, affine, lambda args: args[-2], lambda args: args[-1])


def _made_once(cell: nnx.Module) -> tuple[Any, ...]:
    """Of a split cell what a solve makes once: W, and the parameters of σ."""
    return (cell.weight(), cell.learned()) if isinstance(cell, SplitCell) else ()


def _evaluated(
    graph: nnx.GraphDef,
    own: State,
    z: State,
    parameters: Any,
    held: Any,
    x: Any,
    part: Callable[..., State] | None = None,
) -> State:
    """The cell, or a part of it, in the precision of its own start, the result in that of z."""
    # copy=True gives the loop fresh variables: shared ones belong to another trace level.
    cell = nnx.merge(graph, parameters, held, copy=True)
    evaluate = cell if part is None else functools.partial(part, cell)
    image = _as_precise_as(z, evaluate(_as_precise_as(own, z), x))
    _require_unchanged(held, cell)
    return image


def _as_precise_as(like: State, state: State) -> State:
    return jax.tree.map(lambda leaf, kind: leaf.astype(kind.dtype), state, like)


def _in_float32_at_least(leaf: jax.Array) -> jax.Array:
    return leaf.astype(trees.reduction_dtype(leaf))


def _reachable(solver: Solver, start: State) -> Solver:
    """The solver with a tolerance that a cell of this precision can meet."""
    if trees.coarsest_eps(start) <= jnp.finfo(jnp.float32).eps:
        return solver
    return replace(solver, rtol=stopping.resolve_rtol(solver.rtol, start))


def _require_cell(cell: Any) -> None:
    if not (isinstance(cell, nnx.Module) and callable(cell) and hasattr(cell, "start")):
        raise TypeError(
            "a DEQ needs an nnx.Module with __call__(z, x) and start(x), such as "
            f"deqzoo.nn.WideCell, got {quoted(cell)}: derive one, or solve a plain function with "
            "deqzoo.fixed_point"
        )


def _split(cell: nnx.Module) -> tuple[nnx.GraphDef, Any, Any]:
    """The cell as structure, parameters and whatever else it holds."""
    graph, parameters, held = nnx.split(cell, nnx.Param, ...)
    # New variables: those of the cell go on counting.
    return graph, parameters, jax.tree.map(lambda leaf: leaf, held)


def _require_unchanged(held: Any, cell: nnx.Module) -> None:
    """Refuse a cell whose call has written what its next call would read."""
    after = dict(nnx.to_flat_state(nnx.state(cell, nnx.Not(nnx.Param))))
    for path, before in nnx.to_flat_state(held):
        if not isinstance(before, _RANDOM) and _array(after.get(path)) is not _array(before):
            raise ValueError(
                f"a call of the cell changes its {type(before).__name__} "
                f"{'.'.join(map(str, path))}: a fixed point needs the same map at every step. Put "
                "BatchNorm into the stem or head, and use LayerNorm or GroupNorm inside the cell; "
                "or let the cell read what it holds without writing it "
                "(use_running_average=True, SpectralNorm's update_stats=False)"
            )


def _array(leaf: Any) -> Any:
    return leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf
