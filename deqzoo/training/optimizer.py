"""The contract of an optimizer recipe: a learning rate, its schedule, and optax behind it."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field, replace
from typing import Any

import optax

SCHEDULES = ("constant", "cosine")
NTK, CERTIFIED = "ntk", "certified"


@dataclass(frozen=True)
class Optimizer(abc.ABC):
    """A gradient transformation with a declared learning rate.

    To write an optimizer, derive a frozen dataclass in a file of ``deqzoo/training/optimizers``,
    give ``learning_rate`` a default and define ``transform``.

    Attributes:
        learning_rate: step size; or ``"ntk"`` for 1/λ_max of the neural tangent kernel at
            initialisation, the step at which full-batch gradient descent on the square loss
            decreases safely; or ``"certified"`` for the largest step that Theorem A certifies.
        schedule: ``constant``, or ``cosine`` from the learning rate down to zero over the whole
            run.
    """

    learning_rate: float | str = field(default=1e-3, kw_only=True)
    schedule: str = field(default="constant", kw_only=True)

    def __post_init__(self):
        if self.learning_rate not in (NTK, CERTIFIED) and not (
            isinstance(self.learning_rate, int | float) and 0 < self.learning_rate < float("inf")
        ):
            raise ValueError(
                "learning_rate must be a positive number, 'ntk' or 'certified', got "
                f"{self.learning_rate!r}"
            )
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"schedule must be one of {', '.join(SCHEDULES)}; got {self.schedule!r}"
            )

    @abc.abstractmethod
    def transform(self, learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
        """The optax transformation for a resolved learning rate or schedule."""

    def with_learning_rate(self, learning_rate: float | str | None) -> Optimizer:
        """The same optimizer with another learning rate; None keeps its own."""
        return self if learning_rate is None else replace(self, learning_rate=learning_rate)

    def build(self, steps: int) -> optax.GradientTransformation:
        """The transformation for a run of ``steps`` steps; the learning rate must be a number."""
        if isinstance(self.learning_rate, str):
            raise ValueError(
                f"the learning rate {self.learning_rate!r} must be resolved to a number first"
            )
        return self.at(self.learning_rate, steps)

    def at(self, learning_rate: Any, steps: int) -> optax.GradientTransformation:
        """The transformation at a learning rate, which may be a traced number."""
        cosine = self.schedule == "cosine"
        return self.transform(
            optax.cosine_decay_schedule(learning_rate, steps) if cosine else learning_rate
        )
