"""Fixed points approached in low precision, on increments, before they are finished in full.

A product of a matrix with a state is linear: ``x W = x_a W + (x - x_a) W``. With ``x_a W`` known in
full precision at an anchor, only the small increment meets the rounding of the low precision, so
that its error shrinks together with the increment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import JaxprEqn
from jaxtyping import Array, Int

from deqzoo.core import trees
from deqzoo.core.map.interpreter import bind, interpret
from deqzoo.core.map.program import Map, Program
from deqzoo.core.solver import Solver
from deqzoo.core.solvers.picard import Picard
from deqzoo.core.trees import State
from deqzoo.settings import SettingError, is_traced

_FIRST = {"bfloat16": 5e-3, "float32": 1e-6}  # relative residual that low precision reaches
_GAIN = {"bfloat16": 1e-3, "float32": 1e-6}  # factor that a round of increments gains
_CAUTION = 0.7  # the last round aims this much below the tolerance
_MAX_STEPS = 40  # low-precision evaluations in a round

Anchor = tuple[Array, Array]


def approach(
    solver: Solver, fn: Map, z0: State, rtol: float, run: Callable
) -> tuple[State, Int[Array, " batch"]]:
    """A state near the fixed point, found with products in ``solver.precision``, and its cost.

    Picard rounds, each from an anchor in full precision. Examples on which they are slow, and those
    that leave the finite numbers, are left to the solver that comes after.

    Args:
        solver: its precision and tolerance.
        fn: the map in full precision.
        z0: the start.
        rtol: the relative tolerance that the state should meet.
        run: ``loop.run``.

    Returns:
        The state, and the number of evaluations per example.
    """
    program = Program.trace(fn, lax.stop_gradient(z0))
    low = jnp.dtype(solver.precision)
    if is_traced(rtol):
        raise SettingError(
            f"rtol must be known before the program runs where precision={solver.precision!r}: it "
            "says how many rounds there are; give a Python number, or leave precision out"
        )
    rule = Picard(atol=solver.atol, max_steps=_MAX_STEPS)
    anchors: list[Anchor] | None = None
    z, spent = z0, jnp.full(trees.batch_size(z0), -1, jnp.int32)
    for number, goal in enumerate(_goals(str(solver.precision), rtol)):
        if number > 0:
            z, anchors = _evaluate_at_anchor(program, z)
        evaluate = lambda z, anchors=anchors: _evaluate_low(program, z, anchors, low)  # noqa: E731
        ran = run(
            replace(rule, rtol=goal),
            Program.trace(evaluate, z) if number == 0 else evaluate,  # it may begin at zero
            z,
            leaves_slow=True,
        )
        spent = spent + ran.solution.stats.steps + 1
        z = ran.solution.value
    finite = jnp.isfinite(trees.norm(z))
    return lax.stop_gradient(trees.select(finite, z, z0)), spent


def _goals(precision: str, rtol: float) -> list[float]:
    last = _CAUTION * rtol
    goals = [max(_FIRST[precision], last)]
    while goals[-1] > last:
        goals.append(max(goals[-1] * _GAIN[precision], last))
    return goals


def _evaluate_at_anchor(program: Program, z: State) -> tuple[State, list[Anchor]]:
    """f(z) in full precision, and the operand and result of every product in it."""
    anchors: list[Anchor] = []

    def product(eqn: JaxprEqn, inputs: list[Array], varying: int) -> Array:
        result = bind(eqn, inputs)[0]
        anchors.append((inputs[varying], result))
        return result

    return _run(program, z, product), anchors


def _evaluate_low(program: Program, z: State, anchors: list[Anchor] | None, low: Any) -> State:
    """f(z) with products in low precision, of increments over the anchor if there is one."""
    known: Iterator[Anchor] | None = None if anchors is None else iter(anchors)

    def product(eqn: JaxprEqn, inputs: list[Array], varying: int) -> Array:
        x, x_anchor, y_anchor = inputs[varying], None, None
        if known is not None:
            x_anchor, y_anchor = next(known)
            x = x - x_anchor
        operands = [a.astype(low) for a in (*inputs[:varying], x, *inputs[varying + 1 :])]
        wide = _dtype(eqn)
        y = bind(eqn, operands, preferred_element_type=jnp.float32)[0]
        y = y.astype(wide)
        return y if y_anchor is None else y_anchor + y

    return _run(program, z, product)


def _run(program: Program, z: State, product: Callable) -> State:
    """Evaluate with ``product`` in the place of products of a varying with a fixed operand.

    A value goes with whether it depends on z.
    """

    def apply(eqn: JaxprEqn, pairs: list[tuple[Any, bool]]) -> list[tuple[Any, bool]]:
        operands, moving = [value for value, _ in pairs], [varies for _, varies in pairs]
        if _is_product(eqn) and sum(moving) == 1:
            return [(product(eqn, operands, moving.index(True)), True)]
        return [(result, any(moving)) for result in bind(eqn, operands)]

    inputs = [(leaf, True) for leaf in jax.tree.leaves(z)]
    results = interpret(program.closed, inputs, apply, lambda value: (value, False))
    return program.structure.unflatten([value for value, _ in results])


def _is_product(eqn: JaxprEqn) -> bool:
    """A contraction that low precision makes cheaper; convolutions only where hardware has them."""
    name, floating = eqn.primitive.name, jnp.issubdtype(_dtype(eqn), jnp.floating)
    convolves = name == "conv_general_dilated" and jax.default_backend() != "cpu"
    return floating and (name == "dot_general" or convolves)


def _dtype(eqn: JaxprEqn) -> Any:
    aval: Any = eqn.outvars[0].aval
    return aval.dtype
