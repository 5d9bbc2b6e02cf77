"""The contract of a constraint: what happens to the weights in and after every step."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import optax

from deqzoo.data.examples import Split
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.model import Model
from deqzoo.nn.pure_model import ModelState, PureModel
from deqzoo.settings import In, SettingError, validate


class Trained(NamedTuple):
    """What a constraint may look at.

    Attributes:
        pure: the model, in the precision of its weights.
        state: its arrays before the first step.
        guarantees: of the model.
        data: the training split, where the task has left it.
    """

    pure: PureModel
    state: ModelState
    guarantees: Sequence[Guarantee]
    data: Split

    def model(self, parameters: dict[str, Any]) -> Model:
        """The model with these parameters, in eval mode."""
        return self.pure.rebuild(self.state._replace(parameters=parameters))


@dataclass(frozen=True)
class Constraint(abc.ABC):
    """A map on parameters that knows what the model guarantees, and under which bound.

    To write a constraint, derive a frozen dataclass in a file of ``deqzoo/training/constraints``
    and define ``apply``; ``around`` too, if it acts on gradients.

    Attributes:
        enforces: whether every guarantee holds after ``apply``.
    """

    enforces = False

    def __post_init__(self):
        validate(self)

    @property
    def needs_guarantee(self) -> bool:
        """Whether it has nothing to do where a model declares no guarantee."""
        return self.enforces

    def require(self, model: Model) -> None:
        """Refuse a model of which there is nothing that it could keep.

        Raises:
            SettingError: there is nothing.
        """
        if self.needs_guarantee and not model.guarantees():
            raise SettingError(
                f"has nothing to keep: {type(model).__name__} declares no guarantee (level C). "
                "Leave the flag out, or use --constraint=monitor"
            )

    def around(
        self,
        transform: optax.GradientTransformation,
        learning_rate: optax.ScalarOrSchedule,
        trained: Trained,
    ) -> optax.GradientTransformation:
        """The optimizer's transformation under the constraint; by default as it is."""
        del learning_rate, trained
        return transform

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
