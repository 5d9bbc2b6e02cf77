"""A trace evaluated equation by equation, by whoever knows better than to bind some of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal

_INLINED = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call")


def interpret(
    closed: ClosedJaxpr,
    inputs: list[Any],
    apply: Callable[[JaxprEqn, list[Any]], list[Any]],
    lift: Callable[[Any], Any] = lambda value: value,
) -> list[Any]:
    """The results of a trace, with ``apply`` in the place of every equation.

    Calls are gone through, so that rules of custom derivatives are lost.

    Args:
        closed: the trace.
        inputs: values of any kind that ``apply`` understands.
        apply: (equation, operands) -> results.
        lift: what the constants and literals are among these values.

    Example:
        >>> import jax
        >>> from deqzoo.core.map.interpreter import bind, interpret
        >>> closed = jax.make_jaxpr(lambda x: jax.jit(lambda x: 2 * x)(x) + 1)(1.0)
        >>> float(interpret(closed, [3.0], bind)[0])
        7.0
    """
    jaxpr = closed.jaxpr
    constants = zip(jaxpr.constvars, closed.consts, strict=True)
    values = {var: lift(value) for var, value in constants}
    values |= dict(zip(jaxpr.invars, inputs, strict=True))
    read = lambda atom: lift(atom.val) if isinstance(atom, Literal) else values[atom]  # noqa: E731
    for eqn in jaxpr.eqns:
        operands, inner = [read(atom) for atom in eqn.invars], _called(eqn)
        results = apply(eqn, operands) if inner is None else interpret(inner, operands, apply, lift)
        values |= dict(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def bind(eqn: JaxprEqn, operands: list[Any], **changes: Any) -> list[Any]:
    """What an equation says of these operands, with some of its parameters changed."""
    params = eqn.primitive.get_bind_params({**eqn.params, **changes})
    results = eqn.primitive.bind(*operands, **params)
    return list(results) if eqn.primitive.multiple_results else [results]


def _called(eqn: JaxprEqn) -> ClosedJaxpr | None:
    inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    if eqn.primitive.name not in _INLINED or inner is None:
        return None
    return inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())
