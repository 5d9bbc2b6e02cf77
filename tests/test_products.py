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


SHINE = ("broyden(rtol=1e-6)", "shine(refine=20)")
BOTH = pytest.mark.parametrize(("solver", "adjoint"), [("auto(rtol=1e-6)", "implicit"), SHINE])


@BOTH
def test_reverse_mode_through_a_while_loop_is_refused_in_a_sentence(solver, adjoint):
    root = lambda x: deqzoo.fixed_point(LOOP, START, x, solver=solver, adjoint=adjoint).value  # noqa: E731
    slopes = jax.jit(jax.jacfwd(lambda x: jnp.sum(root(x))))(X)
    np.testing.assert_allclose(slopes, LOOP_ROOT[1], rtol=1e-3)
    with pytest.raises(ValueError, match="contains a lax.while_loop.*write it as a lax.scan"):
        jax.grad(lambda x: jnp.sum(root(x)))(X)


@BOTH
def test_what_a_backward_solve_found_and_a_gradient_can_be_had_each_alone(solver, adjoint):
    def loss(x, backward):
        options = {"solver": solver, "adjoint": adjoint, "backward": backward}
        fn = lambda z, x: jnp.tanh(0.5 * z) + x  # noqa: E731
        return jnp.sum(deqzoo.fixed_point(fn, START, x, **options).value)

    empty = deqzoo.Backward.empty(START, keeps_solution=True)
    slope = RULE_ROOT[1]  # 1 / (1 - f'), which also solves u = f' u + 1
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(X, empty), slope, rtol=1e-3)
    found = jax.jit(jax.grad(loss, argnums=1))(X, empty)
    np.testing.assert_allclose(found.solution, slope, rtol=1e-3)
    assert np.all(found.stats.steps > 0)


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
