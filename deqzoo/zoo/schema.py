"""Frozen dataclasses out of the plain values of JSON, strictly: no key more, none less."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, TypeVar

from deqzoo.settings import SettingError, fitted, quoted

_T = TypeVar("_T")


class SchemaError(ValueError):
    """Values that are not of the form; the message names the place."""


def read(kind: type[_T], value: Any, place: str = "") -> _T:
    """A dataclass filled from a dictionary, and its parts from those within.

    Raises:
        SchemaError: a key that is missing or unknown, or a value of another kind.

    Example:
        >>> from deqzoo.data.scaling import Scale
        >>> from deqzoo.zoo.schema import read
        >>> read(Scale, {"shift": 4.0, "factor": 0.5, "sphere": False})
        Scale(shift=4.0, factor=0.5, sphere=False)
    """
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]  # pyright: ignore[reportArgumentType]
    if not isinstance(value, dict):
        raise SchemaError(f"{place or 'the card'} must be an object, got {quoted(value)}")
    differing = sorted(set(names) ^ value.keys())
    if differing:
        state = "is missing" if differing[0] in names else "is not known"
        raise SchemaError(f"{place}{differing[0]} {state}")
    return kind(**{name: _part(hints[name], value[name], f"{place}{name}") for name in names})


def _part(hint: Any, value: Any, place: str) -> Any:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and types.NoneType in parts:
            return None
        kinds = [part for part in parts if part is not types.NoneType]
        return _part(kinds[0], value, place) if len(kinds) == 1 else value
    if dataclasses.is_dataclass(hint):
        return read(typing.cast(type, hint), value, f"{place}.")
    if origin is tuple and parts[-1] is Ellipsis:
        if not isinstance(value, list):
            raise SchemaError(f"{place} must be a list, got {quoted(value)}")
        return tuple(_part(parts[0], each, f"{place}[{i}]") for i, each in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise SchemaError(f"{place} must be an object, got {quoted(value)}")
        return {str(key): _part(parts[1], each, f"{place}.{key}") for key, each in value.items()}
    try:
        return fitted(place, value, hint)
    except SettingError as error:
        raise SchemaError(f"{error}") from None
