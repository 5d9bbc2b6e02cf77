"""A model's arrays in a folder, checked bit for bit when they are read back."""

from __future__ import annotations

import contextlib
from pathlib import Path

import jax
import jax.numpy as jnp

from deqzoo.local_path import local_path
from deqzoo.nn.model import Model
from deqzoo.nn.pure_model import PureModel
from deqzoo.runs.as_model import as_model
from deqzoo.runs.run import Run
from deqzoo.storage import checkpoint
from deqzoo.storage.checkpoint import CheckpointError, Checkpoints
from deqzoo.training.given import as_setting
from deqzoo.training.provenance import versions

_STEP = 0


def save(model: Model | Run, folder: str | Path) -> Path:
    """Write every array of a model (weights, statistics, constants), each with a checksum.

    The class and its arguments are not written: ``restore`` fills a model built alike.

    Args:
        model: any model, or a run.
        folder: new or empty.

    Raises:
        CheckpointError: the folder is not empty.

    Example:
        >>> import tempfile, deqzoo
        >>> from flax import nnx
        >>> from deqzoo.models.classifier import Classifier
        >>> build = lambda seed: Classifier((4,), 2, width=8, rngs=nnx.Rngs(seed))
        >>> folder = deqzoo.save(build(0), tempfile.mkdtemp())
        >>> model = deqzoo.restore(build(1), folder)
        >>> bool((model.deq.cell.W[...] == build(0).deq.cell.W[...]).all())
        True
    """
    model, folder = as_model(model), local_path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"{folder} is not an empty folder: save the model in a new one")
    about = {"model": as_setting(model), "versions": versions()}
    with contextlib.closing(Checkpoints(folder, writable=True)) as written:
        written.save(_STEP, PureModel(model).state, 0.0, about)
        written.wait()
    return folder


def restore(model: Model, folder: str | Path) -> Model:
    """The model with the arrays that ``save`` wrote, in eval mode and in its own dtypes.

    Args:
        model: built as the saved one was; it stays as it is.
        folder: of ``save``.

    Raises:
        CheckpointError: no saved model, damaged files, or arrays of another model.
    """
    pure = PureModel(as_model(model))
    folder = local_path(folder)
    if not (folder / str(_STEP)).is_dir():
        raise CheckpointError(f"{folder} holds no model written by deqzoo.save")
    with contextlib.closing(Checkpoints(folder, writable=False)) as reader:
        found = reader.read(_STEP, pure.state.parts)
    return pure.rebuild(jax.tree.map(jnp.asarray, checkpoint.fill(pure.state, found, cast=True)))
