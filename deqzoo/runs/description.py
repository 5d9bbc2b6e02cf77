"""What an artefact tells of itself: its model, its inputs, and how long it can be read."""

from __future__ import annotations

import calendar
import datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from deqzoo import catalog
from deqzoo.data.examples import TaskError
from deqzoo.nn.model import Model
from deqzoo.nn.output_shape import output_shape
from deqzoo.nn.pure_model import PureModel
from deqzoo.recipe import Recipe
from deqzoo.runs.as_model import as_model
from deqzoo.runs.run import Run
from deqzoo.training.given import as_setting, names_object
from deqzoo.training.provenance import versions

_MONTHS = 6  # JAX's promise


def about(model: Model | Run, spec: Any) -> dict[str, Any]:
    """The model, and the run that it comes from; null is what an object does not say."""
    run = model if isinstance(model, Run) else None
    own = as_model(model)
    outputs = output_shape(PureModel(own), spec)[-1] if run is None else run.resolved["outputs"]
    return {
        "kind": "deqzoo export",
        "model": as_setting(own) if run is None else run.config.model,
        "activation": str(Recipe.of(own.activation)),
        "solver": repr(own.deq.solver),
        "task": None if run is None else _without_folders(run.config.task),
        "classes": None if run is None else run.resolved["classes"],
        "outputs": outputs,
        "step": None if run is None else run.step,
        "config": None if run is None else _settings(run),
        "versions": versions(),
    }


def _settings(run: Run) -> dict[str, Any]:
    return {name: _without_folders(value) for name, value in run.config.to_dict().items()}


def _without_folders(setting: Any) -> Any:
    """A path, alone or in a recipe, by its last part: the folders are the exporter's own affair."""
    if not isinstance(setting, str) or "/" not in setting:
        return setting
    try:
        recipe = Recipe.parse(setting)
    except catalog.CatalogError:
        return Path(setting).name
    kwargs = {name: _without_folders(value) for name, value in recipe.kwargs.items()}
    return str(Recipe(recipe.name, tuple(map(_without_folders, recipe.args)), kwargs))


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


def scaling(model: Model | Run) -> dict[str, Any]:
    """How raw inputs are scaled before the model sees them; numbers where the data are here.

    Of inputs of several arrays, mean and deviation are nested as these are, None for tokens.
    Objects do not say how: null.
    """
    if not isinstance(model, Run) or names_object(model.config.task):
        return {"scaling": None}
    task = catalog.tasks.get(model.config.task)
    told: dict[str, Any] = {"scaling": task.scaling}
    if task.scaling != "standard":
        return told
    try:
        data = task.divided()
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
