"""The contract of a loss."""

from __future__ import annotations

import abc
from dataclasses import dataclass

from jaxtyping import Array, Float, Shaped


@dataclass(frozen=True)
class Loss(abc.ABC):
    """A scalar of a batch of outputs and targets.

    To write a loss, derive a frozen dataclass in a file of ``deqzoo/training/losses`` and define
    ``__call__``.

    Attributes:
        needs_classes: whether the targets must be class labels.
        is_sum: whether examples are added up (True) or averaged (False); the loss of a data set is
            taken alike.
    """

    needs_classes = False
    is_sum = False

    @abc.abstractmethod
    def __call__(
        self, outputs: Float[Array, "batch k"], targets: Shaped[Array, "batch ..."]
    ) -> Float[Array, ""]:
        """The loss; targets are integer labels (batch,) or real values (batch, k)."""
