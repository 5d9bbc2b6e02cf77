"""What is measured of weights besides training: both splits, and the contraction factor."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from deqzoo.nn.model import Model
from deqzoo.task import Data, Split
from deqzoo.training import guarantees
from deqzoo.training.loss import Loss
from deqzoo.training.step import make_evaluation, split_model

_CHUNK = 512


class Examiner:
    """One compiled evaluation for any weights of an architecture.

    Args:
        model: the architecture.
        loss: of a split.
        data: both splits.
        dtype: of inputs and real targets.

    Attributes:
        train: the training split on the device.
    """

    def __init__(self, model: Model, loss: Loss, data: Data, dtype: Any):
        self.train, self._test = (_on_device(split, dtype) for split in (data.train, data.test))
        self._limits = model.norm_limits()
        chunk = min(_CHUNK, len(data.train.x))
        self._evaluate = make_evaluation(split_model(model)[0], loss, chunk)

    def test(self, parameters: dict[str, Any]) -> dict[str, float]:
        """Loss, accuracy and solver statistics on the test split, and the largest L‖W‖₂."""
        found = self._evaluate(parameters, *self._test)
        factors = guarantees.contraction_factors(parameters, self._limits)
        return {
            **{f"test_{name}": value for name, value in found.items()},
            "contraction": max(factors.values(), default=0.0),
        }

    def both(self, parameters: dict[str, Any]) -> dict[str, float]:
        """Loss and accuracy on the training split, and ``test``."""
        found = self._evaluate(parameters, *self.train)
        kept = {f"train_{name}": found[name] for name in ("loss", "accuracy") if name in found}
        return {**kept, **self.test(parameters)}


def _on_device(split: Split, dtype: Any) -> tuple[Array, Array]:
    """Inputs and real targets in the dtype of the run, labels as they are."""
    labels = np.issubdtype(split.y.dtype, np.integer)
    return jnp.asarray(split.x, dtype), jnp.asarray(split.y, None if labels else dtype)
