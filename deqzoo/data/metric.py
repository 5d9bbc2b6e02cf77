"""The contract of a metric: a named pair (sum, count) that merges over batches and devices."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from deqzoo.data.tally import Tally
from deqzoo.settings import validate

CLASSES, TARGETS = "class labels", "real targets"


@dataclass(frozen=True)
class Metric(abc.ABC):
    """A number of a data set: ``value`` of the sum and the count of its ``entries``.

    To write a metric, derive a frozen dataclass in a file of ``deqzoo/data/metrics`` (or of a
    package of yours, under the entry point ``deqzoo.metrics``) and define ``entries`` and, unless
    the number is sum / count, ``value``. A task names the metrics that are recorded for it.

    Attributes:
        takes: the kinds of targets it speaks of, ``CLASSES`` and ``TARGETS``.
        higher_is_better: which of two checkpoints is the better one.
        is_share: whether it lies in [0, 1], such as an accuracy.
    """

    takes = (CLASSES, TARGETS)
    higher_is_better = False
    is_share = False

    def __post_init__(self):
        validate(self)

    def __call__(
        self, outputs: Float[Array, "batch ..."], targets: Shaped[Array, "batch ..."]
    ) -> Float[Array, ""]:
        """The number of a batch as a whole."""
        return self.value(self.tally(outputs, targets))

    def tally(self, outputs: Any, targets: Any, *, each: bool = False) -> Tally:
        """Sum and count of a batch, or of ``each`` of its examples."""
        return Tally.over(*self.entries(outputs, targets), each=each)

    @abc.abstractmethod
    def entries(
        self, outputs: Float[Array, "batch ..."], targets: Shaped[Array, "batch ..."]
    ) -> tuple[Array, Array]:
        """What is summed, and which of it counts: (batch, ...) of any rank, both of one shape.

        It is called inside compiled programs and treats every example by itself.

        Args:
            outputs: of the model, (batch, ..., k).
            targets: class labels (batch, ...), of which -1 is to be ignored, or real values of the
                shape of the outputs.
        """

    def value(self, tally: Tally) -> Any:
        """The number that a merged tally stands for; 0 of nothing."""
        return tally.sum / jnp.maximum(tally.count, 1)
