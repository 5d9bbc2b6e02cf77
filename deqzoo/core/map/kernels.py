"""The kernels of convolutions, arranged before a loop.

XLA takes work that is the same in every step out of a loop, but not what only moves numbers: the
reversal and the transpositions of a kernel would be done again in every step.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun

_CONVOLUTION = "conv_general_dilated"


def arrange(closed: ClosedJaxpr) -> ClosedJaxpr:
    """The same function, with all that leads from its constants to a convolution computed now.

    Derivatives pass through. Call it outside the loop that runs the result.

    Args:
        closed: a trace; its constants may be tracers of the caller.

    Returns:
        A trace with the same inputs and results, and arranged kernels among its constants; the same
        object if there is nothing to arrange.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from deqzoo.core.map import kernels
        >>> kernel = jnp.ones((3, 2, 2))
        >>> fn = lambda z: jax.lax.conv_general_dilated(
        ...     z, kernel[::-1], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
        >>> closed = jax.make_jaxpr(fn)(jnp.ones((1, 5, 2)))
        >>> [str(equation.primitive) for equation in kernels.arrange(closed).jaxpr.eqns]
        ['conv_general_dilated']
    """
    jaxpr = closed.jaxpr
    fixed = _fixed(jaxpr)
    made = _made(jaxpr, fixed)
    if not made:
        return closed
    inside = [eqn for eqn in jaxpr.eqns if made.isdisjoint(eqn.outvars)]
    inside, wanted = _needed(inside, jaxpr.outvars)
    results = [var for eqn in fixed for var in eqn.outvars if var in made]
    constvars = [var for var in (*jaxpr.constvars, *results) if var in wanted]
    preparation = Jaxpr(
        constvars=(),
        invars=jaxpr.constvars,
        outvars=constvars,
        eqns=_needed(fixed, constvars)[0],
        debug_info=jaxpr.debug_info.with_unknown_names(),
    )
    consts = jaxpr_as_fun(ClosedJaxpr(preparation, ()))(*closed.consts)
    return ClosedJaxpr(jaxpr.replace(constvars=constvars, eqns=inside), consts)


def _fixed(jaxpr: Jaxpr) -> list[JaxprEqn]:
    """The equations that see constants alone."""
    known, fixed = set(jaxpr.constvars), []
    for eqn in jaxpr.eqns:
        inputs = _variables(eqn.invars)
        if inputs and inputs <= known and not eqn.effects:
            known.update(eqn.outvars)
            fixed.append(eqn)
    return fixed


def _made(jaxpr: Jaxpr, fixed: list[JaxprEqn]) -> set[Var]:
    """Fixed results that convolutions take, and fixed convolutions."""
    results = {var for eqn in fixed for var in eqn.outvars}
    ends = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == _CONVOLUTION]
    return results & {var for eqn in ends for var in _variables([*eqn.invars, *eqn.outvars])}


def _needed(eqns: list[JaxprEqn], results: Iterable[Any]) -> tuple[list[JaxprEqn], set[Var]]:
    """The equations that the results need, and every variable that they use."""
    wanted, kept = _variables(results), []
    for eqn in reversed(eqns):
        if eqn.effects or not wanted.isdisjoint(eqn.outvars):
            wanted |= _variables(eqn.invars)
            kept.append(eqn)
    return kept[::-1], wanted


def _variables(atoms: Iterable[Any]) -> set[Var]:
    return {atom for atom in atoms if not isinstance(atom, Literal)}
