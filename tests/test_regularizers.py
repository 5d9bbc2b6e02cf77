"""Penalties are what they say, against dense Jacobians, and can be trained with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo import catalog
from deqzoo.core import jacobian
from deqzoo.testing import check_regularizer, name_of

KEY = jax.random.key(0)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def wide(n=6, batch=3):
    weight = numbers(n, n, seed=1) * 0.6 / n**0.5
    fn = lambda z, args: jnp.tanh(z @ args[0].T + args[1])  # noqa: E731
    return fn, (weight, numbers(batch, n, seed=2))


def dense(fn, args, value):
    """The Jacobian of every example."""
    one = lambda z, b: fn(z[None], (args[0], b[None]))[0]  # noqa: E731
    return np.asarray(jax.vmap(jax.jacobian(one))(value, args[1]))


def test_the_squared_norm_is_unbiased(x64):
    fn, args = wide()
    value = deqzoo.fixed_point(fn, np.zeros_like(args[1]), args).value
    estimate = jacobian.squared_norm(lambda z: fn(z, args), value, KEY, samples=20_000)
    exact = np.sum(dense(fn, args, value) ** 2, axis=(1, 2))
    np.testing.assert_allclose(estimate, exact, rtol=0.02)


@pytest.mark.parametrize(
    ("eigenvalues", "expected"),
    [
        ([0.9, 0.3, -0.2], 0.9),
        ([-0.8, 0.3, 0.2], 0.8),
        ([0.7, -0.7, 0.1], 0.7),
        ([0.6 + 0.6j, 0.6 - 0.6j, 0.2], 0.6 * 2**0.5),
        ([0.9j, -0.9j, 0.1], 0.9),
        ([1.3, 0.5, 0.1], 1.3),
        ([0.0, 0.0, 0.0], 0.0),
    ],
)
def test_the_spectral_radius_is_right_for_complex_pairs_too(x64, eigenvalues, expected):
    blocks, size = np.zeros((3, 3)), 0
    while size < 3:
        t = complex(eigenvalues[size])
        if t.imag:
            blocks[size : size + 2, size : size + 2] = [[t.real, -t.imag], [t.imag, t.real]]
        else:
            blocks[size, size] = t.real
        size += 2 if t.imag else 1
    basis = numbers(3, 3, seed=7) + 2 * np.eye(3)
    weight = basis @ blocks @ np.linalg.inv(basis)
    estimate = jacobian.spectral_radius(lambda z: z @ weight.T, numbers(2, 3), KEY)
    np.testing.assert_allclose(estimate, expected, atol=1e-4)


def test_the_spectral_radius_has_the_derivative_of_the_leading_eigenvalue(x64):
    weight = np.diag([0.9, 0.3, 0.1]) + 0.05 * numbers(3, 3)
    radius = lambda w: jacobian.spectral_radius(lambda z: z @ w.T, numbers(1, 3), KEY, 60)[0]  # noqa: E731
    exact = lambda w: np.max(np.abs(np.linalg.eigvals(w)))  # noqa: E731
    slope, h = np.asarray(jax.grad(radius)(weight)), 1e-6
    for i in range(3):
        change = np.zeros((3, 3))
        change[i, i] = h
        difference = (exact(weight + change) - exact(weight - change)) / (2 * h)
        assert slope[i, i] == pytest.approx(difference, abs=1e-4)


# Members whose defaults would penalise nothing here, or ask for more steps than are wanted.
SETTINGS = {"spectral_radius": "limit=0.1", "correction": "steps=(1, 2)"}
RECIPES = [f"{name}({SETTINGS.get(name, '')})" for name in catalog.regularizers.names()]


@pytest.mark.parametrize("truth", check_regularizer.truths, ids=name_of)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_regularizer_keeps_its_contract(recipe, truth):
    check_regularizer(recipe, only=truth)


@pytest.mark.quick("jacobian_norm")
@pytest.mark.parametrize("recipe", ["jacobian_norm", "spectral_radius(limit=0.1)"])
def test_a_step_down_the_gradient_lowers_the_penalty(x64, recipe):
    fn, args = wide()
    regularizer = catalog.regularizers.get(recipe)

    def penalty(weight):
        now = weight, args[1]
        solution = deqzoo.fixed_point(fn, jnp.zeros_like(args[1]), now, solver="picard")
        return regularizer(lambda z: fn(z, now), solution, KEY)

    value, slope = jax.jit(jax.value_and_grad(penalty))(args[0])
    assert penalty(args[0] - 1e-3 / np.linalg.norm(slope) * slope) < value


def test_a_corrected_solve_needs_its_iterates_and_is_smooth_where_they_have_arrived():
    fn, args = wide()
    correction = catalog.regularizers.get("correction(steps=(2, 150))")
    plain = deqzoo.fixed_point(fn, np.zeros_like(args[1]), args)
    with pytest.raises(ValueError, match=r"give the solver trajectory=\(2, 150\)"):
        correction(lambda z: fn(z, args), plain, KEY)

    def penalty(args):
        solution = deqzoo.fixed_point(
            fn, jnp.zeros_like(args[1]), args, solver="picard(trajectory=(2, 150))"
        )
        return correction(lambda z: fn(z, args), solution, KEY)

    assert all(np.all(np.isfinite(leaf)) for leaf in jax.grad(penalty)(args))


def test_correction_is_the_sum_of_mean_squared_distances():
    """From 0 the map z/2 + 1 goes to 1, 3/2, ... and 2, the map z/2 - 2 to -2, -3, ... and -4."""
    fn, x = (lambda z, x: 0.5 * z + x), np.array([[1.0] * 3, [-2.0] * 3], np.float32)
    solver = "picard(trajectory=(1, 2), rtol=1e-6, max_steps=50)"
    solution = deqzoo.fixed_point(fn, np.zeros((2, 3), np.float32), x, solver=solver)
    rule = catalog.regularizers.get("correction(steps=(1, 2))")
    found = rule.penalty(lambda z: fn(z, x), solution, KEY)
    np.testing.assert_allclose(found, [1 + 1 / 4, 4 + 1], rtol=1e-4)


def test_jacobian_norm_is_the_mean_square_of_the_entries(x64):
    fn, args = wide()
    solution = deqzoo.fixed_point(fn, np.zeros_like(args[1]), args)
    many = catalog.regularizers.get("jacobian_norm(weight=0.5, samples=5000)")
    exact = np.mean(np.sum(dense(fn, args, solution.value) ** 2, axis=(1, 2))) / 6
    assert many(lambda z: fn(z, args), solution, KEY) == pytest.approx(0.5 * exact, rel=0.03)
