"""Where gathers and scatters move the examples of a batch."""

from __future__ import annotations

from typing import Any

from jax.extend.core import JaxprEqn

from deqzoo.core.map.place import Axis, Place, is_free, shape


def gathered(eqn: JaxprEqn, places: list[Any]) -> Any:
    """Slices of an array: with its axis of examples whole or batched, or by examples' indices."""
    array, indices = places
    numbers = eqn.params["dimension_numbers"]
    if not isinstance(array, Axis):
        return indices.at(_batch_axes(eqn)[indices.index])
    if array.index in numbers.operand_batching_dims:
        pair = numbers.operand_batching_dims.index(array.index)
        axis = numbers.start_indices_batching_dims[pair]
        agrees = is_free(indices) or indices == array.at(axis)
        return array.at(_batch_axes(eqn)[axis]) if agrees else Place.UNKNOWN
    kept = _kept(eqn, numbers.collapsed_slice_dims)
    size = shape(eqn.invars[0])[array.index]
    whole = array.index in kept and eqn.params["slice_sizes"][array.index] == size
    if not (whole and is_free(indices)):
        return Place.UNKNOWN
    return array.at(int(numbers.offset_dims[kept.index(array.index)]))


def scattered(eqn: JaxprEqn, places: list[Any]) -> Any:
    """An array written into; every part of the equation must mean the same axis of the array."""
    array, indices, updates = places
    if is_free(indices) and is_free(updates):
        return array
    axes = [_array_axis(eqn, part, place) for part, place in enumerate(places)]
    known = [(axis, place.at(0)) for axis, place in zip(axes, places, strict=True) if axis != ()]
    if len(set(known)) != 1 or known[0][0] is None:
        return Place.UNKNOWN
    return known[0][1].at(known[0][0])


def _array_axis(eqn: JaxprEqn, part: int, place: Any) -> Any:
    """The axis of the array that an operand's examples belong to; () for none, None if unclear."""
    numbers = eqn.params["dimension_numbers"]
    if is_free(place):
        return ()
    if part == 0:
        return place.index
    axis = place.index
    if part == 2:
        if axis in numbers.update_window_dims:
            return _window_axis(eqn, axis)
        others = [
            i for i in range(len(shape(eqn.invars[2]))) if i not in numbers.update_window_dims
        ]
        axis = others.index(axis)
    if axis not in numbers.scatter_indices_batching_dims:
        return None
    return numbers.operand_batching_dims[numbers.scatter_indices_batching_dims.index(axis)]


def _window_axis(eqn: JaxprEqn, axis: int) -> int | None:
    """The axis of the array that a window covers as a whole."""
    numbers = eqn.params["dimension_numbers"]
    kept = _kept(eqn, numbers.inserted_window_dims)
    found = kept[tuple(numbers.update_window_dims).index(axis)]
    whole = shape(eqn.invars[0])[found] == shape(eqn.invars[2])[axis]
    return found if whole else None


def _kept(eqn: JaxprEqn, dropped: Any) -> list[int]:
    """The axes of the array that its slices or windows have too."""
    without = {*dropped, *eqn.params["dimension_numbers"].operand_batching_dims}
    return [axis for axis in range(len(shape(eqn.invars[0]))) if axis not in without]


def _batch_axes(eqn: JaxprEqn) -> list[int]:
    """The axes of a gather's result that are those of its indices."""
    offsets = eqn.params["dimension_numbers"].offset_dims
    return [axis for axis in range(len(shape(eqn.outvars[0]))) if axis not in offsets]
