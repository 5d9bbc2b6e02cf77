"""Whether a map keeps the examples of a batch apart, read off its trace."""

from __future__ import annotations

from typing import Any

from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal

from deqzoo.core.map.interpreter import interpret
from deqzoo.core.map.movement import SMOOTH, moved
from deqzoo.core.map.place import Axis, Mixed, Place, common, is_free, shape

_CARRIES_ON = SMOOTH | {"broadcast_in_dim", "dot_general", "reduce_sum", "reshape", "squeeze"}
_CARRIES_ON |= {"convert_element_type", "transpose"}
_IDENTITY = {"optimization_barrier", "device_put"}
_CALLS = {"remat2": "jaxpr", "checkpoint": "jaxpr", "custom_vmap_call": "call"}
_CALLS |= {"composite": "jaxpr"}


def examples(closed: ClosedJaxpr, count: Any) -> Place | Mixed | Axis:
    """Where the results of a map of states have the examples that are on axis 0 of its arguments.

    Returns:
        ``Axis(0, ...)`` if every example of the results has of its own alone, ``Mixed`` if one has
        of others whatever the captured numbers are, ``Place.UNKNOWN`` if the trace does not tell: a
        call into foreign code, a gather along axis 0, a loop whose length depends on examples.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from deqzoo.core.map import apart
        >>> A, z = jnp.ones((3, 3)), jnp.ones((3, 3))
        >>> apart.examples(jax.make_jaxpr(lambda z: jnp.tanh(z @ A))(z), 3).index
        0
        >>> apart.examples(jax.make_jaxpr(lambda z: jnp.tanh(A @ z))(z), 3)
        Mixed(by='dot_general')
    """
    batch = Axis(0, 1, count, 1)
    if count in (0, 1):
        return batch
    starts = [Place.GIVEN if _is_empty(var) else batch for var in closed.jaxpr.invars]
    results = _inside(closed, starts)
    mixed = [place for place in results if isinstance(place, Mixed)]
    if mixed:
        return mixed[0]
    apart = all(place == batch or is_free(place) for place in results)
    return batch if apart else Place.UNKNOWN


def _inside(closed: Any, places: list[Any]) -> list[Any]:
    closed = closed if isinstance(closed, ClosedJaxpr) else ClosedJaxpr(closed, ())
    return interpret(closed, places, _apply, lambda _: Place.GIVEN)


def _is_empty(var: Any) -> bool:
    return 0 in shape(var)


def _apply(eqn: JaxprEqn, places: list[Any]) -> list[Any]:
    results = _results(eqn, places)
    return [
        Place.GIVEN if _is_empty(var) else place
        for var, place in zip(eqn.outvars, results, strict=True)
    ]


def _results(eqn: JaxprEqn, places: list[Any]) -> list[Any]:
    name, outcome = eqn.primitive.name, len(eqn.outvars)
    if name in _IDENTITY:
        return places
    if all(map(is_free, places)):
        return [_without_examples(eqn, places)] * outcome
    if all(is_free(place) or place is Place.OWN for place in places):
        return [Place.OWN] * outcome
    if name in _CALLS:
        return _inside(eqn.params[_CALLS[name]], places)
    if name in _NESTED:
        return _NESTED[name](eqn, places)
    if any(isinstance(place, Mixed) for place in places):
        return [_still_mixed(eqn, places)] * outcome
    if not all(is_free(place) or isinstance(place, Axis) for place in places):
        return [Place.UNKNOWN] * outcome
    return [moved(eqn, places)] * outcome


def _without_examples(eqn: JaxprEqn, places: list[Any]) -> Place:
    smooth = eqn.primitive.name in _CARRIES_ON and Place.MADE not in places
    return Place.GIVEN if smooth else Place.MADE


def _still_mixed(eqn: JaxprEqn, places: list[Any]) -> Place | Mixed:
    """What is mixed stays so where nothing can have taken the examples away again."""
    mixed = next(place for place in places if isinstance(place, Mixed))
    if eqn.primitive.name == "select_n":
        chosen = all(isinstance(place, Mixed) for place in places[1:])
        return mixed if chosen else Place.UNKNOWN
    cancelled = any(isinstance(atom, Literal) and not atom.val for atom in eqn.invars)
    erased = cancelled and eqn.primitive.name in ("mul", "div", "pow")
    certain = eqn.primitive.name in _CARRIES_ON and Place.UNKNOWN not in places
    return mixed if certain and not erased else Place.UNKNOWN


# Loops and branches.


def _scan(eqn: JaxprEqn, places: list[Any]) -> list[Any]:
    """A loop along another axis, or over the examples themselves (``lax.map``)."""
    constants, carried = _lengths(eqn)
    fixed, carry, rows = _cut(places, constants, carried)
    over = [place for place in rows if isinstance(place, Axis) and place.index == 0]
    if over and Place.OWN in places:
        return [Place.UNKNOWN] * len(eqn.outvars)
    inside = [_row(place) for place in rows]

    def step(carry):
        return _inside(eqn.params["jaxpr"], [*fixed, *carry, *inside])

    carry, results = _settled(carry, step, lose=Place.OWN if over else None)
    return [*carry, *(_stacked(place, over) for place in results[carried:])]


def _lengths(scan: JaxprEqn) -> tuple[int, int]:
    """How many constants it has, and how many values it carries."""
    if "ft_in" not in scan.params:  # JAX before 0.12
        return scan.params["num_consts"], scan.params["num_carry"]
    constants, carried, _ = (len([*part]) for part in scan.params["ft_in"].unpack())
    return constants, carried


def _row(place: Any) -> Any:
    """What one step of a loop sees of what it goes along."""
    if not isinstance(place, Axis):
        return Place.UNKNOWN if isinstance(place, Mixed) else place
    if place.index > 0:
        return place.at(place.index - 1)
    return Place.OWN if place.outer == place.inner == 1 else Place.UNKNOWN


def _stacked(place: Any, over: list[Axis]) -> Any:
    """What the results of all steps have."""
    if isinstance(place, Axis):
        return place.at(place.index + 1)
    return over[0] if over and place is Place.OWN else place


def _while(eqn: JaxprEqn, places: list[Any]) -> list[Any]:
    """A loop whose length is nobody's, or, under ``vmap``, every example's own."""
    tested, constants = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    test, fixed, carry = _cut(places, tested, constants)
    step = lambda carry: _inside(eqn.params["body_jaxpr"], [*fixed, *carry])  # noqa: E731
    carry, _ = _settled(carry, step)
    (length,) = _inside(eqn.params["cond_jaxpr"], [*test, *carry])
    return [_joined(place, length) for place in carry]


def _settled(carry: list[Any], step: Any, lose: Any = None) -> tuple[list[Any], list[Any]]:
    """The places of what is carried that hold in every step, and the results of the last one.

    What counts as ``lose`` in one step is another example's in the next.
    """
    while True:
        results = step(carry)
        new = [
            Place.UNKNOWN if after is lose else _joined(before, after)
            for before, after in zip(carry, results, strict=False)
        ]
        if new == carry:
            return carry, results
        carry = new


def _cond(eqn: JaxprEqn, places: list[Any]) -> list[Any]:
    index, *operands = places
    if not (is_free(index) or index is Place.OWN):
        return [Place.UNKNOWN] * len(eqn.outvars)
    ways = [_inside(branch, operands) for branch in eqn.params["branches"]]
    results = ways[0]
    for way in ways[1:]:
        results = [_joined(a, b) for a, b in zip(results, way, strict=True)]
    return [_joined(place, index) for place in results]


def _linear_solve(eqn: JaxprEqn, places: list[Any]) -> list[Any]:
    lengths, jaxprs = eqn.params["const_lengths"], eqn.params["jaxprs"]
    _, fixed, rest = _cut(places, lengths.matvec + lengths.vecmat, lengths.solve)
    return _inside(jaxprs.solve, [*fixed, *rest[lengths.transpose_solve or 0 :]])


def _cut(places: list[Any], first: int, second: int) -> tuple[list[Any], list[Any], list[Any]]:
    return places[:first], places[first : first + second], places[first + second :]


def _joined(a: Any, b: Any) -> Any:
    """The place of what is the one or the other; a mixing that need not be is not certain."""
    if isinstance(a, Mixed) or isinstance(b, Mixed):
        return a if isinstance(a, Mixed) and isinstance(b, Mixed) else Place.UNKNOWN
    return common([a, b])


_NESTED = {
    "scan": _scan,
    "while": _while,
    "cond": _cond,
    "custom_linear_solve": _linear_solve,
}
