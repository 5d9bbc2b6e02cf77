"""Norms of convolutions: above that of every zero-padded image, and barely above the supremum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from deqzoo.core import convolution_norm

# taps, channels in and out, strides
KERNELS = {
    "a matrix": ((1, 1), 4, 7, (1, 1)),
    "square": ((3, 3), 5, 5, (1, 1)),
    "wide": ((3, 3), 6, 2, (1, 1)),
    "tall": ((5, 5), 1, 3, (1, 1)),
    "even": ((2, 4), 2, 3, (1, 1)),
    "a line": ((1, 7), 2, 2, (1, 1)),
    "strided": ((3, 3), 3, 4, (2, 2)),
    "far strides": ((3, 3), 2, 3, (4, 4)),
    "uneven strides": ((5, 3), 2, 2, (2, 3)),
}
EVERY = pytest.mark.parametrize("name", KERNELS)
upper = jax.jit(convolution_norm.norm_upper_bound, static_argnums=1)


def kernels(name):
    """Gaussian ones, positive ones (largest at frequency 0), alternating, of rank one, sparse."""
    taps, inputs, outputs, strides = KERNELS[name]
    rng = np.random.default_rng(len(name))
    gaussian = rng.standard_normal((*taps, inputs, outputs))
    signs = (-1.0) ** np.add.outer(np.arange(taps[0]), np.arange(taps[1]))
    found = [gaussian, 300 * np.abs(gaussian), 1e-3 * np.abs(gaussian) * signs[..., None, None]]
    found.append(gaussian[:1, :, :1] * gaussian[:, :1, :, :1])
    found.append(gaussian * (rng.random(gaussian.shape) < 0.3))
    return [kernel.astype(np.float32) for kernel in found], strides


def dense(kernel, size, strides, padding="SAME"):
    """The matrix of a convolution of images of some size."""
    inputs = kernel.shape[2]
    basis = np.eye(size[0] * size[1] * inputs).reshape(-1, *size, inputs)
    layout = ("NHWC", "HWIO", "NHWC")
    image = lax.conv_general_dilated(
        jnp.asarray(basis), jnp.asarray(kernel, float), strides, padding, dimension_numbers=layout
    )
    return np.asarray(image).reshape(len(basis), -1).T


def frequency_norm(kernel, strides, points=60):
    """The largest norm on a fine grid, of the aliased blocks of a strided convolution."""
    down, across = strides
    height, width, inputs, outputs = kernel.shape
    best = 0.0
    for t in np.arange(points) * 2 * np.pi / points / down:
        for p in np.arange(points) * 2 * np.pi / points / across:
            blocks = [
                np.einsum(
                    "ab,abio->oi",
                    np.exp(1j * (t + 2 * np.pi * i / down) * np.arange(height))[:, None]
                    * np.exp(1j * (p + 2 * np.pi * j / across) * np.arange(width)),
                    kernel.astype(float),
                )
                for i in range(down)
                for j in range(across)
            ]
            together = np.concatenate(blocks, axis=1) / (down * across) ** 0.5
            best = max(best, np.linalg.norm(together, 2))
    return best


@EVERY
def test_the_bounds_lie_above_every_zero_padded_convolution(x64, name):
    found, strides = kernels(name)
    for kernel in found:
        bound, sharp = float(upper(kernel, strides)), convolution_norm.proved_norm(kernel, strides)
        assert sharp <= bound
        for size in ((1, 1), (3, 4), (7, 5), (8, 8)):
            assert np.linalg.norm(dense(kernel, size, strides), 2) <= sharp


@pytest.mark.quick("square", "strided", "a line")
@EVERY
def test_the_bounds_are_barely_above_the_supremum(name):
    found, strides = kernels(name)
    for kernel in found:
        truth = frequency_norm(kernel, strides)
        fine = 1 + 0.03 * (len(kernel) > 1 or kernel.shape[1] > 1)  # of the grid here
        assert truth <= convolution_norm.proved_norm(kernel, strides) <= truth * fine + 1e-6
        assert truth <= float(upper(kernel, strides)) <= 1.1 * truth
        assert convolution_norm.singular_values(kernel, strides)[0] <= truth * fine * (1 + 1e-12)


def test_a_supremum_between_the_points_of_every_grid_is_not_missed(x64):
    # |1 + exp(i(θ - α))| = 2 at θ = α: a pair of channels turns the phase by any α.
    for alpha in np.random.default_rng(0).uniform(0, 2 * np.pi, 20):
        turn = np.array([[np.cos(alpha), np.sin(alpha)], [-np.sin(alpha), np.cos(alpha)]])
        kernel = np.zeros((3, 3, 2, 2))
        kernel[0, 1], kernel[2, 1] = np.eye(2), turn
        sharp = convolution_norm.proved_norm(kernel)
        assert 2 <= sharp <= 2 * (1 + 1e-3)  # all cells of a line remain
        assert 2 <= float(upper(jnp.asarray(kernel), (1, 1))) <= 2.1


def test_large_images_come_near_the_bound(x64):
    kernel = np.abs(np.random.default_rng(1).standard_normal((3, 3, 1, 1)))
    sharp = convolution_norm.proved_norm(kernel)
    assert np.linalg.norm(dense(kernel, (24, 24), (1, 1)), 2) > 0.97 * sharp
    assert sharp == pytest.approx(np.sum(kernel), rel=1e-6)  # at frequency 0


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_the_bound_knows_its_roundings(x64, size, dtype):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        kernel = jnp.asarray(size * rng.standard_normal((3, 3, 8, 8)), dtype)
        # Of one frequency and of rank one, where no slack of the grid or of powers is left.
        flat = size * rng.standard_normal((1, 1, 8, 1)) * rng.standard_normal((1, 1, 1, 8))
        for found in (kernel, jnp.asarray(flat, dtype), kernel[:, :, :1]):
            sharp = convolution_norm.proved_norm(np.asarray(found, float))
            assert sharp * (1 - 1e-9) <= float(upper(found, (1, 1))) <= 1.1 * sharp


def test_what_is_zero_or_not_finite(x64):
    both = (lambda kernel: upper(kernel, (1, 1)), convolution_norm.proved_norm)
    zero = np.zeros((3, 3, 2, 2))
    assert [float(bound(zero)) for bound in both] == [0, 0]
    for wrong in (np.nan, np.inf):
        kernel = zero.copy()
        kernel[1, 0, 1, 0] = wrong
        assert all(np.isnan(float(bound(kernel))) for bound in both)
