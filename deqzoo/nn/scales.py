"""States at several scales: each has half the height and width of the one before."""

from __future__ import annotations

from typing import Annotated, Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from deqzoo.settings import In, fitted

FACTOR = 2  # between neighbouring scales

_Channels = tuple[Annotated[int, In("[1, inf)")], ...]

Images = tuple[Float[Array, "batch _h _w _c"], ...]  # of every scale


def channels_of(channels: Any) -> tuple[int, ...]:
    """Those of every scale.

    Raises:
        ValueError: they are no whole numbers, or there is no scale.
    """
    found = fitted("channels", channels, _Channels)
    if not found:
        raise ValueError("channels must have a number for every scale, got (): use (16,) for one")
    return found


def shapes_of(size: tuple[int, int], channels: tuple[int, ...]) -> tuple[tuple[int, int, int], ...]:
    """(height, width, channels) of every scale.

    Example:
        >>> from deqzoo.nn.scales import shapes_of
        >>> shapes_of((7, 4), (8, 9, 10))
        ((7, 4, 8), (4, 2, 9), (2, 1, 10))
    """
    found = []
    height, width = size
    for count in channels:
        found.append((height, width, count))
        height, width = -(-height // FACTOR), -(-width // FACTOR)
    return tuple(found)


def zeros(b: Float[Array, "batch height width _"], channels: tuple[int, ...]) -> Images:
    """Of every scale, of the batch and on the devices of b."""
    none = b[:, :1, :1, :1] * 0
    shapes = shapes_of((b.shape[1], b.shape[2]), channels)
    return tuple(jnp.broadcast_to(none, (b.shape[0], *shape)) for shape in shapes)


def spread(
    z: Float[Array, "batch h w channels"], height: int, width: int
) -> Float[Array, "batch height width channels"]:
    """Every pixel over 2 x 2, cut to a size: its norm is at most 2.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo.nn.scales import spread
        >>> spread(jnp.array([[[[1.0], [2.0]]]]), 2, 3)[0, :, :, 0]
        Array([[1., 1., 2.],
               [1., 1., 2.]], dtype=float32)
    """
    batch, h, w, channels = z.shape
    squares = jnp.broadcast_to(z[:, :, None, :, None], (batch, h, FACTOR, w, FACTOR, channels))
    return squares.reshape(batch, FACTOR * h, FACTOR * w, channels)[:, :height, :width]
