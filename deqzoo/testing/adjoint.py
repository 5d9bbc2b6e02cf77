"""Every adjoint: the solver's value with a derivative, examples apart, under every transformation.

Whether the derivative is the exact one is the question of ``check_exact_adjoint``.
"""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from deqzoo import catalog
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.fixed_point import fixed_point
from deqzoo.testing import gradients
from deqzoo.testing.check import Check, are_values, require
from deqzoo.testing.gradients import B, M, arguments, cell, loss_of, solver_for, value_of
from deqzoo.testing.problems import numbers

__all__ = ["check_adjoint"]


def _settings_are_values(adjoint: Adjoint) -> None:
    are_values(adjoint)


def _the_value_is_the_solvers_bit_for_bit(adjoint: Adjoint) -> None:
    args, solver = arguments("float32"), solver_for(adjoint, "max_steps=40")
    ours, plain = (
        jax.jit(lambda args, a=a: value_of(args, solver, a))(args)
        for a in (adjoint, catalog.adjoints.get("implicit"))
    )
    chex.assert_trees_all_equal(ours, plain)


def _the_gradient_points_uphill(adjoint: Adjoint) -> None:
    args = arguments("float32")
    found = gradients.gradient(args, solver_for(adjoint), adjoint)
    chex.assert_tree_all_finite(found)
    for ours, exact in zip(found, gradients.exact_gradient(args), strict=True):
        cosine = np.vdot(ours, exact) / (np.linalg.norm(ours) * np.linalg.norm(exact))
        require(cosine > 0.9, f"its cosine with the exact gradient is {cosine:.3f}")


def _captured_arrays_have_the_derivative_of_arguments(adjoint: Adjoint) -> None:
    with jax.enable_x64(True):
        args, solver = arguments(), solver_for(adjoint, "rtol=1e-12, max_steps=150")

        def captured(args):
            fn, z0 = lambda z, _: cell(z, args), jnp.zeros_like(args[1])
            return jnp.sum(fixed_point(fn, z0, solver=solver, adjoint=adjoint).value)

        given = lambda args: jnp.sum(value_of(args, solver, adjoint))  # noqa: E731
        ours, plain = (jax.jit(jax.grad(f))(args) for f in (captured, given))
        chex.assert_trees_all_close(ours, plain, rtol=1e-9, atol=1e-10)


def _a_zero_cotangent_gives_zero(adjoint: Adjoint) -> None:
    args, solver = arguments("float32"), solver_for(adjoint, "max_steps=20")
    slope = jax.jit(jax.grad(lambda args: 0 * jnp.sum(value_of(args, solver, adjoint))))
    chex.assert_trees_all_equal(slope(args), jax.tree.map(np.zeros_like, args))


def _batch_mates_change_no_gradient(adjoint: Adjoint) -> None:
    gradients.keeps_examples_apart(solver_for(adjoint), adjoint)


def _a_nan_input_must_be_masked_where_it_enters(adjoint: Adjoint) -> None:
    # grad_W = sum_i Gam_i z_i^T: a NaN input makes Gam_i = 0 * NaN, whatever masks the loss.
    (weight, x), solver = arguments("float32"), solver_for(adjoint)
    x[2] = np.nan
    sound = np.all(np.isfinite(x), axis=1, keepdims=True)

    @jax.jit
    def slope(x):
        masked = lambda z: jnp.sum(jnp.where(sound[: len(x)], z, 0) ** 2)  # noqa: E731
        return jax.grad(lambda weight: masked(value_of((weight, x), solver, adjoint)))(weight)

    require(np.all(np.isnan(slope(x))), "a NaN input must not go unnoticed in the gradient of W")
    atol = 1e-6 * float(np.max(np.abs(slope(x[:2]))))
    masked = slope(np.where(sound, x, 0).astype(np.float32))
    chex.assert_trees_all_close(masked, slope(x[:2]), rtol=0, atol=atol)


def _gradients_pass_through_vmap_and_jit(adjoint: Adjoint) -> None:
    with jax.enable_x64(True):
        weight, b = arguments()
        solver = solver_for(adjoint, "rtol=1e-12, max_steps=150")
        weights = weight * np.array([0.2, 0.6, 1.0])[:, None, None]
        loss = lambda weight: loss_of((weight, b), solver, adjoint)  # noqa: E731
        together, alone = jax.jit(jax.vmap(jax.grad(loss)))(weights), jax.jit(jax.grad(loss))
        _close(together, np.stack([alone(weight) for weight in weights]))
        total = lambda weights: jnp.sum(jax.vmap(loss)(weights))  # noqa: E731
        _close(jax.jit(jax.grad(total))(weights), together)


def _gradients_pass_through_scan_and_checkpoint(adjoint: Adjoint) -> None:
    with jax.enable_x64(True):
        weight, b = arguments()
        inputs, solver = numbers(2, B, M, seed=12), solver_for(adjoint, "max_steps=150")
        step = lambda weight, z, x: value_of((weight, z + x), solver, adjoint)  # noqa: E731

        def looped(weight):
            return jnp.sum(step(weight, step(weight, b, inputs[0]), inputs[1]))

        def scanned(weight, step):
            return jnp.sum(jax.lax.scan(lambda z, x: (step(weight, z, x), None), b, inputs)[0])

        expected = jax.jit(jax.grad(looped))(weight)
        slope = jax.jit(jax.grad(scanned), static_argnums=1)
        _close(slope(weight, step), expected)
        _close(slope(weight, jax.checkpoint(step)), expected)


def _close(actual: Any, expected: Any) -> None:
    """Two programs for one computation agree up to rounding."""
    atol = 1e-11 * float(np.max(np.abs(expected)))
    chex.assert_trees_all_close(actual, expected, rtol=0, atol=atol)


check_adjoint = Check(
    "adjoint",
    catalog.adjoints.get,
    (
        _settings_are_values,
        _the_value_is_the_solvers_bit_for_bit,
        _the_gradient_points_uphill,
        _captured_arrays_have_the_derivative_of_arguments,
        _a_zero_cotangent_gives_zero,
        _batch_mates_change_no_gradient,
        _a_nan_input_must_be_masked_where_it_enters,
        _gradients_pass_through_vmap_and_jit,
        _gradients_pass_through_scan_and_checkpoint,
    ),
)
