"""Where one equation moves the examples of its operands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jax.extend.core import JaxprEqn

from deqzoo.core.map.indexing import gathered, scattered
from deqzoo.core.map.place import Axis, Mixed, Place, common, is_free, shape

_SMOOTH = (
    "abs acos acosh add add_any asin asinh atan atan2 atanh cbrt conj copy cos cosh digamma div "
    "erf erf_inv erfc exp exp2 expm1 integer_pow lgamma log log1p logistic max min mul neg pow "
    "rsqrt sin sinh sqrt square stop_gradient sub tan tanh"
)
_STEPPED = (
    "and bessel_i0e bessel_i1e ceil clamp clz complex convert_element_type eq eq_to floor ge gt "
    "igamma igamma_grad_a igammac imag is_finite layout_constraint le le_to lt lt_to mulhi name ne "
    "nextafter not or polygamma population_count pvary real reduce_precision "
    "regularized_incomplete_beta rem reshard round select_n sharding_constraint shift_left "
    "shift_right_arithmetic shift_right_logical sign tie xor zeta"
)
_CUMULATIVE = "cumlogsumexp cummax cummin cumprod cumsum"
_MATRICES = "cholesky eig eigh householder_product lu qr schur svd triangular_solve"
_REDUCTIONS = (
    "argmax argmin reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum reduce_xor"
)
_SCATTERS = "scatter scatter-add scatter-max scatter-min scatter-mul scatter-sub"
_WINDOWS = "reduce_window reduce_window_max reduce_window_min reduce_window_sum"

SMOOTH = frozenset(_SMOOTH.split())  # elementwise, and equal to nothing on a whole interval


def moved(eqn: JaxprEqn, places: list[Any]) -> Any:
    """The place of the results, for operands of which some have an axis of examples, none less.

    UNKNOWN where it cannot be told: an equation nobody thought of is one of those.
    """
    rule = _RULES.get(eqn.primitive.name)
    return Place.UNKNOWN if rule is None else rule(eqn, places)


def _elementwise(eqn: JaxprEqn, places: list[Any]) -> Any:
    return common(places)


def _of_one(rule: Callable[[JaxprEqn, Axis], Any]) -> Callable[[JaxprEqn, list[Any]], Any]:
    """A rule for operands that have their examples all in one place."""

    def for_all(eqn, places):
        place = common(places)
        return rule(eqn, place) if isinstance(place, Axis) else Place.UNKNOWN

    return for_all


def _along(*names: str) -> Callable[[JaxprEqn, list[Any]], Any]:
    """For what is done along some axes, named by one of these parameters, that all stay."""

    def rule(eqn, place):
        axes = next(eqn.params[name] for name in names if name in eqn.params)
        meets = place.index in (axes if isinstance(axes, tuple) else (axes,))
        if not meets:
            return place
        return Mixed(eqn.primitive.name) if eqn.primitive.name == "cumsum" else Place.UNKNOWN

    return _of_one(rule)


def _without(name: str) -> Callable[[JaxprEqn, list[Any]], Any]:
    """For what takes away the axes named by this parameter."""

    def rule(eqn, place):
        axes = eqn.params[name]
        if place.index in axes:
            return Mixed("reduce_sum") if eqn.primitive.name == "reduce_sum" else Place.UNKNOWN
        return place.at(place.index - sum(axis < place.index for axis in axes))

    return _of_one(rule)


def _leading(eqn: JaxprEqn, place: Axis) -> Any:
    """For what is done to the last axes, of every entry of the first ones."""
    name = eqn.primitive.name
    taken = len(eqn.params["fft_lengths"]) if name == "fft" else 2
    ranks = [len(shape(atom)) for atom in (*eqn.invars, *eqn.outvars)]
    if name in ("householder_product", "qr", "eig", "eigh", "svd", "lu"):
        ranks = ranks[:1]  # vectors of reflections, eigenvalues and pivots have a rank less
    return place if place.index < min(ranks) - taken else Place.UNKNOWN


def _transposed(eqn: JaxprEqn, place: Axis) -> Any:
    return place.at(tuple(eqn.params["permutation"]).index(place.index))


def _reshaped(eqn: JaxprEqn, place: Axis) -> Any:
    old, order = shape(eqn.invars[0]), eqn.params["dimensions"]
    if order is not None:  # transposed first
        old, place = [old[axis] for axis in order], place.at(tuple(order).index(place.index))
    return place.reshaped(old, tuple(eqn.params["new_sizes"]))


def _broadcast(eqn: JaxprEqn, place: Axis) -> Any:
    return place.at(int(eqn.params["broadcast_dimensions"][place.index]))


def _stacked(eqn: JaxprEqn, place: Axis) -> Any:
    return place.at(place.index + (eqn.params["axis"] <= place.index))


def _tiled(eqn: JaxprEqn, place: Axis) -> Any:
    return place._replace(outer=place.outer * eqn.params["reps"][place.index])


def _padded(eqn: JaxprEqn, place: Axis) -> Any:
    untouched = tuple(eqn.params["padding_config"][place.index]) == (0, 0, 0)
    return place if untouched else Place.UNKNOWN


def _windows(eqn: JaxprEqn, place: Axis) -> Any:
    params, index = eqn.params, place.index
    sizes = ("window_dimensions", "window_strides", "base_dilation", "window_dilation")
    alone = all(params[name][index] == 1 for name in sizes)
    return place if alone and tuple(params["padding"][index]) == (0, 0) else Place.UNKNOWN


def _sliced(eqn: JaxprEqn, places: list[Any]) -> Any:
    """A slice; its indices, where they are operands, must be the same for all examples."""
    place = places[0]
    if not isinstance(place, Axis) or not all(map(is_free, places[1:])):
        return Place.UNKNOWN
    strides = eqn.params.get("strides")
    whole = shape(eqn.invars[0])[place.index] == shape(eqn.outvars[0])[place.index]
    return place if whole and (strides is None or strides[place.index] == 1) else Place.UNKNOWN


def _written(eqn: JaxprEqn, places: list[Any]) -> Any:
    """A slice put into an array."""
    place = common(places[:2])
    if not isinstance(place, Axis) or not all(map(is_free, places[2:])):
        return Place.UNKNOWN
    array, part = (shape(atom)[place.index] for atom in eqn.invars[:2])
    return place if is_free(places[1]) or array == part else Place.UNKNOWN


# Products.


def _dot_general(eqn: JaxprEqn, places: list[Any]) -> Any:
    """Batched with batched or free is kept; contracted is a sum over examples."""
    contracted, batched = eqn.params["dimension_numbers"]
    moving = [side for side in (0, 1) if isinstance(places[side], Axis)]
    index = [places[side].index for side in moving]
    summed = [axis in contracted[side] for side, axis in zip(moving, index, strict=True)]
    if all(summed):
        kept = len(moving) == 2 or places[1 - moving[0]] is Place.GIVEN
        return Mixed("dot_general") if kept and _are_paired(places, contracted) else Place.UNKNOWN
    if any(summed):
        return Place.UNKNOWN
    if len(moving) == 2:
        paired = index[0] in batched[0] and _are_paired(places, batched)
        return places[0].at(tuple(batched[0]).index(index[0])) if paired else Place.UNKNOWN
    return places[moving[0]].at(_dot_axis(eqn, moving[0], index[0]))


def _are_paired(places: list[Any], axes: Any) -> bool:
    """Whether both operands, if both have examples, meet example by example."""
    if not all(isinstance(place, Axis) for place in places):
        return True
    left, right = places
    pairs = list(zip(*axes, strict=True))
    return (left.index, right.index) in pairs and left.at(0) == right.at(0)


def _dot_axis(eqn: JaxprEqn, side: int, index: int) -> int:
    """Where an axis of one factor that is not contracted is in the product."""
    contracted, batched = eqn.params["dimension_numbers"]
    if index in batched[side]:
        return tuple(batched[side]).index(index)
    taken = (*contracted[side], *batched[side])
    axis = len(batched[side]) + index - sum(axis < index for axis in taken)
    if side == 0:
        return axis
    return axis + len(shape(eqn.invars[0])) - len(contracted[0]) - len(batched[0])


def _convolution(eqn: JaxprEqn, places: list[Any]) -> Any:
    image, kernel = places
    numbers, groups = eqn.params["dimension_numbers"], eqn.params["feature_group_count"]
    if not isinstance(image, Axis) or eqn.params["batch_group_count"] != 1:
        return Place.UNKNOWN
    if image.index == numbers.lhs_spec[0] and is_free(kernel):
        return image.at(numbers.out_spec[0])
    if image.index == numbers.lhs_spec[1]:
        return _grouped(eqn, image, kernel, groups)
    window = shape(eqn.invars[1])[numbers.rhs_spec[numbers.lhs_spec.index(image.index)]]
    return Mixed("convolution") if kernel is Place.GIVEN and window > 1 else Place.UNKNOWN


def _grouped(eqn: JaxprEqn, image: Axis, kernel: Any, groups: int) -> Any:
    """Examples among the features, as ``vmap`` puts them: groups do not see one another."""
    if groups == 1:
        return Mixed("convolution") if kernel is Place.GIVEN else Place.UNKNOWN
    numbers, count = eqn.params["dimension_numbers"], image.count
    features = shape(eqn.outvars[0])[numbers.out_spec[1]]
    result = Axis(numbers.out_spec[1], 1, count, features // count)
    agrees = is_free(kernel) or kernel == result.at(numbers.rhs_spec[0])
    return result if image.outer == 1 and groups % count == 0 and agrees else Place.UNKNOWN


_RULES: dict[str, Callable[[JaxprEqn, list[Any]], Any]] = {
    **dict.fromkeys((*_SMOOTH.split(), *_STEPPED.split()), _elementwise),
    **dict.fromkeys(_CUMULATIVE.split(), _along("axis")),
    **dict.fromkeys(_MATRICES.split(), _of_one(_leading)),
    **dict.fromkeys(_REDUCTIONS.split(), _without("axes")),
    **dict.fromkeys(_SCATTERS.split(), scattered),
    **dict.fromkeys(_WINDOWS.split(), _of_one(_windows)),
    "broadcast_in_dim": _of_one(_broadcast),
    "concatenate": _along("dimension"),
    "conv_general_dilated": _convolution,
    "dot_general": _dot_general,
    "dynamic_slice": _sliced,
    "dynamic_update_slice": _written,
    "fft": _of_one(_leading),
    "gather": gathered,
    "pad": _of_one(_padded),
    "reduce": _without("dimensions"),
    "reshape": _of_one(_reshaped),
    "rev": _along("dimensions"),
    "slice": _sliced,
    "sort": _along("dimension"),
    "split": _along("axis"),
    "squeeze": _without("dimensions"),
    "stack": _of_one(_stacked),
    "tile": _of_one(_tiled),
    "top_k": _along("axis", "dimension"),
    "transpose": _of_one(_transposed),
}
