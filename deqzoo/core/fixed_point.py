"""The front door: z = fn(z, args) for any pytree, with derivatives."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo import catalog
from deqzoo.core import combination, failure, reals, trees, whole
from deqzoo.core.adjoint import Adjoint, Backward
from deqzoo.core.adjoints.implicit import Implicit
from deqzoo.core.carried import Carried
from deqzoo.core.map import apart
from deqzoo.core.map.place import Mixed, Place
from deqzoo.core.map.program import Program
from deqzoo.core.map.split import Split, SplitProgram
from deqzoo.core.solution import Solution
from deqzoo.core.solver import Solver
from deqzoo.core.solvers.auto import Auto
from deqzoo.core.trees import State

DEFAULT_SOLVER = Auto()
DEFAULT_ADJOINT = Implicit()
_STABLE = {"jax", "numpy", "math"}


def fixed_point(
    fn: Callable[[State, Any], State],
    z0: State,
    args: Any = None,
    *,
    solver: Solver | str = DEFAULT_SOLVER,
    adjoint: Adjoint | str = DEFAULT_ADJOINT,
    guess: State | None = None,
    backward: Backward | None = None,
    has_aux: bool = False,
) -> Solution:
    """z* = fn(z*, args), solved per example; differentiable in ``args`` and captured arrays.

    Every example is stopped, frozen and judged by itself: its result does not depend on its
    batch-mates, and a non-finite example leaves the others untouched. Nothing raises inside
    ``jit``; ``Solution.check()`` does, on the host. Equal settings share one compiled program,
    under ``jit`` and in eager calls whose functions are traced to the same operations, whatever
    arrays they capture; a function that sees nothing but its arguments and ``jax``/``numpy`` is not
    even traced again.

    Args:
        fn: the map (z, args) -> z; it is traced once. It keeps the structure, shapes and dtypes of
            z and keeps the examples apart, which its trace must show: a map that certainly mixes
            them is refused; with one of which it cannot be told the batch is solved as one
            example, whose statistics every example is given.
        z0: the start: floating-point arrays of any rank in any pytree, with the batch on axis 0 of
            each; ``z0[None]`` is a batch of one. A complex array counts as its real and its
            imaginary part: fn need not be holomorphic, and norms are those of C^m.
        args: anything the map needs, for example (parameters, inputs); arrays of any shape.
        solver: a solver or its recipe, for example ``"anderson(history=6, rtol=1e-6)"``.
        adjoint: an adjoint or its recipe: ``"implicit"`` (exact, constant memory), ``"phantom"``,
            ``"unrolled"`` and others.
        guess: another start, such as the solution of the last training step. An example takes it if
            its relative residual is less than half that of ``z0``, so that a stale guess costs one
            evaluation.
        backward: ``Backward.empty(z0)``, or what the last call left: its cotangent holds the
            statistics of the backward solve.
        has_aux: fn returns (z, aux); ``Solution.aux`` is what it returns at the fixed point, with
            the derivative that follows from there.

    Returns:
        ``Solution`` with ``value`` and ``stats`` (steps, residual, status per example).

    Raises:
        ValueError: z0 has no batch axis or is neither floating point nor complex, fn mixes examples
            or changes structure, shape or dtype, or the batch is sharded over an axis of type
            Explicit.

    Example:
        >>> import jax.numpy as jnp, deqzoo
        >>> cell = lambda z, x: jnp.tanh(0.5 * z + x)
        >>> solution = deqzoo.fixed_point(cell, jnp.zeros((3, 2)), jnp.ones((3, 2)))
        >>> solution.value.shape, float(solution.stats.fraction_converged)
        ((3, 2), 1.0)
    """
    rule, derivative = catalog.solvers.get(solver), catalog.adjoints.get(adjoint)
    if isinstance(fn, Split):
        rule = rule.of_split(fn.activation)
    combination.require(rule, derivative, has_split=isinstance(fn, Split))
    start = jax.tree_util.tree_map_with_path(_as_state_leaf, z0)
    run = _run_compiled if _is_closed(fn) and _are_numbers(args) else _run
    carried = Carried.of(rule, trees.reduction_dtype(reals.parts(start)))
    return run(fn, start, args, guess, backward, carried, derivative, has_aux)


def _run(
    fn: Callable,
    z0: State,
    args: Any,
    guess: State | None,
    backward: Backward | None,
    carried: Carried,
    adjoint: Adjoint,
    has_aux: bool,
) -> Solution:
    trees.batch_size(z0)
    if guess is not None:
        _require_same_kind("guess is", z0, guess)
    if reals.has_complex(z0):
        _require_no_solution(backward)
        fn, z0, guess = _on_reals(fn, z0, has_aux), reals.parts(z0), reals.parts(guess)
    split = isinstance(fn, Split)
    if has_aux and split:
        raise ValueError("a Split is the map alone: compute what else is wanted from the solution")
    image = (lambda z: fn(z, args)[0]) if has_aux else (lambda z: fn(z, args))
    program: Any = fn.program(z0, args) if split else Program.trace(image, z0)
    kind = jax.eval_shape(program, z0)
    _require_same_kind("fn returned", z0, kind)
    _require_automatic_axes(kind)
    mixes = _may_mix(program, z0)
    solution = _solved(adjoint, mixes, carried, program, z0, guess, backward)
    one_step = functools.partial(_one_step, program)
    value = failure.answered(carried.fixed, one_step, solution)
    return replace(
        solution,
        value=reals.joined(value),
        trajectory=tuple(reals.joined(one_step(z)) for z in solution.trajectory),
        aux=fn(value, args)[1] if has_aux else None,
    )


# Of an eager call this is compiled and found again by the next call with an equal trace.
@functools.partial(jax.jit, static_argnums=(0, 1))
def _solved(adjoint, may_mix, carried, program, z0, guess, backward):
    solve = functools.partial(whole.solve, adjoint) if may_mix else adjoint
    return solve(carried.solver, program, z0, guess=guess, backward=backward)


def _on_reals(fn: Callable, z0: State, has_aux: bool) -> Callable:
    """The map of a state of which some arrays are complex, on their real and imaginary parts."""
    if isinstance(fn, Split):
        raise ValueError("a Split takes real states: its activation is a prox of real numbers")

    def on_reals(z, args):
        image = fn(reals.joined(z), args)
        image, *aux = image if has_aux else (image,)
        _require_same_kind("fn returned", z0, image)
        return (reals.parts(image), *aux) if has_aux else reals.parts(image)

    return on_reals


def _require_no_solution(backward: Backward | None) -> None:
    if backward is not None and backward.solution is not None:
        raise ValueError(
            "the backward solution of a complex state cannot be kept: use Backward.empty(z0), or "
            "make the real and the imaginary parts leaves of the state"
        )


def _one_step(program: Program, z: State) -> State:
    """The iterate, with the derivative of the step that follows it."""
    detached = jax.lax.stop_gradient(z)
    image = program(detached)
    change = trees.subtract(image, jax.lax.stop_gradient(image))
    return trees.add(detached, change)


_run_compiled = functools.partial(jax.jit, static_argnums=(0, 6, 7))(_run)


def _is_closed(fn: Callable) -> bool:
    """A plain function that can see nothing but its arguments and array libraries.

    Anything else (captured variables, globals, bound methods, modules) may change between two eager
    calls, and a compiled program would silently keep the old values.
    """
    if isinstance(fn, Split):
        parts = (fn.affine, fn.weight, fn.learned)
        return all(_is_closed(part) for part in parts if part is not None)
    if (
        not isinstance(fn, types.FunctionType)
        or fn.__closure__
        or fn.__defaults__
        or fn.__kwdefaults__
    ):
        return False
    if any(isinstance(constant, types.CodeType) for constant in fn.__code__.co_consts):
        return False
    seen = [fn.__globals__[name] for name in fn.__code__.co_names if name in fn.__globals__]
    return all(
        isinstance(value, types.ModuleType) and value.__name__.split(".")[0] in _STABLE
        for value in seen
    )


def _are_numbers(args: Any) -> bool:
    """Whether a compiled program can take them; counts, flags and the like stay what they are."""
    kinds = (jax.Array, np.ndarray, np.generic, float, complex)
    return all(isinstance(leaf, kinds) for leaf in jax.tree.leaves(args))


def _as_state_leaf(path: tuple, leaf: Any) -> jax.Array:
    array = jnp.asarray(leaf)
    if not jnp.issubdtype(array.dtype, jnp.inexact):
        name = jax.tree_util.keystr(path) or "the state"
        raise ValueError(
            f"{name} must be floating point or complex, got {array.dtype}; convert z0 first"
        )
    return jax.lax.convert_element_type(array, array.dtype)  # strips a weak type


def _may_mix(program: Any, z: State) -> bool:
    """Whether an example may depend on others; refused if it does in any case."""
    trace = program.affine.closed if isinstance(program, SplitProgram) else program.closed
    place = apart.examples(trace, trees.batch_size(z))
    if isinstance(place, Mixed):
        raise ValueError(
            f"fn mixes its examples: a {place.by} sums over axis 0 of z, and axis 0 is the batch. "
            "Give a state without a batch a leading axis of one and map fn over it: "
            "fixed_point(jax.vmap(fn, in_axes=(0, None)), z0[None], args)"
        )
    return place is Place.UNKNOWN


def _require_automatic_axes(image: State) -> None:
    """Refuse a batch whose devices are part of its type: a loop's constants would need them too."""
    for leaf in jax.tree.leaves(image):
        if leaf.sharding is not None and any(axis is not None for axis in leaf.sharding.spec):
            raise ValueError(
                f"fn returned a state of explicit sharding {leaf.sharding.spec}; make the mesh "
                "with axes of type jax.sharding.AxisType.Auto (axis_types= of jax.make_mesh)"
            )


def _require_same_kind(role: str, z: State, other: State) -> None:
    """Refuse a structure, shape or dtype that is not that of z."""
    if jax.tree.structure(z) != jax.tree.structure(other):
        raise ValueError(
            f"{role} a tree other than z: expected {jax.tree.structure(z)}, "
            f"got {jax.tree.structure(other)}"
        )
    for (path, leaf), image in zip(
        jax.tree_util.tree_leaves_with_path(z), jax.tree.leaves(other), strict=True
    ):
        if leaf.shape != image.shape or leaf.dtype != image.dtype:
            name = f"leaf {jax.tree_util.keystr(path)}" if path else "z"
            raise ValueError(
                f"{role} {image.dtype}{image.shape} for {name} of {leaf.dtype}{leaf.shape}; the "
                "map must keep shape and dtype (cast its result, or start from the dtype it "
                "computes in)"
            )
