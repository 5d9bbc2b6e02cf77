"""Of many equilibria sequential averaging finds the one of least norm, slowly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo.testing.problems import numbers, orthogonal

FREE, N, BATCH = 3, 7, 2


def problem():
    """A symmetric map with a free subspace, and its fixed point of least norm."""
    basis = orthogonal(N)
    speeds = np.array([1.0] * FREE + [0.9, 0.5, 0.0, -0.6])
    weight = basis @ np.diag(speeds) @ basis.T
    load = numbers(BATCH, N, seed=3) @ basis
    load[:, :FREE] = 0  # or there would be no fixed point
    least = load / np.where(speeds < 1, 1 - speeds, 1) @ basis.T
    return weight, load @ basis.T, least, basis


def fn(z, args):
    return z @ args[0].T + args[1]


def solved(solver, seed=4):
    weight, b, least, basis = problem()
    z0 = jnp.asarray(numbers(BATCH, N, seed=seed))
    solution = jax.jit(lambda z0: deqzoo.fixed_point(fn, z0, (weight, b), solver=solver))(z0)
    return np.asarray(solution.check().value), least, basis, np.asarray(z0)


def test_plain_steps_keep_what_is_free_of_the_start(x64):
    value, least, basis, z0 = solved("picard(rtol=1e-12, max_steps=2000)")
    np.testing.assert_allclose(value @ basis[:, :FREE], z0 @ basis[:, :FREE], atol=1e-10)
    assert np.min(np.linalg.norm(value - least, axis=1)) > 0.5


def test_sequential_averaging_goes_to_the_least_norm(x64):
    value, least, _, _ = solved("sequential_averaging(rtol=2e-5, max_steps=200000)")
    other, *_ = solved("sequential_averaging(rtol=2e-5, max_steps=200000)", seed=5)
    size = np.linalg.norm(least, axis=1)
    assert np.all(np.linalg.norm(value - least, axis=1) < 1e-3 * size)
    np.testing.assert_allclose(value, other, atol=1e-4)


@pytest.mark.parametrize("settings", ["", "shrinkage=0.5", "pace=2.0"])
def test_the_error_falls_like_one_over_the_steps(x64, settings):
    weight, b, least, _ = problem()
    at = (1000, 2000, 4000)
    solver = f"sequential_averaging(rtol=0.0, max_steps=4000, trajectory={at}, {settings})"
    z0 = jnp.asarray(numbers(BATCH, N, seed=4))
    found = deqzoo.fixed_point(fn, z0, (weight, b), solver=solver.replace(", )", ")"))
    errors = [np.linalg.norm(z - least) for z in found.trajectory]
    for early, late in zip(errors, errors[1:], strict=False):
        assert 1.8 < early / late < 2.2


def test_a_start_that_is_a_fixed_point_is_kept(x64):
    weight, b, least, basis = problem()
    z0 = jnp.asarray(least + basis[:, 0])
    found = deqzoo.fixed_point(fn, z0, (weight, b), solver="sequential_averaging")
    np.testing.assert_array_equal(found.value, z0)
