"""How parameters begin."""

from __future__ import annotations

import functools
import itertools
import math

import jax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


def normal(
    rngs: nnx.Rngs, shape: tuple[int, ...], deviation: float, dtype: DTypeLike
) -> Float[Array, "*shape"]:
    """Normal numbers of mean 0 from the stream ``params``."""
    return jax.random.normal(rngs.params(), shape, dtype) * deviation


@functools.partial(jax.jit, static_argnums=(1, 2))
def kernels(key: Array, shapes: Shapes, dtype: DTypeLike) -> dict[str, Array]:
    """Normal kernels by name, a unit of each with weights of variance one over their number.

    They are cut out of one vector: every draw would compile by itself.

    Args:
        key: of the draw.
        shapes: (name, (height, width, inputs, outputs)) of each.
        dtype: of all.
    """
    ends = [0, *itertools.accumulate(math.prod(shape) for _, shape in shapes)]
    numbers = jax.random.normal(key, (ends[-1],), dtype)
    return {
        name: numbers[start:end].reshape(shape) / math.prod(shape[:3]) ** 0.5
        for (name, shape), (start, end) in zip(shapes, itertools.pairwise(ends), strict=True)
    }
