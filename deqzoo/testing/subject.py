"""A model with the task that it is built for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
from flax import nnx

from deqzoo import catalog
from deqzoo.data.examples import Data
from deqzoo.data.task import Task
from deqzoo.nn.model import Model
from deqzoo.recipe import Recipe

_EXAMPLES = 4


@dataclass(frozen=True)
class Subject:
    """What a model's truths are asked about.

    Attributes:
        constructor: (spec, outputs, *, rngs, ...) -> model.
        data: of the task.
    """

    constructor: Callable[..., Model]
    data: Data

    @classmethod
    def of(cls, model: Any, *, task: Task | str | None = None) -> Subject:
        """A recipe, a class or a constructor, for a task.

        Args:
            model: what builds the model.
            task: a task or its recipe, whose examples the model is to take; by default what the
                class names (``Model.example_task``).
        """
        task = task or _example_task(model)
        if isinstance(model, str):
            recipe = Recipe.parse(model)
            model = partial(catalog.models.load(recipe.name), *recipe.args, **recipe.kwargs)
        return cls(model, catalog.tasks.get(task).load())

    def build(self, seed: int = 0, **settings: Any) -> Model:
        """The model in eval mode."""
        data = self.data
        given = {} if data.constants is None else {"constants": data.constants}
        rngs = nnx.Rngs(seed)
        model = self.constructor(data.spec, data.outputs, rngs=rngs, **given, **settings)
        model.eval()
        return model

    @cached_property
    def x(self) -> Any:
        """A few examples of the test split."""
        return jax.tree.map(lambda leaf: np.asarray(leaf[:_EXAMPLES]), self.data.test.x)

    @cached_property
    def y(self) -> Any:
        """Their targets."""
        return np.asarray(self.data.test.y[:_EXAMPLES])


def _example_task(model: Any) -> str:
    if isinstance(model, str):
        model = catalog.models.load(Recipe.parse(model).name)
    return getattr(model, "example_task", Model.example_task)
