"""How parameters begin."""

from __future__ import annotations

import jax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float


def normal(
    rngs: nnx.Rngs, shape: tuple[int, ...], deviation: float, dtype: DTypeLike
) -> Float[Array, "*shape"]:
    """Normal numbers of mean 0 from the stream ``params``."""
    return jax.random.normal(rngs.params(), shape, dtype) * deviation
