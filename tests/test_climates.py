"""Every solver and adjoint at every scale, for states of any size, under JAX's strict settings."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo import Status, catalog, fixed_point

SOLVERS = [n for n in catalog.solvers.names() if not catalog.solvers.load(n).is_sublinear]
ADJOINTS = {
    "broyden": ("shine", "shine(refine=2)"),
    "reversible": ("reversible",),
    "picard": ("neumann", "phantom", "reversible", "unrolled"),
    "anderson(max_steps=30)": ("unrolled(checkpoint=True)",),
}
SETTINGS = [(solver, "implicit") for solver in SOLVERS]
SETTINGS += [(solver, adjoint) for solver, known in ADJOINTS.items() for adjoint in known]
SETTINGS += [("auto", f"implicit(solver='{name}')") for name in catalog.linear_solvers.names()]
SETTINGS += [("auto(precision='bfloat16', trace=True, trajectory=2)", "implicit")]
BOTH = pytest.mark.parametrize(("solver", "adjoint"), SETTINGS)
RNG = np.random.default_rng(0)
W = jnp.asarray(0.8 * np.linalg.qr(RNG.standard_normal((6, 6)))[0], jnp.float32)
X = jnp.asarray(RNG.standard_normal((4, 6)), jnp.float32)


def affine(z, args):
    return z @ args[0] + args[1]


def function(solver):
    needs_split = catalog.solvers.get(solver).needs_split
    return (
        deqzoo.Split("relu", affine) if needs_split else lambda z, args: jnp.tanh(affine(z, args))
    )


def solved(solver, adjoint, x=X, w=W):
    """Value, gradient and all statistics of a call that is not compiled as a whole."""
    fn, z0 = function(solver), jnp.zeros_like(x)

    def loss(w, backward):
        solution = fixed_point(fn, z0, (w, x), solver=solver, adjoint=adjoint, backward=backward)
        return jnp.sum(solution.value**2), solution

    gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    return gradient(w, deqzoo.Backward.empty(z0))


# Settings of JAX.


@pytest.mark.quick("float32-auto-implicit", "bfloat16-anderson-implicit", "float32-picard-unrolled")
@BOTH
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_nothing_is_promoted_in_silence(solver, adjoint, dtype):
    if dtype == "bfloat16" and "precision" in solver:
        pytest.skip("there is no lower precision")
    with jax.numpy_dtype_promotion("strict"):
        jax.eval_shape(lambda x, w: solved(solver, adjoint, x, w), X.astype(dtype), W.astype(dtype))


@pytest.mark.quick("auto-implicit", "picard-unrolled", "picard-phantom")
@BOTH
def test_a_solve_without_nan_makes_none(solver, adjoint):
    with jax.debug_nans(True):
        (_, solution), (gradient, backward) = solved(solver, adjoint)
    solution.check()
    for leaf in jax.tree.leaves((solution, gradient, backward)):
        assert not np.any(np.isnan(leaf))


def test_the_trace_ends_in_nan_that_nothing_computed():
    with jax.debug_nans(True):
        solution = fixed_point(lambda z, x: 0.5 * z + x, X, X, solver="picard(trace=True)")
        assert np.isnan(solution.trace[-1]).all()
        assert np.isfinite(solution.trace[0]).all()


# States without features, batches without examples.


@pytest.mark.quick("shape0-picard-implicit", "shape1-auto-implicit", "shape1-picard-unrolled")
@BOTH
@pytest.mark.parametrize("shape", [(3, 0), (0, 6)])
def test_nothing_is_solved_without_complaint(solver, adjoint, shape):
    w = W[: shape[1], : shape[1]]
    (_, solution), (gradient, backward) = solved(solver, adjoint, jnp.ones(shape), w)
    assert solution.check().value.shape == shape
    assert float(solution.stats.fraction_converged) == 1.0
    for leaf in jax.tree.leaves((solution, gradient, backward)):
        assert not np.any(np.isnan(leaf))


# Scales.


@functools.cache
def linear(solver, exponent):
    x = jnp.ldexp(jnp.ones(()), exponent) * jnp.tile(X, (50, 1))  # 1,200 numbers: not few
    needs_split = catalog.solvers.get(solver).needs_split
    fn = deqzoo.Split("relu", affine) if needs_split else affine
    return jax.jit(lambda x: fixed_point(fn, 0 * x, (W, x), solver=solver))(x)


@pytest.mark.quick("-90-picard", "90-picard", "-60-anderson", "60-anderson")
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("exponent", [-90, -60, 60, 90])
def test_a_problem_in_other_units_takes_the_same_steps_to_the_same_bits(solver, exponent):
    plain, other = linear(solver, 0), linear(solver, exponent)
    assert other.stats.status.tolist() == plain.stats.status.tolist() == [Status.CONVERGED] * 200
    np.testing.assert_array_equal(other.stats.steps, plain.stats.steps)
    np.testing.assert_array_equal(np.ldexp(other.value, -exponent), plain.value)
    np.testing.assert_array_equal(other.stats.relative_residual, plain.stats.relative_residual)


@pytest.mark.quick("1e-30-auto", "1e+18-auto")
@pytest.mark.parametrize("solver", ["auto", "picard", "anderson", "broyden", "newton_krylov"])
@pytest.mark.parametrize("start", [1e-30, 1e-18, 1e18, 1e30])
def test_a_start_of_another_size_than_the_solution_is_no_obstacle(solver, start):
    fn = lambda z, x: jnp.tanh(0.5 * z + x)  # noqa: E731
    z0 = jnp.full_like(X, start)
    solution = jax.jit(lambda x: fixed_point(fn, z0, x, solver=solver))(X)
    expected = fixed_point(fn, 0 * X, X).value
    np.testing.assert_allclose(solution.check().value, expected, rtol=1e-3, atol=1e-4)


def test_a_solution_of_zero_is_approached_through_all_numbers():
    solution = fixed_point(lambda z, _: 0.01 * z, X, solver="picard(max_steps=100)")
    assert set(solution.stats.status.tolist()) == {Status.CONVERGED}
    assert np.all(solution.stats.steps > 15)
    assert np.all(np.abs(solution.value) < 1e-36)


# What becomes of an example that was not found.


def failing(policy, rate=3.0):
    """Two examples, of which the second one's map runs away."""
    fn = lambda z, a: a * z + 1.0  # noqa: E731
    rates = jnp.array([[0.5], [rate]])
    solver = f"picard(max_steps=8, on_failure='{policy}')"
    z = lambda rates: fixed_point(fn, jnp.zeros((2, 1)), rates, solver=solver).value  # noqa: E731
    value, pull = jax.vjp(z, rates)
    return value[:, 0], pull(jnp.ones((2, 1)))[0][:, 0]


def test_a_failed_example_is_kept_unless_another_answer_is_wanted():
    kept, _ = failing("keep")
    assert np.all(np.isfinite(kept))


def test_a_failed_example_is_nan_with_a_derivative_of_nan():
    (kept, gradient), (value, changed) = failing("keep"), failing("nan")
    assert value[0] == kept[0]
    assert changed[0] == gradient[0]
    assert np.isnan(value[1])
    assert np.isnan(changed[1])


def test_a_failed_example_has_the_derivative_of_one_step():
    (kept, gradient), (value, changed) = failing("keep"), failing("phantom")
    np.testing.assert_array_equal(value, kept)
    assert changed[0] == gradient[0]
    assert changed[1] == value[1]  # d(a z + 1)/da


def test_a_failed_example_warns():
    with pytest.warns(UserWarning, match="1 of 2 fixed points were not found"):
        jax.block_until_ready(failing("warn"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jax.block_until_ready(failing("warn", rate=0.1))


def test_an_example_that_is_near_enough_has_not_failed():
    fn = lambda z, a: 0.5 * z + a  # noqa: E731
    solver = "picard(rtol=1e-6, max_steps=8, on_failure='nan')"
    solution = fixed_point(fn, jnp.zeros((1, 1)), 1.0, solver=solver)
    assert solution.stats.status.tolist() == [Status.MAX_STEPS]
    assert np.isfinite(solution.value[0, 0])


# Advice.


def told(rate, solver):
    solution = fixed_point(lambda z, a: rate * z + a, jnp.zeros((2, 3)), 1.0, solver=solver)
    with pytest.raises(deqzoo.FixedPointError) as error:
        solution.check()
    return str(error.value)


def test_only_a_residual_that_falls_is_given_more_steps():
    assert "raise max_steps" in told(0.99, "picard(max_steps=20)")
    assert "raise max_steps" not in told(1.5, "picard(max_steps=20)")
    assert "the residual was rising" in told(1.5, "picard(max_steps=20)")
    assert "raise max_steps" not in told(-1.2, "picard(max_steps=9, damping=1.0)")
