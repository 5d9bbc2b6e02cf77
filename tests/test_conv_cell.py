"""The convolutional cell, and its group normalisation against Flax's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import activations
import deqzoo
from deqzoo.nn import DEQ, ConvCell, GroupNorm

KEY = jax.random.key(0)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(3, 8), (3, 5, 8), (3, 5, 4, 8), (2, 3, 5, 4, 8)])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_group_norm_is_that_of_flax(shape, groups):
    ours = GroupNorm(8, groups)
    theirs = nnx.GroupNorm(8, num_groups=groups, rngs=nnx.Rngs(0))
    ours.scale[...] = theirs.scale[...] = jnp.linspace(0.5, 2, 8)
    ours.shift[...] = theirs.bias[...] = jnp.linspace(-1, 1, 8)
    x = 1 + 2 * jax.random.normal(KEY, shape)
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-5, atol=2e-5)
    if groups == 8 and len(shape) == 2:
        return  # one number is its own mean: the derivative is rounding divided by epsilon
    u = jax.random.normal(jax.random.key(1), shape)
    pullbacks = (jax.vjp(module, x)[1](u)[0] for module in (ours, theirs))
    np.testing.assert_allclose(*pullbacks, rtol=1e-4, atol=2e-5)


def test_group_norm_takes_its_statistics_in_float32():
    x = 100 + jax.random.normal(KEY, (2, 16, 16, 4), jnp.bfloat16)
    norm = GroupNorm(4, 2)
    result = norm(x)
    assert result.dtype == jnp.bfloat16
    exact = norm(x.astype(jnp.float32))
    np.testing.assert_allclose(result.astype(jnp.float32), exact, rtol=8e-3, atol=1e-2)


@pytest.mark.parametrize("groups", [0, 3, -2])
def test_groups_that_do_not_divide_the_channels_are_refused(groups):
    with pytest.raises(ValueError, match=f"got {groups} groups for 8 channels; use for example"):
        GroupNorm(8, groups)


@pytest.fixture(scope="module")
def solved():
    cell = ConvCell(8, 16, activation=activations.get("relu"), groups=4, rngs=nnx.Rngs(0))
    b = jax.random.normal(KEY, (3, 6, 5, 8))
    return cell, b, nnx.jit(DEQ(cell, solver="anderson"))(b)


def test_the_equilibrium_is_one_of_the_formula(solved):
    cell, b, solution = solved
    solution.check()
    z, phi = solution.value, cell.activation
    block = cell.block(b + cell.narrow(cell.inner(phi(cell.widen(z)))))
    np.testing.assert_allclose(cell.outer(phi(z + block)), z, atol=1e-4)


def test_examples_do_not_see_each_other(solved):
    cell, b, _ = solved
    z = jax.random.normal(jax.random.key(2), b.shape)
    np.testing.assert_allclose(cell(z, b)[1:], cell(z[1:], b[1:]), atol=1e-5)


def test_kernels_are_small_and_parameters_have_the_dtype_asked_for(solved):
    kernels = [solved[0].widen.kernel[...], solved[0].narrow.kernel[...]]
    assert all(0.005 < float(jnp.std(kernel)) < 0.015 for kernel in kernels)
    half = ConvCell(
        4, 4, activation=activations.get("tanh"), groups=2, rngs=nnx.Rngs(0), dtype=jnp.bfloat16
    )
    leaves = jax.tree.leaves(nnx.state(half, nnx.Param))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.bfloat16)}
    assert half(jnp.ones((1, 3, 3, 4), jnp.bfloat16), half.start(jnp.ones((1, 3, 3, 4)))).shape


def test_the_gradient_is_that_of_finite_differences(x64):
    cell = ConvCell(
        4, 4, activation=activations.get("gelu"), groups=2, rngs=nnx.Rngs(0), dtype=jnp.float64
    )
    b = jax.random.normal(KEY, (1, 3, 3, 4), jnp.float64)
    graph, parameters = nnx.split(cell)

    @jax.jit
    def loss(parameters):
        fn = lambda z, p: nnx.merge(graph, p, copy=True)(z, b)  # noqa: E731
        adjoint = "implicit(solver='picard')"
        solve = functools.partial(deqzoo.fixed_point, solver="picard", adjoint=adjoint)
        return jnp.sum(jnp.sin(solve(fn, jnp.zeros_like(b), parameters).value))

    change = jax.tree.map(lambda p: jax.random.normal(KEY, p.shape, p.dtype), parameters)
    at = lambda t: loss(jax.tree.map(lambda p, c: p + t * c, parameters, change))  # noqa: E731
    step = 1e-5
    slope = (at(step) - at(-step)) / (2 * step)
    found = jax.tree.map(jnp.vdot, jax.grad(loss)(parameters), change)
    np.testing.assert_allclose(sum(jax.tree.leaves(found)), slope, rtol=1e-5)
