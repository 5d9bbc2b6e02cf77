"""A model by its recipe, for a task or for examples of a shape."""

from __future__ import annotations

from typing import Any

from flax import nnx

from deqzoo import catalog
from deqzoo.data.spec import as_spec
from deqzoo.data.task import Task
from deqzoo.nn.model import Model
from deqzoo.training.config import TrainConfig


class CreateError(ValueError):
    """What a model needs and was not given."""


def create_model(
    recipe: str,
    data: Any,
    outputs: int | None = None,
    *,
    seed: int = 0,
    rngs: nnx.Rngs | None = None,
    **settings: Any,
) -> Model:
    """A model with weights as they are drawn; ``load`` has trained ones.

    Args:
        recipe: a name of ``list_models`` or a recipe, such as ``"mondeq(width=32)"``.
        data: a task or its recipe, which says what an example is and how many outputs it needs; or
            the shape of an example, or its ``Spec``.
        outputs: classes or targets; those of the task if None.
        seed: of the weights: those of a run with the same seed.
        rngs: the streams themselves, instead of ``seed``.
        **settings: further arguments of the model: ``activation="gelu"``, ``width=32``,
            ``solver=``, ``adjoint=``, ``dtype=``.

    Raises:
        CreateError: a shape without ``outputs``.
        CatalogError: a recipe or setting that does not fit.

    Example:
        >>> import deqzoo, jax.numpy as jnp
        >>> model = deqzoo.create_model("mondeq(width=16)", "digits", activation="gelu")
        >>> model(jnp.ones((2, 8, 8, 1)))[0].shape
        (2, 10)
    """
    task = catalog.tasks.get(data) if isinstance(data, str) else data
    if isinstance(task, Task):
        found = task.load()
        spec, outputs = found.spec, found.outputs if outputs is None else outputs
        if found.constants is not None:
            settings = {"constants": found.constants, **settings}
    else:
        spec = as_spec(data)
    if outputs is None:
        raise CreateError(
            f"{data!r} does not say how many outputs there are: give outputs=, or a task"
        )
    streams = TrainConfig(seed=seed).streams() if rngs is None else rngs
    return catalog.models.get(recipe, spec=spec, outputs=outputs, rngs=streams, **settings)
