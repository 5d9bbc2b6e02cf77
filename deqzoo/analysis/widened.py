"""Numbers in float64, whatever they were computed in."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np


def in_float64(leaf: Any) -> Any:
    """An array of real numbers as float64; what else there is, as it is. Within ``enable_x64``."""
    array = leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)
    is_real = jnp.issubdtype(array.dtype, jnp.floating)
    return jnp.asarray(np.asarray(array), jnp.float64) if is_real else leaf
