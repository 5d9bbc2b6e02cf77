"""The contract of a constraint: what happens to the weights after every step."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from deqzoo.nn.guarantee import Guarantee
from deqzoo.settings import In, validate


@dataclass(frozen=True)
class Constraint(abc.ABC):
    """A map on parameters that knows what the model guarantees, and under which bound.

    To write a constraint, derive a frozen dataclass in a file of ``deqzoo/training/constraints``
    and define ``apply``.

    Attributes:
        enforces: whether every guarantee holds after ``apply``.
    """

    enforces = False

    def __post_init__(self):
        validate(self)

    @abc.abstractmethod
    def apply(self, parameters: dict[str, Any], guarantees: Iterable[Guarantee]) -> dict[str, Any]:
        """The parameters after the constraint; runs inside the jitted training step.

        Args:
            parameters: nested dictionaries of arrays.
            guarantees: of the model (``Model.guarantees``); without any nothing changes.
        """


@dataclass(frozen=True)
class BoundConstraint(Constraint):
    """Keeps the bound of every guarantee at 1 - margin or below; members say how.

    Attributes:
        margin: distance of the bound, such as L‖W‖₂, from 1, in (0, 1).
    """

    margin: Annotated[float, In("(0, 1)")] = 0.05

    enforces = True

    @abc.abstractmethod
    def move(
        self, guarantee: Guarantee, parameters: dict[str, Any], limit: float
    ) -> dict[str, Any]:
        """Parameters near these under which the guarantee holds with its bound at the limit."""

    def apply(self, parameters, guarantees):
        """Parameters under which every bound meets 1 - margin."""
        for guarantee in guarantees:
            parameters = self.move(guarantee, parameters, 1 - self.margin)
        return parameters
