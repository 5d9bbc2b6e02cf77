"""Kernels are arranged before a loop, and nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import jaxpr_as_fun

from deqzoo.core.map import kernels

KEY = jax.random.key(0)
KERNEL = jax.random.normal(KEY, (3, 2, 2))
X = jax.random.normal(jax.random.key(1), (1, 5, 2))
Z = jax.random.normal(jax.random.key(2), (1, 5, 2))


def convolve(z, kernel):
    return lax.conv_general_dilated(
        z, kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
    )


# The map, and what is left inside.
MAPS = {
    "reversed": (lambda z: convolve(z, jnp.flip(KERNEL, 0)), ["conv_general_dilated"]),
    "computed": (lambda z: convolve(z, KERNEL / jnp.sum(KERNEL)), ["conv_general_dilated"]),
    "used twice": (
        lambda z: z * jnp.sum(2 * KERNEL) + convolve(z, 2 * KERNEL),
        ["mul", "reduce_sum", "mul", "conv_general_dilated", "add"],
    ),
    "injection": (lambda z: jnp.tanh(z + convolve(X, KERNEL)), ["add", "tanh"]),
    "as it is": (lambda z: convolve(z, KERNEL), ["conv_general_dilated"]),
    "kernel from the state": (
        lambda z: convolve(X, KERNEL * z[0, 0, 0]),
        None,
    ),
    "no convolution": (lambda z: z @ KERNEL[0].T, None),
}


def run(closed, *args):
    return jaxpr_as_fun(closed)(*args)[0]


@pytest.mark.parametrize("name", MAPS)
def test_the_function_is_the_same_and_the_arrangement_of_kernels_is_gone(name):
    fn, left = MAPS[name]
    closed = jax.make_jaxpr(fn)(Z)
    arranged = kernels.arrange(closed)
    names = [eqn.primitive.name for eqn in closed.jaxpr.eqns]
    left = names if left is None else left
    assert [eqn.primitive.name for eqn in arranged.jaxpr.eqns] == left
    assert (arranged is closed) == (left == names)
    np.testing.assert_allclose(run(arranged, Z), fn(Z), rtol=1e-5, atol=1e-6)


def test_derivatives_pass_through_the_new_constants():
    def loss(kernel, arranges):
        closed = jax.make_jaxpr(lambda z: jnp.tanh(convolve(z, jnp.sin(kernel[::-1]))))(Z)
        return jnp.sum(run(kernels.arrange(closed) if arranges else closed, Z))

    for derivative in (jax.grad, jax.hessian):
        found, expected = (derivative(loss)(KERNEL, arranges) for arranges in (True, False))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_effects_stay_where_they_are(capfd):
    def fn(z):
        jax.debug.print("seen {}", jnp.ones(()))
        return convolve(z, KERNEL[::-1])

    arranged = kernels.arrange(jax.make_jaxpr(fn)(Z))
    assert capfd.readouterr().out == ""
    run(arranged, Z)
    jax.effects_barrier()
    assert capfd.readouterr().out == "seen 1.0\n"


def test_constants_that_nobody_uses_any_more_are_dropped():
    fn = lambda z: z + convolve(X, KERNEL)  # noqa: E731
    arranged = kernels.arrange(jax.make_jaxpr(fn)(Z))
    assert [const.shape for const in arranged.consts] == [X.shape]
