"""The model of whatever holds one: a run, or the model itself."""

from __future__ import annotations

from typing import Any

from deqzoo.nn.model import Model
from deqzoo.runs.run import Run
from deqzoo.settings import quoted


def as_model(given: Any) -> Model:
    """A run's model; a model as it is.

    Raises:
        TypeError: neither.
    """
    found = given.model if isinstance(given, Run) else given
    if isinstance(found, Model):
        return found
    hint = "; build one with its arguments" if isinstance(found, type) else ""
    raise TypeError(
        f"expected a model (an object of a class that derives from deqzoo.nn.Model) or a run, got "
        f"{quoted(found)}{hint}"
    )
