"""A run together with the examples it is looked at on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from deqzoo.analysis.metric import Metric
from deqzoo.data.examples import Data, Split, in_dtype
from deqzoo.nn.model import Model
from deqzoo.runs.measures import metrics_of
from deqzoo.runs.run import Run
from deqzoo.storage.workdir import WorkdirError
from deqzoo.training.evaluation import LOSS


@dataclass(frozen=True)
class Subject:
    """What is analysed.

    Attributes:
        run: the run at one of its checkpoints.
        train: training examples, in the dtype of the model.
        test: test examples.
        metric: of the test examples.
    """

    run: Run
    train: Split
    test: Split
    metric: Metric

    @property
    def model(self) -> Model:
        """The model of the run."""
        return self.run.model


def subject(run: Run, data: Data, examples: int = 256) -> Subject:
    """The run with at most so many examples of each split, the same ones every time.

    Raises:
        WorkdirError: these are not the data that the run was trained on.
    """
    require_same_data(run, data)
    train, test = (_sample(run.model, split, examples) for split in (data.train, data.test))
    name = chosen(run)
    return Subject(run, train, test, Metric(name, metrics_of(run)[name], test.y))


def require_same_data(run: Run, data: Data) -> None:
    """Refuse data whose checksum is not the recorded one.

    Numbers measured on other data would stand beside those of the run and mislead.

    Raises:
        WorkdirError: it is not.
    """
    recorded = run.resolved["data"]
    if data.fingerprint != recorded:
        raise WorkdirError(
            f"the data of {run.config.task} are not those that {run.path} was trained on "
            f"(fingerprint {recorded} there, {data.fingerprint} now): restore them"
        )


def chosen(run: Run) -> str:
    """The first metric that the task names, or else the loss."""
    return next((name for name in metrics_of(run) if name != LOSS), LOSS)


def _sample(model: Model, split: Split, examples: int) -> Split:
    """All examples, or as many drawn by a fixed seed, in their order."""
    chosen = np.arange(split.examples)
    if len(chosen) > examples:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, examples, replace=False))
    return jax.tree.map(jnp.asarray, in_dtype(split.at(chosen), _dtype(model)))


def _dtype(model: Model) -> Any:
    """That of the weights."""
    return jax.tree.leaves(nnx.state(model, nnx.Param))[0].dtype
