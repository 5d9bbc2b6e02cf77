"""In which dtype and where a loaded model computes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.nn.model import Model
from deqzoo.training.step import split_model


def input_dtype(model: Model) -> Any:
    """The dtype that a model computes in: that of its parameters."""
    return jnp.result_type(*jax.tree.leaves(split_model(model)[1]))


def on_default_device(parameters: Any) -> Any:
    """Parameters on the default device: a run is loaded to the CPU."""
    return jax.device_put(jax.tree.map(np.asarray, parameters))
