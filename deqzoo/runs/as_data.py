"""Data from whatever names them: a task, its recipe, ``Data``, or arrays."""

from __future__ import annotations

from typing import Any

from deqzoo import catalog
from deqzoo.data.arrays import data_of_arrays
from deqzoo.data.examples import Data
from deqzoo.data.task import Task


def as_data(data: Any, *, holds_out: bool) -> Data:
    """What a task loads, ``Data`` as they are, arrays (x, y) unscaled.

    Args:
        data: a task or its recipe, ``Data``, or arrays (x, y).
        holds_out: whether a fifth of arrays becomes the test split, and a tenth of the rest the
            validation split; else all of them are both training and test split.

    Raises:
        CatalogError: a recipe of no task.
        TaskError: data that cannot be used.
    """
    if isinstance(data, str):
        data = catalog.tasks.get(data)
    if isinstance(data, Task):
        return data.load()
    if isinstance(data, Data):
        return data
    return data_of_arrays(data) if holds_out else data_of_arrays(data, data, validation=0)
