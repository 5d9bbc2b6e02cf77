"""The numbers of a step in one array, which costs the host one transfer and not one for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deqzoo.training.state import TrainState


class PackedStep:
    """``step(state, x, y) -> (state, numbers)``, to be compiled, for a step that returns metrics.

    Args:
        step: ``(state, x, y) -> (state, metrics)``, the metrics a dictionary of numbers.
    """

    def __init__(self, step: Callable[..., tuple[TrainState, dict[str, Array]]]):
        self._step = step
        self._names: tuple[str, ...] = ()

    def __call__(
        self, state: TrainState, x: Array, y: Array
    ) -> tuple[TrainState, Float[Array, " names"]]:
        """The step; tracing it tells the names."""
        state, metrics = self._step(state, x, y)
        self._names = tuple(metrics)
        dtype = jnp.result_type(jnp.float32, *metrics.values())
        return state, jnp.stack([value.astype(dtype) for value in metrics.values()])

    def read(self, numbers: Any) -> dict[str, float]:
        """The metrics of a step that has run; waits for it."""
        values = np.asarray(jax.device_get(numbers)).tolist()
        return dict(zip(self._names, values, strict=True))
