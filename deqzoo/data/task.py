"""The contract of a task: data with their splits, checked and scaled once."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from deqzoo.data.carving import Share, carved
from deqzoo.data.examples import Data
from deqzoo.data.scaling import SCALINGS, require_scalable, scaled
from deqzoo.data.validation import require_valid
from deqzoo.settings import OneOf, validate


@dataclass(frozen=True)
class Task(abc.ABC):
    """Data set with its default way of scaling inputs.

    To write a task, derive a frozen dataclass in a file of ``deqzoo/tasks`` and define ``read``.
    ``load`` validates and scales; arrays that ``read`` maps into memory (``np.memmap``) are read
    block by block and stay on disk.

    Attributes:
        loss: recipe of the loss that fits the data, where it is not what ``Data`` takes by default.
        metrics: recipes of what is measured on them, likewise.
        licence: of the data, where they come with one.
        scaling: ``standard`` subtracts the mean and divides by the standard deviation of all
            training inputs, array by array, ``sphere`` scales every example to Euclidean norm
            sqrt(d) as the theory assumes, ``none`` leaves them. Tokens are never scaled. Given by
            keyword only.
        validation: share of the training examples, in [0, 1), that becomes the validation split
            where ``read`` gives none (``deqzoo.data.carving``); 0 carves nothing out. By keyword.
    """

    loss: ClassVar[str | None] = None
    metrics: ClassVar[tuple[str, ...] | None] = None
    licence: ClassVar[str | None] = None

    scaling: Annotated[str, OneOf(*SCALINGS)] = field(default="standard", kw_only=True)
    validation: Share = field(default=0.1, kw_only=True)

    def __post_init__(self):
        validate(self)

    @abc.abstractmethod
    def read(self) -> Data:
        """The data as stored; a missing file or package raises TaskError with what to do."""

    def divided(self) -> Data:
        """Read, validate and divide: all splits as they are stored.

        Raises:
            TaskError: as ``load``.
        """
        data = self.read()
        require_valid(data)
        require_scalable(data, self.scaling)
        return carved(data, self.validation)

    def load(self) -> Data:
        """Read, validate, divide and scale.

        Raises:
            TaskError: shapes that do not fit, non-finite values, labels outside the classes, tokens
                beyond their number, a zero input on the sphere.
        """
        data = self.divided()
        own: dict[str, Any] = {"loss": self.loss, "metrics": self.metrics}
        named = {field: name for field, name in own.items() if name is not None}
        return replace(scaled(data, self.scaling), **named)
