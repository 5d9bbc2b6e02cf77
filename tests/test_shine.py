"""SHINE: Broyden's inverse as the adjoint, better with every refinement."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo import Backward, Status, catalog
from deqzoo.catalog import CatalogError

SOLVER = "broyden(rtol=1e-9, max_steps=100)"


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def cell(z, args):
    return jnp.tanh(z @ args[0].T + args[1])


def arguments(n=12, norm=0.8):
    weight = numbers(n, n, seed=1)
    return norm * weight / np.linalg.norm(weight, 2), numbers(3, n, seed=2)


def value_of(args, adjoint, solver=SOLVER, fn=cell, backward=None):
    z0 = jnp.zeros_like(args[1])
    return deqzoo.fixed_point(fn, z0, args, solver=solver, adjoint=adjoint, backward=backward).value


def slope_of(args, adjoint, **settings):
    loss = lambda args: jnp.sum(jnp.sin(3 * value_of(args, adjoint, **settings)))  # noqa: E731
    return jax.jit(jax.grad(loss))(args)


def error(actual, expected):
    return np.linalg.norm(actual[0] - expected[0]) / np.linalg.norm(expected[0])


@pytest.mark.slow
def test_the_error_falls_with_every_refinement_and_begins_below_jfb(x64):
    args = arguments()
    exact = slope_of(args, "implicit")
    errors = [error(slope_of(args, f"shine(refine={k})"), exact) for k in (0, 2, 5, 10, 60)]
    assert errors[0] < error(slope_of(args, "phantom(steps=1)"), exact)
    assert all(b < a for a, b in zip(errors, errors[1:], strict=False))
    assert errors[-1] < 1e-7


@pytest.mark.slow
def test_refined_it_beats_the_series_of_as_many_products(x64):
    args = arguments()
    exact = slope_of(args, "implicit")
    for k in (1, 3):
        series = error(slope_of(args, f"neumann(steps={k + 1})"), exact)
        assert error(slope_of(args, f"shine(refine={k})"), exact) < series


def test_one_unknown_is_exact(x64):
    # With one unknown the secant is the derivative.
    fn = lambda z, x: 0.7 * z + x  # noqa: E731
    slope = jax.grad(lambda x: jnp.sum(value_of((None, x), "shine", fn=lambda z, a: fn(z, a[1]))))
    np.testing.assert_allclose(slope(numbers(3, 1)), 1 / 0.3, rtol=1e-9)


@pytest.mark.parametrize("refine", [0, 3])
def test_forward_and_reverse_mode_are_transposes(x64, refine):
    args = arguments()
    direction = numbers(12, 12, seed=4), numbers(3, 12, seed=5)
    loss = lambda args: jnp.sum(jnp.sin(3 * value_of(args, f"shine(refine={refine})")))  # noqa: E731
    _, forward = jax.jvp(loss, (args,), (direction,))
    reverse = sum(np.vdot(g, d) for g, d in zip(jax.grad(loss)(args), direction, strict=True))
    assert float(forward) == pytest.approx(reverse, rel=1e-9)


def test_second_derivatives_tend_to_the_exact_ones(x64):
    args, v = arguments(norm=0.5), numbers(3, 12, seed=6)

    def product(adjoint):
        loss = lambda b: jnp.sum(jnp.sin(value_of((args[0], b), adjoint)))  # noqa: E731
        return jax.jit(lambda v: jax.jvp(jax.grad(loss), (args[1],), (v,))[1])(v)

    exact = product("implicit(solver='gmres(rtol=1e-12)')")
    np.testing.assert_allclose(product("shine(refine=60)"), exact, atol=1e-8)


def test_the_true_residual_reaches_the_caller(x64):
    args = arguments()

    def loss(args, backward, refine):
        return jnp.sum(value_of(args, f"shine(refine={refine})", backward=backward))

    def stats(refine):
        slope = jax.jit(jax.grad(loss, argnums=(0, 1)), static_argnums=2)
        return slope(args, Backward.empty(args[1]), refine)[1].stats

    rough, fine = stats(0), stats(60)
    assert np.all(rough.relative_residual > 1e-3)
    assert np.all(fine.relative_residual < 1e-7)
    assert rough.status.tolist() == [Status.MAX_STEPS] * 3
    assert fine.steps.tolist() == [60] * 3


def test_the_relative_residual_is_a_part_of_the_solution_found(x64):
    (weight, b), c = arguments(), numbers(3, 12, seed=5)
    z = np.asarray(value_of((weight, b), "shine"))
    loss = lambda b, found: jnp.sum(c * value_of((weight, b), "shine", backward=found))  # noqa: E731
    wanted = replace(Backward.empty(b), solution=np.zeros_like(b))
    report = jax.jit(jax.grad(loss, argnums=(0, 1)))(b, wanted)[1]
    u = np.asarray(report.solution)
    pulled = ((1 - np.tanh(z @ weight.T + b) ** 2) * u) @ weight  # Jᵀu
    left = np.linalg.norm(pulled + c - u, axis=1)
    np.testing.assert_allclose(report.stats.residual, left, rtol=1e-6)
    np.testing.assert_allclose(
        report.stats.relative_residual, left / np.linalg.norm(u, axis=1), rtol=1e-6
    )


def test_frozen_examples_keep_their_estimate():
    # The first example is done after a few steps and sees the other run through many windows.
    weight, b = (a.astype(np.float32) for a in arguments(norm=0.99))
    gain = np.array([0.3, 1.0, 1.0], np.float32)[:, None]
    fn = lambda z, a: a[2] * jnp.tanh(z @ a[0].T + a[1])  # noqa: E731
    solver = "broyden(history=6)"
    together = slope_of((weight, b, gain), "shine", fn=fn, solver=solver)[1]
    slack = np.where(np.arange(3)[:, None] == 0, gain, 0)
    alone = slope_of((weight, b, slack), "shine", fn=fn, solver=solver)[1]
    np.testing.assert_array_equal(together[0], alone[0])


def test_another_solver_is_refused_with_advice():
    with pytest.raises(ValueError, match="use the solver broyden, or the adjoint"):
        value_of(arguments(), "shine", solver="anderson")


@pytest.mark.parametrize("refine", [-1, 1.5])
def test_impossible_settings_are_refused(refine):
    with pytest.raises(CatalogError, match="refine must be a whole number >= 0"):
        catalog.adjoints.get(f"shine(refine={refine})")
