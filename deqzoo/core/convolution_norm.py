"""Norms of two-dimensional convolutions on images of any size, never on the unsafe side.

A convolution of an image with zero padding cuts a window out of the same convolution on the whole
lattice Z², of an image that is zero outside another window: its norm is at most that on Z². There
Fourier series turn it into the matrices K^(θ) = Σ_ab K_ab exp(i(aθ₁ + bθ₂)), K_ab of shape
(outputs, inputs), and its norm is sup_θ ‖K^(θ)‖₂. Only the offset of the window depends on where
the padding lies, and no norm does.

**A grid of frequencies bounds the supremum.** Fix unit vectors u, v and a number c of modulus one,
let M = sup_θ ‖K^(θ)‖₂, and let q(θ) be the real part of c exp(-i(r₁θ₁ + r₂θ₂)) u*K^(θ)v, r = (k -
1)/2 for k taps along an axis. |q| <= M, and in each of its variables q is an entire function of
exponential type r, so that by the inequality of Bernstein, Szegő, Duffin and Schaeffer (∂q)² +
r²q² <= r²M²: the angle arccos(q/M) moves by at most r|t| over a distance t. Choose θ with ‖K^(θ)‖₂
= M and u, v, c with q(θ) = M.

- Along one axis q is at least M cos(r|t|) a distance |t| <= π/2r away. On N > 2r equidistant
  points one is as near as π/N: the largest sample of that line is at least M cos(πr/N). The same
  holds of the other axis through that sample, with new u, v and c, so that M <= max over the
  grid/(cos(πr₁/N₁) cos(πr₂/N₂)).
- In a cell of half-widths h₁, h₂ around a point, the value at that point is at least M cos(r₁h₁ +
  r₂h₂) where the cell holds θ. Cells below that are passed over, the others are split.

**Strides.** Of a convolution with strides (s₁, s₂) the pixels of an s₁ x s₂ block are channels of
one pixel, and it is a convolution without strides of such images.

References:
    Sedghi, Gupta and Long, "The singular values of convolutional layers", arXiv 1805.10408, has
    the matrices K^(θ) for circular convolutions. Duffin and Schaeffer, "Some inequalities
    concerning functions of exponential type", Bulletin of the AMS 43 (1937). Ehlich and Zeller,
    "Schwankung von Polynomen zwischen Gitterpunkten", Mathematische Zeitschrift 86 (1964), has
    such factors for polynomials.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from deqzoo.core import trees

_POINTS = 16  # of the grid, times r: 1/cos² is 1.04
_SQUARINGS = 6
_HALVINGS = 8
_CELLS = 4096  # a cell more is not split any further


@functools.partial(jax.jit, static_argnames="strides")  # one program where it is called eagerly
def norm_upper_bound(
    kernel: Float[Array, "height width inputs outputs"], strides: tuple[int, int] = (1, 1)
) -> Float[Array, ""]:
    """The norm from above, for use inside ``jit``, in at least float32; about 6 % too large.

    Every ‖A‖₂, A = K^(θ) on the grid, is bounded by (tr (A*A)^p)^(1/2p), p = 2^6. The roundings of
    these powers, (m + n) n ε of n x n matrices, and those of A are added.

    Args:
        kernel: K as Flax and ``lax`` have it ("HWIO").
        strides: along height and width.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo.core.convolution_norm import norm_upper_bound
        >>> mean = jnp.full((3, 3, 1, 1), 1 / 9)  # its norm is 1
        >>> 1 < norm_upper_bound(mean) < 1.05
        Array(True, dtype=bool)
    """
    wide = _without_strides(kernel.astype(trees.reduction_dtype(kernel)), strides)
    largest = jnp.max(jnp.abs(wide), initial=0)
    unit = wide / jnp.where(largest > 0, largest, 1)
    height, width, inputs, outputs = unit.shape
    real, imaginary, factor = _grid(height, width)
    taps = unit.reshape(height * width, inputs * outputs)
    parts = (
        jnp.matmul(jnp.asarray(part, unit.dtype), taps, precision="highest")
        for part in (real, imaginary)
    )
    matrices = [part.reshape(-1, inputs, outputs) for part in parts]
    if inputs < outputs:
        matrices = [jnp.swapaxes(part, 1, 2) for part in matrices]
    m, n = matrices[0].shape[1:]
    eps = float(jnp.finfo(unit.dtype).eps)
    at_grid = jnp.max(_norms(*matrices)) * (1 + (2 * n * (m + n + 8) + 64) * eps)
    count = height * width
    of_sums = (count + 8) * eps * count**0.5 * jnp.sqrt(jnp.sum(unit * unit))
    return largest * (at_grid + of_sums) * (factor * (1 + 8 * eps))


def shrink_to(
    kernel: Float[Array, "height width inputs outputs"], limit: float | Float[Array, ""]
) -> Float[Array, "height width inputs outputs"]:
    """K scaled down, if need be, until its upper bound meets ``limit``."""
    bound = norm_upper_bound(kernel)
    aim = limit * (1 - 32 * float(jnp.finfo(bound.dtype).eps))
    factor = jnp.where(bound > limit, aim / jnp.where(bound > 0, bound, 1), 1)
    return (kernel * factor).astype(kernel.dtype)


def proved_norm(
    kernel: Float[np.ndarray, "height width inputs outputs"], strides: tuple[int, int] = (1, 1)
) -> float:
    """The norm from above on the host, by singular values in float64; usually 1e-6 too large.

    NaN where an entry is not finite.
    """
    wide = _without_strides(np.asarray(kernel, np.float64), strides)
    largest = float(np.max(np.abs(wide), initial=0))
    if not 0 < largest < np.inf:
        return largest if largest == 0 else float("nan")
    height, width, inputs, outputs = wide.shape
    taps = (wide / largest).reshape(height * width, inputs * outputs)
    degrees = np.array([(height - 1) / 2, (width - 1) / 2])
    half = np.array([math.pi / _points(k) for k in (height, width)])
    centres = _frequencies(height, width)
    for halving in range(_HALVINGS + 1):
        matrices = (_waves(centres, height, width) @ taps).reshape(-1, inputs, outputs)
        norms = np.linalg.svd(matrices, compute_uv=False)[:, 0]
        within = math.cos(float(degrees @ half))
        near = centres[norms >= np.max(norms) * within * (1 - 1e-9)]
        if halving == _HALVINGS or 4 * len(near) > _CELLS or not np.any(degrees):
            break
        half = half / 2
        corners = np.array([(a, b) for a in (-1, 1) for b in (-1, 1)]) * half
        centres = (near[:, None] + corners[None]).reshape(-1, 2)
    eps, count = float(np.finfo(float).eps), height * width
    rounding = (count + 8) * eps * count**0.5 * float(np.linalg.norm(taps))
    at_cells = float(np.max(norms)) * (1 + 64 * (inputs + outputs) * eps) + rounding
    return largest * at_cells / within * (1 + 8 * eps)


def singular_values(
    kernel: Float[np.ndarray, "height width inputs outputs"], strides: tuple[int, int] = (1, 1)
) -> Float[np.ndarray, " values"]:
    """Those of K^(θ) at all θ of the grid, decreasing."""
    wide = _without_strides(np.asarray(kernel, np.float64), strides)
    height, width, inputs, outputs = wide.shape
    waves = _waves(_frequencies(height, width), height, width)
    matrices = (waves @ wide.reshape(height * width, -1)).reshape(-1, inputs, outputs)
    return np.sort(np.linalg.svd(matrices, compute_uv=False), axis=None)[::-1]


def _without_strides(kernel, strides: tuple[int, int]):
    """A kernel of the same norm for images of blocks; NumPy's or JAX's."""
    numpy = jnp if isinstance(kernel, jnp.ndarray) else np
    height, width, inputs, outputs = kernel.shape
    down, across = strides
    missing = ((0, -height % down), (0, -width % across), (0, 0), (0, 0))
    whole = numpy.pad(kernel, missing)
    rows, columns = whole.shape[0] // down, whole.shape[1] // across
    blocks = whole.reshape(rows, down, columns, across, inputs, outputs)
    moved = numpy.transpose(blocks, (0, 2, 1, 3, 4, 5))
    return moved.reshape(rows, columns, down * across * inputs, outputs)


def _norms(
    real: Float[Array, "frequencies m n"], imaginary: Float[Array, "frequencies m n"]
) -> Float[Array, " frequencies"]:
    """(tr (A*A)^p)^(1/2p) of every matrix A; 1 where A*A underflows, below its largest entry.

    A Hermitian P + iQ has the square P² - Q² + i(PQ - (PQ)ᵀ).
    """
    product = functools.partial(jnp.matmul, precision="highest")
    turn = lambda matrix: jnp.swapaxes(matrix, 1, 2)  # noqa: E731
    mixed = product(turn(real), imaginary)
    P = product(turn(real), real) + product(turn(imaginary), imaginary)
    Q = mixed - turn(mixed)

    def normalised(P: Array, Q: Array) -> tuple[Array, Array, Array]:
        trace = jnp.trace(P, axis1=1, axis2=2)
        size = jnp.where(trace > 0, trace, jnp.where(trace <= 0, 1, trace))
        return P / size[:, None, None], Q / size[:, None, None], jnp.log(size)

    def squared(_: Array, state: tuple[Array, Array, Array, Array]):
        P, Q, log_bound, power = state
        mixed = product(P, Q)
        P, Q, log_size = normalised(product(P, P) - product(Q, Q), mixed - turn(mixed))
        return P, Q, log_bound + log_size / (2 * power), 2 * power

    P, Q, log_bound = normalised(P, Q)
    power = jnp.ones((), P.dtype)
    _, _, log_bound, _ = lax.fori_loop(0, _SQUARINGS, squared, (P, Q, log_bound, power))
    return jnp.exp(log_bound / 2)


def _points(taps: int) -> int:
    return max(1, _POINTS * (taps - 1) // 2)


def _frequencies(height: int, width: int) -> Float[np.ndarray, "frequencies 2"]:
    """The points of the grid; those at -θ have the same norms and are left out."""
    rows, columns = _points(height), _points(width)
    theta = np.arange(rows // 2 + 1) * (2 * math.pi / rows)
    phi = np.arange(columns) * (2 * math.pi / columns)
    return np.stack(np.meshgrid(theta, phi, indexing="ij"), axis=-1).reshape(-1, 2)


def _waves(frequencies: Float[np.ndarray, "n 2"], height: int, width: int) -> np.ndarray:
    """exp(i(aθ₁ + bθ₂)), a row a frequency."""
    places = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1)
    return np.exp(1j * frequencies @ places.reshape(-1, 2).T)


@functools.cache
def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Real and imaginary parts of the waves, and the factor of the grid."""
    waves = _waves(_frequencies(height, width), height, width)
    factor = 1.0
    for taps in (height, width):
        factor /= math.cos(math.pi * (taps - 1) / 2 / _points(taps))
    return np.real(waves), np.imag(waves), factor
