"""Train a model object on data: the front door of Python, of which ``launch.train`` is the twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from deqzoo import catalog
from deqzoo.nn.model import Model
from deqzoo.recipe import Recipe
from deqzoo.runs.as_data import as_data
from deqzoo.runs.as_model import as_model
from deqzoo.runs.run import Run, load_run
from deqzoo.settings import quoted
from deqzoo.storage.scratch import ScratchFolder
from deqzoo.training.config import ConfigError, TrainConfig
from deqzoo.training.given import Given, as_setting
from deqzoo.training.observer import Observer
from deqzoo.training.options import RunOptions
from deqzoo.training.training import Training

_OF_OBJECTS = ("model", "activation", "task", "width", "solver", "adjoint")
_BATCH = 128  # or all examples, where there are fewer
# How other libraries call it.
_ELSEWHERE = {"lr": "learning_rate", "epochs": "steps", "callbacks": "observers"}


def fit(
    model: Model | Run,
    data: Any,
    *,
    workdir: str | Path | None = None,
    observers: Sequence[Observer] = (),
    options: RunOptions | None = None,
    **settings: Any,
) -> Run:
    """Train a copy of a model and return the run: ``run.model``, ``run.metrics``, ``run.summary``.

    What ``launch.train`` promises holds here too: guarantees are kept, checkpoints are written,
    and the same call with the same ``workdir`` resumes a run that was interrupted, bit for bit.

    Args:
        model: a model, or a run whose model learns on; it stays as it is.
        data: a task or its recipe, such as ``"digits(validation=0.2)"``; arrays (x, y), which are
            used unscaled, a fifth of them held out as the test split and a tenth of the others as
            the validation split; or a ``Data``, such as ``deqzoo.data.arrays.data_of_arrays`` makes
            of other shares and of splits of your own (``validation=0`` for none).
        workdir: folder of the run; None keeps one for as long as the run (the object) lives.
        observers: what else watches the run (``deqzoo.training.observer``).
        options: devices, loader and sinks.
        **settings: fields of ``TrainConfig``: ``steps=1000, optimizer="adam", batch_size=64``
            (by default 128 examples, or all where there are fewer).
            Those that describe the model and the task are the objects' own.

    Raises:
        ConfigError: an unknown setting, or one that the objects decide.
        TrainingError: the loss is not finite, or too many solves fail; the state is saved.

    Example:
        >>> import deqzoo, numpy as np
        >>> from flax import nnx
        >>> from deqzoo.models.classifier import Classifier
        >>> x = np.random.default_rng(0).standard_normal((50, 4))
        >>> model = Classifier((4,), 2, activation="tanh", width=8, rngs=nnx.Rngs(0))
        >>> run = deqzoo.fit(model, (x, (x[:, 0] > 0).astype(int)), steps=20, batch_size=10)
        >>> run.step, run.model(x)[0].shape
        (20, (50, 2))
    """
    _require_settings(settings)
    _require_watching(observers, options)
    start = as_model(model)
    kept = ScratchFolder() if workdir is None else None
    folder = str(workdir if kept is None else kept.path)
    examples = as_data(data, holds_out=True)
    settings = {"batch_size": min(_BATCH, examples.train.examples), **settings}
    config = _config(start, data, folder, settings)
    given = Given(_with_solver(start, config), examples)
    training = Training(config, options, observers, given)
    try:
        for _ in training.reports():
            pass
    finally:
        training.close()
    return replace(load_run(folder, model=given.model), kept=kept)


def _require_settings(settings: dict[str, Any]) -> None:
    settable = {field.name for field in fields(TrainConfig)}.difference(_OF_OBJECTS)
    known = sorted({*settable, "observers", "options"})
    for name in settings:
        if name in _OF_OBJECTS:
            raise ConfigError(f"{name} is no setting of fit: the model and the data decide it")
        if name not in known:
            word = _ELSEWHERE.get(name, name)
            raise ConfigError(f"fit has no setting {name!r}{catalog.choices(word, known)}")


def _require_watching(observers: Any, options: Any) -> None:
    """Refuse what would fail only once the run has its folder."""
    listed = isinstance(observers, tuple | list)
    if not listed or not all(isinstance(each, Observer) for each in observers):
        raise TypeError(
            "observers must be a list of deqzoo.training.observer.Observer, got "
            f"{quoted(observers)}"
        )
    if not isinstance(options, RunOptions | None):
        raise TypeError(f"options must be deqzoo.training.RunOptions, got {quoted(options)}")


def _config(model: Model, data: Any, folder: str, settings: dict[str, Any]) -> TrainConfig:
    """The settings of the run, in which objects stand by their recipe or class."""
    recipe = data if isinstance(data, str) else catalog.tasks.recipe_of(data)
    own = {
        "model": as_setting(model),
        "activation": str(Recipe.of(model.activation)),
        "solver": str(Recipe.of(model.deq.solver)),
        "adjoint": str(Recipe.of(model.deq.adjoint)),
        "task": recipe or as_setting(data),
        "workdir": folder,
        "precision": _precision(model, settings.get("precision")),
    }
    return TrainConfig(**{**settings, **own})


def _precision(model: Model, asked: str | None) -> str:
    """What the weights of the model are in, or what was asked for and fits them."""
    wide = any(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    if asked is not None and wide != (asked == "float64"):
        raise ConfigError(
            f"precision={asked!r}, but the weights of the model are "
            f"{'float64' if wide else 'float32'}: build it with dtype= that fits"
        )
    return asked or ("float64" if wide else "float32")


def _with_solver(model: Model, config: TrainConfig) -> Model:
    """A copy whose solver keeps the iterates that the regularizer looks at."""
    copy = nnx.clone(model)
    regularizer = config.build_regularizer()
    if regularizer is not None and regularizer.trajectory():
        copy.deq.solver = replace(copy.deq.solver, trajectory=regularizer.trajectory())
    return copy
