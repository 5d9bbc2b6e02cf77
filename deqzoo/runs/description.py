"""What an artefact tells of itself: its model, its inputs, and how long it can be read."""

from __future__ import annotations

import calendar
import datetime
from typing import Any

import jax
import numpy as np

from deqzoo import catalog
from deqzoo.data.examples import TaskError
from deqzoo.runs.run import Run
from deqzoo.training.provenance import versions

_MONTHS = 6  # JAX's promise


def about(run: Run) -> dict[str, Any]:
    """The run that the model comes from."""
    return {
        "kind": "deqzoo export",
        "model": run.config.model,
        "activation": run.resolved["activation"],
        "solver": repr(run.model.deq.solver),
        "task": run.config.task,
        "classes": run.resolved["classes"],
        "outputs": run.resolved["outputs"],
        "step": run.step,
        "config": run.config.to_dict(),
        "versions": versions(),
    }


def promise(today: datetime.date) -> dict[str, str]:
    """How long JAX promises to read the program.

    The promise counts from the release of the JAX that writes, which nothing tells: the date from
    today is the latest possible.
    """
    return {
        "jax": jax.__version__,
        "written": today.isoformat(),
        "readable_until": half_a_year_after(today).isoformat(),
    }


def scaling(run: Run) -> dict[str, Any]:
    """How raw inputs are scaled before the model sees them; numbers where the data are here.

    Of inputs of several arrays, mean and deviation are nested as these are, None for tokens.
    """
    task = catalog.tasks.get(run.config.task)
    told: dict[str, Any] = {"scaling": task.scaling}
    if task.scaling != "standard":
        return told
    try:
        data = task.read()
    except TaskError:
        return {**told, "mean": None, "deviation": None}
    of_all = lambda fn: data.over_inputs(  # noqa: E731
        lambda x, size: float(fn(np.asarray(x, np.float64))) if size is None else None, data.train.x
    )
    return {**told, "mean": of_all(np.mean), "deviation": of_all(np.std)}


def half_a_year_after(day: datetime.date) -> datetime.date:
    """The same day six months later, or the last day of a shorter month.

    Example:
        >>> import datetime
        >>> from deqzoo.runs.description import half_a_year_after
        >>> print(half_a_year_after(datetime.date(2026, 8, 31)))
        2027-02-28
    """
    year, month = divmod(day.year * 12 + day.month - 1 + _MONTHS, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return datetime.date(year, month + 1, min(day.day, last))
