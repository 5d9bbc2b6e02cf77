"""Objects in the place of recipes: what ``deqzoo.fit`` trains and on what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deqzoo.data.examples import Data
from deqzoo.nn.model import Model

_OBJECT = "object:"


@dataclass(frozen=True)
class Given:
    """A model and data that no recipe describes; None where the settings name one.

    Attributes:
        model: trained is a copy of it.
        data: as a task loads them.
    """

    model: Model | None = None
    data: Data | None = None


def as_setting(thing: Any) -> str:
    """How the settings of a run name an object: ``object:`` and its class.

    Example:
        >>> from deqzoo.training.given import as_setting
        >>> as_setting(3.5)
        'object:builtins.float'
    """
    return f"{_OBJECT}{type(thing).__module__}.{type(thing).__qualname__}"


def names_object(setting: str) -> bool:
    """Whether a setting names an object, which only somebody who has it can give."""
    return setting.startswith(_OBJECT)
