"""Heavy ball: the rate of theory where eigenvalues are real, and no harm where they are not."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo import catalog
from deqzoo.catalog import CatalogError


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def affine(z, args):
    return z @ args[0].T + args[1]


def steps(args, recipe):
    run = lambda args: deqzoo.fixed_point(affine, jnp.zeros_like(args[1]), args, solver=recipe)  # noqa: E731
    return np.asarray(jax.jit(run)(args).check().stats.steps)


def symmetric(low, high, n=64):
    q = np.linalg.qr(numbers(n, n))[0]
    return (q * np.linspace(low, high, n)) @ q.T, numbers(3, n)


@pytest.mark.parametrize("low", [0.0, -0.95])
def test_a_symmetric_slow_map_takes_fewer_steps_than_picard(low):
    args = symmetric(low, 0.95)
    picard, plain = steps(args, "picard"), steps(args, "heavy_ball")
    tuned = steps(args, "heavy_ball(contraction=0.95)")
    assert np.all(plain < 0.5 * picard)
    assert np.all(tuned < plain)
    # The factor 1 - sqrt(1 - c), and a polynomial in front of it at the double root.
    assert np.all(tuned < 2 * math.log(1e-5) / math.log(1 - math.sqrt(0.05)) + 1)


def test_without_momentum_it_is_damped_picard():
    args = symmetric(-0.8, 0.8)
    ours = steps(args, "heavy_ball(step_size=0.5, momentum=0.0)")
    np.testing.assert_array_equal(ours, steps(args, "picard(damping=0.5, predict=False)"))


def test_a_rotation_that_momentum_would_drive_away_converges():
    # Radius 0.9, angle 1: with momentum 0.6 the iteration matrix has spectral radius 1.3.
    c, s = 0.9 * math.cos(1), 0.9 * math.sin(1)
    args = np.array([[c, -s], [s, c]], np.float32), numbers(3, 2)
    assert np.all(steps(args, "heavy_ball(momentum=0.6)") < 1.4 * steps(args, "picard"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("step_size=0", "step_size must be a finite number > 0, got 0"),
        ("momentum=1.0", r"momentum must be a number in \[0, 1\), got 1.0"),
        ("momentum=-0.1", r"momentum must be a number in \[0, 1\), got -0.1"),
        ("contraction=1.0", r"contraction must be a number in \[0, 1\) or None, got 1.0"),
    ],
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(CatalogError, match=message):
        catalog.solvers.get(f"heavy_ball({setting})")
