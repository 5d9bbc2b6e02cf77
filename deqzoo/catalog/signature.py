"""How a member is built."""

from __future__ import annotations

import inspect
from dataclasses import is_dataclass
from typing import Any

from deqzoo.recipe import Recipe


def signature(member: Any) -> inspect.Signature:
    """How to call a member: of a class its own ``__init__``, which a metaclass may hide."""
    if not isinstance(member, type):
        return inspect.signature(member)
    own = inspect.signature(member.__init__)
    return own.replace(parameters=list(own.parameters.values())[1:])


def written(parameter: inspect.Parameter) -> str:
    """A parameter and its default as a recipe has them: ``history=5``."""
    value = parameter.default
    if value is parameter.empty:
        return parameter.name
    is_member = is_dataclass(value) and not isinstance(value, type)
    return f"{parameter.name}={(str(Recipe.of(value)) if is_member else value)!r}"
