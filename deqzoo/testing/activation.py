"""Every activation: it is what it declares, and so is everything that follows from it."""

from __future__ import annotations

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np

from deqzoo import catalog
from deqzoo.activation import gaussian
from deqzoo.activation.check import check
from deqzoo.activation.contract import Activation
from deqzoo.testing.check import Check, are_values, refuses, require

__all__ = ["check_activation"]

_STEP_SIZES = (1e-2, 0.5, 1.0, 3.0, 100.0)


def _declared_facts_are_measured(act: Activation) -> None:
    check(act)


def _settings_are_values(act: Activation) -> None:
    are_values(act)


def _bfloat16_values_and_slopes_are_finite(act: Activation) -> None:
    # ``check`` measures the same in float32 and float64.
    size = np.geomspace(1e-4, 1e4, 40)
    x = jnp.asarray(np.concatenate([-size, [0.0, *act.kinks], size]), jnp.bfloat16)
    values = jax.jit(jax.vmap(jax.value_and_grad(act)))(x)
    chex.assert_type(list(values), jnp.bfloat16)
    chex.assert_tree_all_finite(values)


def _the_lipschitz_bound_holds_between_any_two_points(act: Activation) -> None:
    x, y = np.random.default_rng(0).normal(scale=3.0, size=(2, 1000))
    excess = np.abs(act.in_float64(x) - act.in_float64(y)) - act.lipschitz * np.abs(x - y)
    i = int(np.argmax(excess))
    between = f"between {x[i]:.17g} and {y[i]:.17g} φ changes by {excess[i]:.3g} more than L says"
    require(excess[i] <= 1e-14, between)


def _the_primitive_is_an_antiderivative(act: Activation) -> None:
    with jax.enable_x64(True):
        x = jnp.linspace(-8, 8, 65)
        primitive, derivative = jax.jvp(act.primitive, (x,), (jnp.ones_like(x),))
        smooth = ~np.isin(x, act.kinks)
        expected = act.in_float64(x)
        np.testing.assert_allclose(derivative[smooth], expected[smooth], rtol=1e-7, atol=1e-10)
        require(abs(primitive[32]) <= 1e-15, f"the primitive at 0 is {primitive[32]}")
    narrow = jax.eval_shape(act.primitive, jax.ShapeDtypeStruct((3,), jnp.float32))
    chex.assert_shape(narrow, (3,))
    chex.assert_type(narrow, jnp.float32)


# Gaussian means.


def _hermite_coefficients_carry_the_second_moment(act: Activation) -> None:
    # Parseval up to the tail behind k = 400, which only a kink makes visible.
    for scale in (0.6, math.sqrt(2)):
        share = np.sum(act.hermite(400, scale) ** 2) / _second_moment(act, scale)
        least = 1 - (1e-3 if act.kinks else 1e-12)
        require(least < share < 1 + 1e-12, f"their squares are {share:.15g} of it at s={scale:g}")


def _hermite_coefficients_do_not_depend_on_the_degree(act: Activation) -> None:
    long = act.hermite(1000, 0.01)
    chex.assert_shape(long, (1001,))
    chex.assert_tree_all_finite(long)
    for degree in (0, 1, 2):
        np.testing.assert_allclose(act.hermite(degree, 0.01), long[: degree + 1], atol=1e-15)


def _hermite_coefficients_of_no_gaussian_are_refused(act: Activation) -> None:
    for scale in (0.0, -1.0, math.nan, math.inf):
        refuses(lambda scale=scale: act.hermite(3, scale), {"scale": scale})
    refuses(lambda: act.hermite(-1), {"degree": -1})


def _the_dual_of_equal_arguments_is_the_second_moment(act: Activation) -> None:
    for q in (0.5, 2.0):
        expected = _second_moment(act, math.sqrt(q))
        np.testing.assert_allclose(act.dual(1.0, q), expected, rtol=1e-12)


def _the_dual_slope_is_the_derivative_of_the_dual(act: Activation) -> None:
    # Price's theorem, by a central difference of width 2e-4 and unequal variances.
    c = np.array([-0.7, -0.1, 0.2, 0.8])
    q1, q2, width = np.full(4, 0.8), np.full(4, 1.7), 1e-4
    with jax.enable_x64(True):
        above, below = (np.asarray(act.dual_covariance(c + h, q1, q2)) for h in (width, -width))
        slope = np.asarray(act.dual_slope(c, q1, q2))
    np.testing.assert_allclose((above - below) / (2 * width), slope, rtol=1e-7, atol=1e-6)


def _a_closed_dual_is_differentiable_and_compiles(act: Activation) -> None:
    if type(act).dual_covariance is Activation.dual_covariance:
        return
    with jax.enable_x64(True):
        c, q1, q2 = jnp.array([-0.9, 0.0, 0.4]), jnp.full(3, 1.1), jnp.full(3, 1.4)
        slope = jax.jit(jax.vmap(jax.grad(act.dual_covariance)))(c, q1, q2)
        np.testing.assert_allclose(slope, act.dual_slope(c, q1, q2), rtol=1e-12, atol=1e-14)


def _second_moment(act: Activation, scale: float) -> float:
    return gaussian.expectation(lambda x: act.in_float64(x) ** 2, scale, act.kinks)


# Proximal operators.


def _the_proximal_operator_meets_its_optimality_condition(act: Activation) -> None:
    # y = prox_{αψ}(u) if and only if (u - y)/α lies in the subdifferential of ψ at y, that is
    # y = φ(y + (u - y)/α).
    if not act.is_prox:
        return
    with jax.enable_x64(True):
        steps = jnp.array(_STEP_SIZES)[:, None]
        tails = jnp.array([1e-300, -1e-12, 1e6, -1e6])
        u = jnp.concatenate([jnp.linspace(-30, 30, 301), tails])[None]
        y = jax.jit(lambda u: act.prox(u + jnp.zeros_like(steps), steps))(u)
        error = np.abs(y - act(y + (u - y) / steps)) / (1 + np.abs(u)) * np.minimum(steps, 1)
    require(np.all(error <= 1e-13), f"y - φ(y + (u - y)/α) reaches {np.max(error):.2e}")


def _with_step_size_one_the_proximal_operator_is_the_activation(act: Activation) -> None:
    if act.is_prox:
        u = jnp.linspace(-8, 8, 101, dtype=jnp.float32)
        y = act.prox(u, 1.0)
        chex.assert_type(y, jnp.float32)
        chex.assert_trees_all_close(y, act(u), rtol=1e-6, atol=1e-6)


def _a_closed_proximal_operator_equals_the_default(act: Activation) -> None:
    if act.is_prox and type(act).prox is not Activation.prox:
        with jax.enable_x64(True):
            steps = jnp.array([[0.2], [5.0]])
            u = jnp.linspace(-8, 8, 41)[None] + jnp.zeros_like(steps)
            default = jax.jit(lambda u: Activation.prox(act, u, steps))(u)
            np.testing.assert_allclose(act.prox(u, steps), default, rtol=1e-12, atol=1e-12)


check_activation = Check(
    "activation",
    catalog.activations.get,
    (
        _settings_are_values,
        _declared_facts_are_measured,
        _bfloat16_values_and_slopes_are_finite,
        _the_lipschitz_bound_holds_between_any_two_points,
        _the_primitive_is_an_antiderivative,
        _hermite_coefficients_carry_the_second_moment,
        _hermite_coefficients_do_not_depend_on_the_degree,
        _hermite_coefficients_of_no_gaussian_are_refused,
        _the_dual_of_equal_arguments_is_the_second_moment,
        _the_dual_slope_is_the_derivative_of_the_dual,
        _a_closed_dual_is_differentiable_and_compiles,
        _the_proximal_operator_meets_its_optimality_condition,
        _with_step_size_one_the_proximal_operator_is_the_activation,
        _a_closed_proximal_operator_equals_the_default,
    ),
)
