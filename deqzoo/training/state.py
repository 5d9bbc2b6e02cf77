"""What the next step needs, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import Array, Int


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Parameters as nested dictionaries, optimizer state, and the number of steps taken.

    The data position and all randomness follow from (seed, step), so that nothing else has to be
    saved.

    Attributes:
        parameters: of the model.
        optimizer: its state.
        step: steps taken.
        warm: with warm starts, the last equilibria ("value") and solutions of the backward equation
            ("cotangent") of all examples.
    """

    parameters: dict[str, Any]
    optimizer: Any
    step: Int[Array, ""]
    warm: dict[str, Any] | None = None
