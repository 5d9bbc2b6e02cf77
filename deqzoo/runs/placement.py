"""In which dtype and where a loaded model computes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.nn.model import Model
from deqzoo.nn.pure_model import PureModel


def input_dtype(model: Model) -> Any:
    """The dtype that a model computes in: that of its parameters."""
    return jnp.result_type(*jax.tree.leaves(PureModel(model).state.parameters))


def on_default_device(arrays: Any) -> Any:
    """Arrays of a model on the default device: a run is loaded to the CPU."""
    return jax.device_put(jax.tree.map(np.asarray, arrays))
