"""What the next step needs, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import Array, Int

from deqzoo.nn.pure_model import ModelState


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """The arrays of the model, optimizer state, and the number of steps taken.

    The data position and all other randomness follow from (seed, step), so that nothing else has to
    be saved.

    Attributes:
        parameters: of the model, as nested dictionaries; with ``ema`` an average of the weights.
        variables: what else the model holds: statistics, random streams, constants.
        optimizer: its state, and with ``ema`` the weights that it moves.
        step: steps taken.
        warm: with warm starts, the last equilibria ("value") and solutions of the backward equation
            ("cotangent") of all examples.
    """

    parameters: dict[str, Any]
    variables: dict[str, Any]
    optimizer: Any
    step: Int[Array, ""]
    warm: dict[str, Any] | None = None

    @property
    def model(self) -> ModelState:
        """The arrays of the model."""
        return ModelState(self.parameters, self.variables)
