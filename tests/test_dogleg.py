"""The way that a rejected Newton step is shortened along, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deqzoo.core import dogleg

JACOBIAN = np.array([[0.3, -2.0, 0.5], [1.0, 0.2, 0.0], [0.4, 0.1, 3.0]])
OFFSET = np.array([[1.0, -2.0, 0.5], [0.1, 0.0, -3.0]])


def affine(z):
    return z @ JACOBIAN.T + OFFSET


def walked(descent, newton, length):
    steps = jnp.asarray(descent), jnp.asarray(newton)
    return np.asarray(dogleg.step(*steps, jnp.full(len(newton), length)))


@pytest.fixture(params=[1.0, 1e-12, 1e12])
def ways(request, x64):
    """At a point of two examples: z, I - J, and the two steps."""
    z = request.param * np.array([[0.2, -0.4, 1.0], [2.0, 0.3, 0.1]])
    fn = lambda z: request.param * affine(z / request.param)  # noqa: E731
    system = np.eye(3) - JACOBIAN
    newton = np.linalg.solve(system, np.asarray(fn(z) - z).T).T
    descent = jax.jit(lambda z: dogleg.steepest(fn, z, jnp.asarray(newton)))(jnp.asarray(z))
    return np.asarray(fn(z) - z), system, np.asarray(descent), newton


def test_the_descent_is_the_cauchy_point(ways):
    residual, system, descent, _ = ways
    slope = residual @ system
    pushed = slope @ system.T
    length = np.sum(slope**2, axis=1) / np.sum(pushed**2, axis=1)
    np.testing.assert_allclose(descent, length[:, None] * slope, rtol=1e-12)


@pytest.mark.parametrize("length", [1.0, 0.9, 0.5, 0.1, 1e-3])
def test_a_step_has_its_length_and_lowers_the_linear_residual(ways, length):
    residual, system, descent, newton = ways
    step = walked(descent, newton, length)
    wanted = length * np.linalg.norm(newton, axis=1)
    np.testing.assert_allclose(np.linalg.norm(step, axis=1), wanted, rtol=1e-10)
    left = np.linalg.norm(residual - step @ system.T, axis=1)
    assert np.all(left < np.linalg.norm(residual, axis=1))


def test_no_shorter_step_along_the_newton_direction_is_better_to_first_order(ways):
    residual, system, descent, newton = ways
    bent, along = walked(descent, newton, 1e-4), 1e-4 * newton
    left = [np.linalg.norm(residual - step @ system.T, axis=1) for step in (bent, along)]
    assert np.all(left[0] <= left[1])


def test_a_map_without_transposed_products_goes_along_the_newton_direction():
    def doubled(z):
        return jax.lax.while_loop(lambda s: s[0] < 1, lambda s: (s[0] + 1, 2 * s[1]), (0, z))[1]

    newton = jnp.ones((1, 2))
    np.testing.assert_array_equal(dogleg.steepest(doubled, jnp.ones((1, 2)), newton), newton)
