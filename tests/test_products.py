"""Maps that JAX differentiates one way only: by a custom_vjp, or forwards through a while_loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo.core import products

X, START = 0.3 * jnp.ones((2, 3)), jnp.zeros((2, 3))


@jax.custom_vjp
def backwards_only(x):
    return jnp.tanh(x)


backwards_only.defvjp(
    lambda x: (jnp.tanh(x), jnp.tanh(x)), lambda tanh, u: ((1 - tanh * tanh) * u,)
)


def forwards_only(z):
    """Three times tanh, by a loop of unknown length."""
    return jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.tanh(c[1])), (0, z))[1]


def scalar_root(slope, x):
    """The root of z = slope(z) + x and dz/dx by bisection and central differences."""

    def root(x):
        low, high = -5.0, 5.0
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if slope(middle) + x > middle else (low, middle)
        return low

    return root(x), (root(x + 1e-4) - root(x - 1e-4)) / 2e-4


LOOP = lambda z, x: 0.5 * forwards_only(z) + x  # noqa: E731
RULE = lambda z, x: backwards_only(0.5 * z) + x  # noqa: E731
LOOP_ROOT = scalar_root(lambda z: 0.5 * np.tanh(np.tanh(np.tanh(z))), 0.3)
RULE_ROOT = scalar_root(lambda z: np.tanh(0.5 * z), 0.3)


@pytest.mark.parametrize("adjoint", ["implicit", "neumann(steps=30)"])
def test_a_while_loop_has_forward_derivatives(adjoint):
    root = lambda x: deqzoo.fixed_point(LOOP, START, x, adjoint=adjoint).value  # noqa: E731
    value, tangent = jax.jit(lambda x: jax.jvp(root, (x,), (jnp.ones_like(x),)))(X)
    np.testing.assert_allclose(value, LOOP_ROOT[0], rtol=1e-4)
    np.testing.assert_allclose(tangent, LOOP_ROOT[1], rtol=1e-3)


@pytest.mark.parametrize("solver", ["newton_krylov", "direct"])
@pytest.mark.parametrize(("fn", "root"), [(LOOP, LOOP_ROOT), (RULE, RULE_ROOT)])
def test_newton_solves_maps_that_are_differentiated_one_way_only(solver, fn, root):
    solution = jax.jit(lambda x: deqzoo.fixed_point(fn, START, x, solver=solver))(X)
    np.testing.assert_allclose(solution.check().value, root[0], rtol=1e-4)


@pytest.mark.parametrize("adjoint", ["implicit", "implicit(solver='lu')"])
def test_a_rule_for_the_transpose_alone_has_gradients(adjoint):
    root = lambda x: deqzoo.fixed_point(RULE, START, x, adjoint=adjoint).value  # noqa: E731
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(root(x))))(X)
    np.testing.assert_allclose(gradient, RULE_ROOT[1], rtol=1e-3)


def test_a_rule_that_cannot_be_transposed_is_refused_in_a_sentence():
    @jax.custom_vjp
    def halve(z):
        return z / 2

    def pull(_, u):
        return (forwards_only(u),)

    halve.defvjp(lambda z: (z / 2, None), pull)
    with pytest.raises(ValueError, match="write it as a custom_jvp, or use a solver"):
        products.forward(halve, START)
