"""A convolution with zero padding in the layout that is fast on a CPU."""

from __future__ import annotations

from jax import lax
from jaxtyping import Array, Float


def convolve(
    z: Float[Array, "batch height width inputs"],
    kernel: Float[Array, "rows columns inputs outputs"],
    stride: int = 1,
) -> Float[Array, "batch h w outputs"]:
    """K * z of ceil(height/stride) x ceil(width/stride) pixels.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo.nn.convolve import convolve
        >>> convolve(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)), stride=2)[0, :, :, 0]
        Array([[4., 4.],
               [4., 4.]], dtype=float32)
    """
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(z, kernel, (stride, stride), "SAME", dimension_numbers=layout)
