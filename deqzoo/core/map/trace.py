"""A trace that equals every other one of the same operations, so that what is compiled is found."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from deqzoo.settings import is_hashable

_SMALL = 1024  # bytes of a constant that is compared by its value


class Trace:
    """A ``Jaxpr``; two are equal if they hold the same operations on values of the same kinds.

    JAX compares traces by identity: a function that is traced anew in every call would be compiled
    anew as well, and never be forgotten. What cannot be compared, such as the callable of a
    callback, is equal to itself alone.

    Attributes:
        jaxpr: the trace.

    Example:
        >>> import jax
        >>> from deqzoo.core.map.trace import Trace
        >>> traced = lambda scale: Trace(jax.make_jaxpr(lambda z: scale * z)(1.0).jaxpr)
        >>> traced(2.0) == traced(2.0), traced(2.0) == traced(3.0)
        (True, False)
    """

    def __init__(self, jaxpr: Jaxpr):
        self.jaxpr = jaxpr

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trace) and (self is other or self._key == other._key)

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _key(self) -> Hashable:
        return _of_jaxpr(self.jaxpr)

    @functools.cached_property
    def _hash(self) -> int:
        return hash(self._key)


class _Same:
    """Equal to what holds the same object, which it keeps alive."""

    def __init__(self, held: Any):
        self._held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._held is other._held

    def __hash__(self) -> int:
        return id(self._held)


def _of_jaxpr(jaxpr: Jaxpr, within: tuple[Hashable, ...] = ()) -> Hashable:
    """What the trace says, with its variables numbered.

    Args:
        jaxpr: the trace.
        within: the functions in whose derivative it stands, the outermost first.
    """
    numbers: dict[Any, int] = {}

    def of_atom(atom: Any) -> Hashable:
        if isinstance(atom, Literal):
            return atom.aval, _of_value(atom.val, within)
        return numbers.setdefault(atom, len(numbers)), atom.aval

    begun = tuple(of_atom(variable) for variable in (*jaxpr.constvars, *jaxpr.invars))
    steps = tuple(
        (
            eqn.primitive,
            tuple(map(of_atom, eqn.invars)),
            _of_params(eqn, within),
            frozenset(eqn.effects),
            _of_value(eqn.ctx, within),
            tuple(map(of_atom, eqn.outvars)),
        )
        for eqn in jaxpr.eqns
    )
    return len(jaxpr.constvars), begun, steps, tuple(map(of_atom, jaxpr.outvars))


def _of_params(eqn: Any, within: tuple[Hashable, ...]) -> Hashable:
    params = dict(eqn.params)
    rule = params.pop("jvp_jaxpr_fun", None)
    known = tuple((name, _of_value(value, within)) for name, value in sorted(params.items()))
    if rule is None:
        return known
    if within.count(known) > 1:  # the derivative of its derivative: as before
        return known, within.index(known)
    count = len(eqn.invars) - params["num_consts"]
    return known, _of_value(_computed(rule, count), (*within, known))


def _computed(rule: Any, count: int) -> Any:
    """What a hand-written derivative of so many arguments computes."""
    try:
        return rule.call_wrapped(*(False,) * count)
    except Exception:  # JAX's own business, which may change: equal to itself alone
        return rule


def _of_value(value: Any, within: tuple[Hashable, ...]) -> Hashable:
    if isinstance(value, ClosedJaxpr):
        return _of_jaxpr(value.jaxpr, within), _of_value(value.consts, within)
    if isinstance(value, Jaxpr):
        return _of_jaxpr(value, within)
    if isinstance(value, list | tuple):
        return type(value), tuple(_of_value(each, within) for each in value)
    if isinstance(value, float | np.generic):
        return type(value), str(np.asarray(value).dtype), np.asarray(value).tobytes()
    if isinstance(value, np.ndarray) and value.nbytes <= _SMALL and value.dtype != object:
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, jax.Array) or not is_hashable(value):
        return _Same(value)
    return type(value), value
