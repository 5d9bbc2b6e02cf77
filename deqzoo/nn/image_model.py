"""The base of models of images: a strided convolution, an equilibrium, an affine map of means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Real

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.solver import Solver
from deqzoo.data.spec import Spec, described, one_array
from deqzoo.nn.convolve import convolve
from deqzoo.nn.deq import DEQ
from deqzoo.nn.draws import normal
from deqzoo.nn.guarantee import Guarantee
from deqzoo.nn.model import Model
from deqzoo.settings import In, fitted

_TAPS = 3  # of the stem
_SIDE = 16  # pixels of the shorter side of a state, at most, unless a stride is given
_Stride = Annotated[int, In("[1, inf)")]
_Pool = Annotated[int, In("[1, inf)")]


class ImageModel(Model):
    """u = S * x + s, an equilibrium z of a cell that takes u, outputs = A means(z) + a.

    S is a convolution of 3 x 3 taps with a stride. The means are those of pool x pool windows of
    nearly one size, or of every pixel where there are fewer, for every array of z.

    Args:
        spec: of one example, an image (height, width, channels) or the shape of it.
        outputs: classes or targets.
        activation: φ, an activation or its recipe.
        cell: (φ, (height, width) of u) -> the cell, with a method ``guarantee``.
        injected: channels of u.
        states: (height, width) of u -> the shape (height, width, channels) of every array of z.
        stride: of S; by default the least that leaves the shorter side of u at most 16 pixels.
        pool: windows along a side.
        solver: a solver or its recipe.
        adjoint: an adjoint or its recipe.
        rngs: the stream ``params`` draws S, the cell and A in this order.
        dtype: of S, s, A and a.

    Raises:
        ValueError: an example is no image, or a number is out of range.
    """

    def __init__(
        self,
        spec: Spec | tuple[int, ...],
        outputs: int,
        *,
        activation: Activation | str,
        cell: Callable[[Activation, tuple[int, int]], nnx.Module],
        injected: int,
        states: Callable[[tuple[int, int]], tuple[tuple[int, int, int], ...]],
        stride: int | None,
        pool: int,
        solver: Solver | str,
        adjoint: Adjoint | str,
        rngs: nnx.Rngs,
        dtype: DTypeLike,
    ):
        height, width, channels = _image(spec)
        self.activation = catalog.activations.get(activation)
        least = -(-min(height, width) // _SIDE)
        self.stride = least if stride is None else fitted("stride", stride, _Stride)
        size = (-(-height // self.stride), -(-width // self.stride))
        deviation = 1 / (_TAPS * channels**0.5)
        self.S = nnx.Param(normal(rngs, (_TAPS, _TAPS, channels, injected), deviation, dtype))
        self.s = nnx.Param(jnp.zeros(injected, dtype))
        self.deq = DEQ(cell(self.activation, size), solver=solver, adjoint=adjoint)
        self.pool = fitted("pool", pool, _Pool)
        means = sum(_windows(h, self.pool) * _windows(w, self.pool) * c for h, w, c in states(size))
        self.outputs = nnx.Linear(means, outputs, param_dtype=dtype, rngs=rngs)

    def stem(self, x: Real[Array, "batch height width channels"]) -> Any:
        """S * x + s, as the cell takes it."""
        S = self.S[...]
        return convolve(x.astype(S.dtype), S, self.stride) + self.s[...][None, None, None]

    def head(self, z: Any, injected: Any) -> Float[Array, "batch outputs"]:
        """A means(z) + a."""
        del injected
        rows = [means(part, self.pool) for part in jax.tree.leaves(z)]
        return self.outputs(jnp.concatenate(rows, axis=1))

    def guarantees(self) -> tuple[Guarantee, ...]:
        """That of the cell."""
        return (self.deq.cell.guarantee("deq", "cell"),)


def means(
    z: Float[Array, "batch height width channels"], pool: int
) -> Float[Array, "batch features"]:
    """Of pool x pool windows of nearly one size.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo.nn.image_model import means
        >>> means(jnp.arange(5.0).reshape(1, 5, 1, 1), 2)
        Array([[0.5, 3. ]], dtype=float32)
    """
    rows, columns = (jnp.asarray(_averages(side, pool), z.dtype) for side in z.shape[1:3])
    across = jnp.einsum("pw,bhwc->bhpc", columns, z)
    return jnp.einsum("qh,bhpc->bqpc", rows, across).reshape(z.shape[0], -1)


def _averages(side: int, pool: int) -> Float[np.ndarray, "windows side"]:
    edges = np.arange(_windows(side, pool) + 1) * side // _windows(side, pool)
    places = np.arange(side)
    within = (edges[:-1, None] <= places) & (places < edges[1:, None])
    return within / np.sum(within, axis=1, keepdims=True)


def _windows(side: int, pool: int) -> int:
    return min(side, pool)


def _image(spec: Spec | tuple[int, ...]) -> tuple[int, int, int]:
    shape = one_array(spec).shape
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(
            "this model takes images (height, width, channels), and an example is "
            f"{described(one_array(spec))}: choose a model for such data"
        )
    height, width, channels = shape
    return height, width, channels
