"""Monotone equilibrium models: proximal operators, and splittings that need no small weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import activations
import deqzoo
from deqzoo import catalog
from deqzoo.catalog import CatalogError
from deqzoo.core import loop
from deqzoo.core.map.split import Split

pytestmark = pytest.mark.slow  # compiles for minutes

SOLVERS = ("forward_backward", "peaceman_rachford")
PROX = [name for name in activations.names() if activations.get(name).is_prox]
N, B, M = 16, 3, 0.5


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def monotone(size=2.0):
    """W = (1 - m)I - A'A + B - B' of Winston and Kolter with a norm far above 1, and b."""
    a, b = np.sqrt(size) * numbers(N, N, seed=1) / 4, size * numbers(N, N, seed=2) / 4
    return (1 - M) * np.eye(N) - a.T @ a + b - b.T, numbers(B, N)


def affine(z, args):
    return z @ args[0].T + args[1]


def solve(recipe, activation="relu", args=None, **settings):
    args = monotone() if args is None else args
    fn = Split(activation, affine)
    run = lambda args: deqzoo.fixed_point(  # noqa: E731
        fn, jnp.zeros_like(args[1]), args, solver=recipe, **settings
    )
    return jax.jit(run)(args)


@functools.cache
def damped(activation):
    """The equilibrium by ten thousand tiny damped steps on the monotone inclusion, by hand."""
    (weight, b), act = monotone(), activations.get(activation)

    def step(z, _):
        return (1 - 0.02) * z + 0.02 * act(z @ weight.T + b), None

    return jax.jit(lambda: jax.lax.scan(step, jnp.zeros_like(b), length=10_000)[0])()


@pytest.fixture(params=SOLVERS)
def solver(request):
    return request.param


# Proximal operators.


def test_the_default_has_exact_derivatives(x64):
    act = activations.get("tanh")
    prox = lambda u, step: act.prox(jnp.asarray([u]), jnp.asarray([step]))[0]  # noqa: E731
    for order in range(2):
        f = prox if order == 0 else jax.grad(prox)
        for argument in (0, 1):
            point, h = [0.7, 0.4], 1e-5
            ends = [[*point], [*point]]
            ends[0][argument] += h
            ends[1][argument] -= h
            difference = (f(*ends[0]) - f(*ends[1])) / (2 * h)
            np.testing.assert_allclose(jax.grad(f, argument)(*point), difference, rtol=1e-6)


def test_non_finite_entries_stay_alone():
    u = jnp.array([0.5, jnp.nan, jnp.inf, -jnp.inf])
    y = activations.get("tanh").prox(u, 0.3)
    assert float(y[0]) == pytest.approx(float(activations.get("tanh").prox(u[:1], 0.3)[0]))
    assert np.isnan(y[1])


@pytest.mark.parametrize("name", [name for name in activations.names() if name not in PROX])
def test_other_activations_are_refused_with_advice(name):
    with pytest.raises(ValueError, match="is no proximal operator.*leave.*is_prox"):
        activations.get(name).prox(jnp.zeros(1), 0.5)


# The splittings.


@pytest.mark.parametrize("activation", ["tanh", "soft_threshold"])
def test_they_find_the_point_of_a_tiny_step_iteration(x64, solver, activation):
    assert np.linalg.norm(monotone()[0], 2) > 5
    solution = solve(f"{solver}(rtol=1e-9, max_steps=2000)", activation).check()
    np.testing.assert_allclose(solution.value, damped(activation), atol=1e-7)


def test_picard_iteration_fails_where_they_succeed(x64):
    assert solve("picard").stats.fraction_converged == 0


@pytest.mark.parametrize(
    "recipe", ["forward_backward(step_size=0.02", "peaceman_rachford(step_size=0.7"]
)
def test_the_point_does_not_depend_on_the_step_size(x64, recipe):
    recipe += ", rtol=1e-9, max_steps=5000)"
    np.testing.assert_allclose(solve(recipe, "tanh").check().value, damped("tanh"), atol=1e-7)


def test_forward_backward_with_step_one_is_picard_iteration():
    weight, b = (x.astype(np.float32) for x in monotone())
    args = 0.5 * weight / np.linalg.norm(weight, 2), b
    picard = solve("picard(predict=False)", args=args)
    ours = solve("forward_backward(step_size=1.0)", args=args)
    np.testing.assert_array_equal(ours.stats.steps, picard.stats.steps)
    np.testing.assert_allclose(ours.value, picard.value, atol=1e-6)


def test_forward_backward_takes_one_product_per_step():
    weight, b = (x.astype(np.float32) for x in monotone())
    rule, fn = catalog.solvers.get("forward_backward"), Split("relu", affine)

    def run(args):
        return loop.solve(rule, fn.program(args[1], args), args[1]).value

    lines = jax.jit(run).lower((weight, b)).compile().as_text().splitlines()
    assert sum(" dot(" in line and "/while/body/" in line for line in lines) == 1


@pytest.mark.parametrize("max_steps", [2, 9])
def test_the_budget_is_kept(solver, max_steps):
    args = [x.astype(np.float32) for x in monotone()]
    stats = solve(f"{solver}(max_steps={max_steps})", args=tuple(args)).stats
    assert stats.steps.tolist() == [max_steps] * B or solver == "peaceman_rachford"
    assert np.all(stats.steps <= max_steps)


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**20])
def test_the_size_of_the_problem_changes_nothing(solver, scale):
    """The rectifier is homogeneous, and powers of two round nothing."""
    weight, b = (x.astype(np.float32) for x in monotone())
    plain, scaled = (solve(solver, args=(weight, size * b)).check() for size in (1, scale))
    np.testing.assert_array_equal(scaled.stats.steps, plain.stats.steps)
    np.testing.assert_array_equal(scaled.value, scale * plain.value)


# A split map is a map.


def test_both_have_the_same_gradient(x64):
    def loss(args, recipe):
        fn, z0 = Split("tanh", affine), jnp.zeros_like(args[1])
        return jnp.sum(deqzoo.fixed_point(fn, z0, args, solver=recipe).value ** 2)

    slope = jax.jit(jax.grad(loss), static_argnums=1)
    ours, other = (slope(monotone(), f"{name}(rtol=1e-11, max_steps=3000)") for name in SOLVERS)
    for a, b in zip(ours, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8 * np.max(np.abs(b)))


def test_any_solver_takes_a_split_map(x64):
    args = 0.1 * monotone()[0], monotone()[1]
    split = solve("anderson", args=args)
    plain = deqzoo.fixed_point(
        lambda z, args: jax.nn.relu(affine(z, args)), jnp.zeros((B, N)), args, solver="anderson"
    )
    np.testing.assert_allclose(split.value, plain.value, rtol=1e-8, atol=1e-10)


def test_a_plain_function_is_refused_with_advice(solver):
    fn = lambda z, _: jax.nn.relu(-2 * z)  # noqa: E731
    with pytest.raises(ValueError, match="needs to know the affine part of the map.*Split"):
        deqzoo.fixed_point(fn, jnp.zeros((1, 2)), solver=solver)


def test_an_activation_that_is_no_prox_is_refused_with_advice(solver):
    with pytest.raises(ValueError, match="GELU.*no proximal operator"):
        deqzoo.fixed_point(Split("gelu", affine), jnp.zeros((B, N)), monotone(), solver=solver)


def test_impossible_settings_are_refused(solver):
    for step_size in (0.0, -1.0):
        with pytest.raises(CatalogError, match="step_size must be a finite number > 0"):
            catalog.solvers.get(f"{solver}(step_size={step_size})")
