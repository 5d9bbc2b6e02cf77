"""Sizes of residual and value, wherever their squares lie."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deqzoo.core import size

measure = functools.partial(size.measure, lambda z: z, norm="euclidean")


@pytest.mark.parametrize(("dtype", "lowest", "highest"), [("f4", -124, 124), ("f8", -1020, 1020)])
def test_sizes_are_right_at_every_power_of_two(x64, dtype, lowest, highest):
    exponents = np.arange(lowest, highest)
    value = jnp.asarray(np.ldexp(np.ones((len(exponents), 4)), exponents[:, None]), dtype)
    norm, scale = jax.jit(measure)(value / 2, value)
    np.testing.assert_array_equal(norm, np.ldexp(1.0, exponents).astype(dtype))
    np.testing.assert_array_equal(scale, np.ldexp(2.0, exponents).astype(dtype))


@pytest.mark.parametrize("number", [0.0, 1e-30, 1e30])
def test_what_the_compiler_knows_is_measured_like_what_it_does_not(number):
    constant = jax.jit(lambda: measure(jnp.zeros((3, 4)), jnp.full((3, 4), number)))()
    given = jax.jit(measure)(jnp.zeros((3, 4)), jnp.full((3, 4), number))
    np.testing.assert_allclose(constant, given, rtol=1e-6)
    np.testing.assert_allclose(given[1], 2 * number, rtol=1e-6)


def test_an_example_beyond_reach_changes_no_other_one():
    rng = np.random.default_rng(0)
    z, fz = (jnp.asarray(rng.standard_normal((5, 300)), jnp.float32) for _ in range(2))
    alone = jax.jit(measure)(z, fz)
    for mate in (1e-30, 1e30, np.nan, np.inf):
        beside = jax.jit(measure)(z.at[2].set(0), fz.at[2].set(mate))
        for a, b in zip(alone, beside, strict=True):
            np.testing.assert_array_equal(np.delete(a, 2), np.delete(b, 2))


def test_no_numbers_have_size_zero_and_nan_stays_nan():
    rows = jnp.array([[0.0, 0.0], [jnp.nan, 1.0], [jnp.inf, 1.0]])
    norm, scale = measure(jnp.zeros_like(rows), rows)
    assert scale[0] == norm[0] == 0
    assert np.isnan(scale[1])
    assert np.isinf(scale[2])
