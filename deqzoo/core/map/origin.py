"""The image of a start of zeros, for little more than the price of one example.

XLA multiplies zeros as it multiplies other numbers, so that the first evaluation of a solve costs
as much as any other. But until it meets what differs between examples, a map that keeps them apart
does the same for each: it is enough to do it for one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, JaxprEqn, jaxpr_as_fun
from jaxtyping import Array, Bool

from deqzoo.core.map.interpreter import bind, interpret

_ELEMENTWISE = (
    "abs add and clamp convert_element_type copy cos cosh div eq erf erfc exp exp2 expm1 ge gt "
    "integer_pow is_finite le log log1p logistic lt max min mul ne neg not or pow rsqrt select_n "
    "sign sin sinh sqrt square sub tan tanh"
)


class _Alike(NamedTuple):
    """``count`` equal slices along an axis, of which ``slice`` holds one."""

    slice: Array
    axis: int
    count: int

    def whole(self) -> Array:
        shape = list(self.slice.shape)
        shape[self.axis] = self.count
        return jnp.broadcast_to(self.slice, shape)


def image(closed: ClosedJaxpr, leaves: list[Array]) -> list[Array]:
    """What a trace makes of a batch of examples, on axis 0 of every leaf; cheap if all are zero.

    The same numbers as those of the trace itself, bit for bit: a weight that is not finite makes
    them NaN here as well. Where the leaves are zeros that XLA can see (``jnp.zeros`` under the same
    ``jit``) only the cheap way is compiled; else the choice is made when the program runs. Not to
    be differentiated: rules of custom derivatives are lost.

    Args:
        closed: a map of states that keeps the examples apart.
        leaves: of the state.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from deqzoo.core.map import origin
        >>> W, z = jnp.ones((3, 3)), jnp.zeros((4, 3))
        >>> fn = jax.make_jaxpr(lambda z: z @ W + jnp.ones((4, 1)))(z)
        >>> origin.image(fn, [z])[0].shape
        (4, 3)
    """
    count = leaves[0].shape[0]

    def of_one(leaves):
        slices = [_Alike(leaf[:1], 0, count) for leaf in leaves]
        return [_whole(value) for value in interpret(closed, slices, _apply)]

    def of_all(leaves):
        return jaxpr_as_fun(closed)(*leaves)

    return of_all(leaves) if count == 1 else lax.cond(_are_zero(leaves), of_one, of_all, leaves)


def _are_zero(leaves: list[Array]) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.all(leaf == 0) for leaf in leaves]))


# The evaluation. Values are arrays, or ``_Alike`` as long as nothing has told the examples apart.


def _whole(value: Any) -> Array:
    return value.whole() if isinstance(value, _Alike) else value


def _apply(eqn: JaxprEqn, operands: list[Any]) -> list[Any]:
    if not any(isinstance(operand, _Alike) for operand in operands):
        return bind(eqn, operands)
    rule = _RULES.get(eqn.primitive.name)
    result = None if rule is None else rule(eqn, operands)
    return bind(eqn, [_whole(operand) for operand in operands]) if result is None else [result]


# Rules: the result of equal slices as one slice; None where their axis is not kept, or where they
# meet an array that may tell them apart.


def _elementwise(eqn: JaxprEqn, operands: list[Any]) -> _Alike | None:
    kinds = {operand[1:] for operand in operands if isinstance(operand, _Alike)}
    others = [operand for operand in operands if not isinstance(operand, _Alike)]
    if len(kinds) > 1 or any(jnp.ndim(operand) > 0 for operand in others):
        return None
    slices = [operand.slice if isinstance(operand, _Alike) else operand for operand in operands]
    return _Alike(bind(eqn, slices)[0], *kinds.pop())


def _dot_general(eqn: JaxprEqn, operands: list[Any]) -> _Alike | None:
    if all(isinstance(operand, _Alike) for operand in operands):
        return None
    side = int(isinstance(operands[1], _Alike))
    alike, contracted, batched = operands[side], *_dimensions(eqn, side)
    if alike.axis in (*contracted, *batched):
        return None
    taken = sum(axis < alike.axis for axis in (*contracted, *batched))
    axis = len(batched) + alike.axis - taken
    if side == 1:
        axis += jnp.ndim(operands[0]) - sum(map(len, _dimensions(eqn, 0)))
    slices = [alike.slice if place == side else operands[place] for place in (0, 1)]
    return _Alike(bind(eqn, slices)[0], axis, alike.count)


def _dimensions(eqn: JaxprEqn, side: int) -> tuple[Any, Any]:
    contracted, batched = eqn.params["dimension_numbers"]
    return contracted[side], batched[side]


def _convolution(eqn: JaxprEqn, operands: list[Any]) -> _Alike | None:
    image, kernel = operands
    numbers = eqn.params["dimension_numbers"]
    apart = isinstance(image, _Alike) and image.axis == numbers.lhs_spec[0]
    if not apart or isinstance(kernel, _Alike) or eqn.params["batch_group_count"] != 1:
        return None
    return _Alike(bind(eqn, [image.slice, kernel])[0], numbers.out_spec[0], image.count)


def _transpose(eqn: JaxprEqn, operands: list[Any]) -> _Alike:
    (alike,) = operands
    axis = tuple(eqn.params["permutation"]).index(alike.axis)
    return _Alike(bind(eqn, [alike.slice])[0], axis, alike.count)


def _reshape(eqn: JaxprEqn, operands: list[Any]) -> _Alike | None:
    (alike,) = operands
    sizes = tuple(eqn.params["new_sizes"])
    if alike.axis != 0 or sizes[:1] != (alike.count,) or eqn.params["dimensions"] is not None:
        return None
    return _Alike(bind(eqn, [alike.slice], new_sizes=(1, *sizes[1:]))[0], 0, alike.count)


def _broadcast_in_dim(eqn: JaxprEqn, operands: list[Any]) -> _Alike | None:
    alike, *sizes = operands
    axis = eqn.params["broadcast_dimensions"][alike.axis]
    shape = list(eqn.params["shape"])
    if sizes or shape[axis] != alike.count:
        return None
    shape[axis] = 1
    return _Alike(bind(eqn, [alike.slice], shape=tuple(shape))[0], axis, alike.count)


def _reduction(eqn: JaxprEqn, operands: list[Any]) -> _Alike | None:
    (alike,) = operands
    axes = eqn.params["axes"]
    if alike.axis in axes:
        return None
    axis = alike.axis - sum(other < alike.axis for other in axes)
    return _Alike(bind(eqn, [alike.slice])[0], axis, alike.count)


_RULES: dict[str, Callable[[JaxprEqn, list[Any]], _Alike | None]] = {
    **dict.fromkeys(_ELEMENTWISE.split(), _elementwise),
    **dict.fromkeys(("reduce_sum", "reduce_max", "reduce_min"), _reduction),
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
    "transpose": _transpose,
    "reshape": _reshape,
    "broadcast_in_dim": _broadcast_in_dim,
}
