"""Gaussian means of products against closed forms, Hermite series and adaptive integration."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special

import activations
from deqzoo.activation import gaussian, panels, quadrature
from deqzoo.activation.contract import Activation

pytestmark = pytest.mark.usefixtures("x64")

VARIANCES = np.array([0.0, 1e-3, 0.7, 2.0, 400.0])
CORRELATIONS = np.array([-0.9, -0.5, 0.0, 0.3, 0.9])
NEARLY_PARALLEL = np.array([sign * (1 - gap) for gap in (0, 1e-10, 1e-6) for sign in (-1, 1)])


@dataclass(frozen=True, kw_only=True)
class Free(Activation):
    """Any function, of slopes below 1 and curvature at most 1."""

    function: Any
    kinks: Any = ()
    curvature: Any = 1.0
    slope = (-1.0, 1.0)

    def __call__(self, x):
        return self.function(x)


def edges(f, kinks, largest):
    act = f if isinstance(f, Activation) else Free(function=f, kinks=tuple(kinks))
    return panels.edges(act, float(largest))


def square_means(f, variances, kinks=()):
    cuts = [*kinks, *edges(f, kinks, np.max(variances))]
    return np.asarray(quadrature.square_means(f, jnp.asarray(variances), np.array(cuts)))


def product_means(f, rho, q1, q2, kinks=()):
    rho, q1, q2 = np.broadcast_arrays(rho, q1, q2)
    fine = edges(f, kinks, max(q1.max(), q2.max()))
    c = rho * np.sqrt(q1 * q2)
    return np.asarray(quadrature.product_means(f, c, q1, q2, kinks, fine))


def relu(x):
    return jnp.maximum(x, 0)


def clip(x):
    return jnp.clip(x, -1, 1)


def peak(x):
    """Poles at ±i, which the variance 400 brings as near as i/20."""
    return 1 / jnp.sqrt(1 + x * x)


def mean_square_of_clip(q):
    s = np.sqrt(np.where(q > 0, q, 1))
    inside = q * (special.erf(1 / s / math.sqrt(2)) - 2 / s * gaussian.density(1 / s))
    return np.where(q > 0, inside + special.erfc(1 / s / math.sqrt(2)), 0)


def mean_square_of_peak(q):
    s = np.sqrt(np.where(q > 0, q, 1))
    return np.where(q > 0, math.sqrt(math.pi / 2) / s * special.erfcx(1 / s / math.sqrt(2)), 1)


# E f(u)².


@pytest.mark.parametrize(
    ("f", "kinks", "exact"),
    [
        (relu, (0.0,), lambda q: q / 2),
        (jnp.abs, (0.0,), lambda q: q),
        (lambda x: jnp.abs(x - 0.3), (0.3,), lambda q: q + 0.09),
        (jnp.sin, (), lambda q: -np.expm1(-2 * q) / 2),
        (jnp.cos, (), lambda q: (1 + np.exp(-2 * q)) / 2),
        (clip, (-1.0, 1.0), mean_square_of_clip),
        (peak, (), mean_square_of_peak),
    ],
    ids=["relu", "absolute", "shifted", "sin", "cos", "clip", "peak"],
)
def test_mean_squares_are_known_at_any_variance(f, kinks, exact):
    np.testing.assert_allclose(
        square_means(f, VARIANCES, kinks), exact(VARIANCES), rtol=2e-13, atol=1e-15
    )


def test_larger_variances_need_their_panels():
    coarse = np.asarray(quadrature.square_means(peak, jnp.asarray(VARIANCES[-1:]), ()))
    assert abs(coarse - mean_square_of_peak(VARIANCES[-1:])) > 1e-6


def test_a_kink_costs_digits_unless_panels_end_there():
    undeclared = square_means(clip, np.array([2.0]))
    assert abs(undeclared - mean_square_of_clip(np.array([2.0]))) > 1e-9


@pytest.mark.parametrize("name", ["tanh", "softplus", "selu", "softsign", "gelu_tanh", "sin"])
def test_panels_are_narrow_where_phi_bends_and_few(name):
    act = activations.get(name)
    for largest in (1.0, 30.0, 1e3, 2e6 if name != "sin" else 30.0):
        found = panels.edges(act, largest)
        assert len(found) % 16 == 0
        assert np.all(np.diff(found) >= 0)
        assert len(found) <= 64 if name != "sin" else 512
    assert len(panels.edges(activations.get("hard_tanh"), 2e6)) == 0


@pytest.mark.parametrize("shift", [0.0, 5.0])
@pytest.mark.parametrize("b", [20.0, 50.0])
def test_fast_functions_keep_their_digits(b, shift):
    """E f(b(u - t))² of a steep flank at t, by panels that only bisection can have found."""
    for q in (0.3, 2.0, 1e4):
        act = Free(function=lambda x: jnp.tanh(b * (x - shift)) / b, curvature=b)
        z = math.sqrt(q)
        square = square_means(act, np.array([q]))[0]

        def f(x, z=z):
            return (math.tanh(b * (z * x - shift)) / b) ** 2 * gaussian.density(x)

        flank = [(shift + s) / z for s in (-2, -0.2, -0.02, 0, 0.02, 0.2, 2)]
        points = [point for point in flank if abs(point) < 8]
        exact = integrate.quad(f, -9, 9, points=points, limit=500, epsabs=1e-17, epsrel=1e-13)[0]
        assert square == pytest.approx(exact, rel=1e-11)


@pytest.mark.parametrize("q", [2.0, 1e3, 2e6])
def test_quadrature_is_the_closed_form_at_any_variance(q):
    """erf of variances that make it a step: (2/π) arctan(2c/D) and 4/(πD), D² formed exactly."""
    act = activations.get("erf")
    rho = np.array([-1, -0.9999, -0.5, 0, 0.3, 0.9, 0.999, 1 - 1e-6, 1])
    c, variances = rho * q, np.full(9, q)
    d = np.sqrt(1 + 4 * q + 4 * (q - c) * (q + c))
    measured = Activation.dual_covariance(act, c, variances, variances)
    np.testing.assert_allclose(measured, 2 / math.pi * np.arctan2(2 * c, d), rtol=0, atol=1e-12)
    slope = Activation.dual_slope(act, c, variances, variances)
    np.testing.assert_allclose(slope, 4 / math.pi / d, rtol=1e-9)


@pytest.mark.parametrize("gap", [5e-12, 1e-9, 1e-3])
def test_the_slope_of_a_clip_keeps_its_digits_near_parallel_inputs(gap):
    """P(|u| < 1, |v| < 1) = E P(|v| < 1 | u), whose inner part is a difference of two erfs."""
    q, act = 1.3, activations.get("hard_tanh")
    c = np.array([q * (1 - gap)])
    rho, spread = c[0] / q, math.sqrt(2 * q * (1 - (c[0] / q) ** 2))

    def inner(u):
        return (special.erf((1 - rho * u) / spread) + special.erf((1 + rho * u) / spread)) / 2

    edge = [1 - k * spread for k in (0.01, 0.1, 0.3, 1, 3, 6, 10) if k * spread < 1]
    exact = integrate.quad(
        lambda u: 2 * inner(u) * gaussian.density(u / math.sqrt(q)) / math.sqrt(q),
        0, 1, points=edge, limit=500, epsabs=1e-15, epsrel=1e-13,
    )[0]  # fmt: skip
    measured = act.dual_slope(c, np.array([q]), np.array([q]))[0]
    assert measured == pytest.approx(exact, abs=1e-10 + 1e-16 / spread)


# E f(u)f(v).


@pytest.mark.parametrize("name", ["relu", "erf", "gelu", "sin", "gaussian"])
def test_quadrature_is_the_closed_form_even_between_parallel_inputs(name):
    act = activations.get(name)
    rho = np.repeat(np.concatenate([CORRELATIONS, NEARLY_PARALLEL]), 2)
    q1, q2 = (np.resize(values, rho.shape) for values in ([0.7, 1.0], [1.9, 1.0]))
    exact = np.asarray(act.dual_covariance(rho * np.sqrt(q1 * q2), q1, q2))
    measured = product_means(act, rho, q1, q2, act.kinks)
    np.testing.assert_allclose(measured, exact, rtol=0, atol=5e-15)


@pytest.mark.parametrize("name", ["relu", "erf"])
def test_quadrature_is_the_closed_form_at_very_different_variances(name):
    act, rho = activations.get(name), np.array([-1.0, 0.3, 1 - 1e-10])
    q1, q2 = np.full(3, 400.0), np.full(3, 0.01)
    exact = np.asarray(act.dual_covariance(rho * 2, q1, q2))
    measured = product_means(act, rho, q1, q2, act.kinks)
    np.testing.assert_allclose(measured, exact, rtol=0, atol=2e-14)


@pytest.mark.parametrize("gap", [1.0, 1e-2, 1e-6, 1e-10])
def test_a_jump_at_a_kink_is_no_obstacle(gap):
    """P(u > 0, v > 0) = (π - θ)/2π, where θ ~ √(2 gap) is lost to any fixed grid."""
    theta = 2 * math.asin(math.sqrt(gap / 2))
    measured = product_means(lambda x: (x > 0) * 1.0, np.array([1 - gap]), 0.7, 1.9, (0.0,))[0]
    assert 1 - 2 * measured == pytest.approx(theta / math.pi, rel=1e-6 if gap < 1e-6 else 1e-9)


@pytest.mark.parametrize("name", ["tanh", "softsign", "silu", "elu", "hard_tanh"])
def test_quadrature_is_the_hermite_series(name):
    act, q1, q2 = activations.get(name), 0.7, 1.9
    left, right = act.hermite(400, math.sqrt(q1)), act.hermite(400, math.sqrt(q2))
    series = np.polynomial.polynomial.polyval(CORRELATIONS, left * right)
    measured = product_means(act, CORRELATIONS, q1, q2, act.kinks)
    np.testing.assert_allclose(measured, series, atol=2e-14)


@pytest.mark.parametrize("rho", [-0.97, 0.6])
@pytest.mark.parametrize(
    ("f", "host", "kinks"),
    [
        (clip, lambda x: min(max(x, -1.0), 1.0), (-1.0, 1.0)),
        (jnp.tanh, math.tanh, ()),
        (lambda x: x / (1 + jnp.abs(x)), lambda x: x / (1 + abs(x)), (0.0,)),
    ],
    ids=["clip", "tanh", "softsign"],
)
def test_quadrature_is_adaptive_integration(f, host, kinks, rho):
    """E f(u) E(f(v) | u), with adaptive rules that know nothing of panels."""
    q1, q2 = 0.5, 3.0
    slope, spread = rho * math.sqrt(q2 / q1), math.sqrt(q2 * (1 - rho**2))

    def mean(g, scale, places):
        points = [0.0, *(place for place in places if abs(place) < 8.0)]
        options = {"points": points, "epsabs": 1e-12, "epsrel": 1e-12, "limit": 200}
        density = gaussian.density
        return integrate.quad(lambda z: g(scale * z) * density(z), -9, 9, **options)[0]

    def conditional(u):
        places = [(kink - slope * u) / spread for kink in kinks]
        return mean(lambda v: host(slope * u + v), spread, places)

    places = [kink / math.sqrt(q1) for kink in kinks]
    exact = mean(lambda u: host(u) * conditional(u), math.sqrt(q1), places)
    assert product_means(f, np.array([rho]), q1, q2, kinks)[0] == pytest.approx(exact, abs=1e-11)


@pytest.mark.parametrize("f", [jnp.cos, clip, lambda x: relu(x + 0.5)])
def test_a_variable_without_variance_is_a_constant(f):
    kinks = (-1.0, -0.5, 1.0)
    mean = gaussian.expectation(lambda x: np.asarray(f(x)), math.sqrt(1.9), kinks)
    constant = float(f(jnp.zeros(())))
    zero = np.zeros(1)
    np.testing.assert_allclose(product_means(f, zero, 0.0, 1.9, kinks), constant * mean, atol=1e-15)
    np.testing.assert_allclose(product_means(f, zero, 0.0, 0.0, kinks), constant**2, rtol=1e-14)


def test_opposite_variables_are_mirrored():
    """E f(u)f(-u) at ρ = -1, exactly."""
    measured = product_means(lambda x: relu(x + 0.5), np.array([-1.0]), 1.3, 1.3, (-0.5,))
    s = math.sqrt(1.3)
    z, weights = gaussian.nodes((-0.5, 0.5), s)
    exact = weights @ (np.maximum(0.5 + s * z, 0) * np.maximum(0.5 - s * z, 0))
    np.testing.assert_allclose(measured, exact, atol=1e-15)


# Traced.


def has_closed_dual(act):
    return type(act).dual_covariance is not Activation.dual_covariance


@pytest.mark.parametrize("name", ["tanh", "hard_tanh"])
def test_traced_duals_equal_concrete_ones(name):
    act = activations.get(name)
    q1, q2 = np.full(6, 1.1), np.full(6, 1.4)
    c = math.sqrt(1.1 * 1.4) * np.array([-1.0, -0.7, 0.0, 0.4, 1 - 1e-9, 1.0])
    assert not has_closed_dual(act)
    for dual in (act.dual_covariance, act.dual_slope):
        traced = jax.jit(dual)(jnp.asarray(c), jnp.asarray(q1), jnp.asarray(q2))
        assert isinstance(dual(c, q1, q2), np.ndarray)
        np.testing.assert_allclose(traced, dual(c, q1, q2), rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["tanh", "softsign"])
def test_the_gradient_of_a_quadrature_dual_is_the_dual_of_the_slope(name):
    act = activations.get(name)
    q1, q2 = np.full(7, 1.1), np.full(7, 1.4)
    c = np.array([-1.1, -0.4, 0.0, 0.3, 1.1, 1.2, math.sqrt(1.1 * 1.4)])
    assert not has_closed_dual(act)
    gradient = jax.jit(jax.vmap(jax.grad(act.dual_covariance)))(*map(jnp.asarray, (c, q1, q2)))
    np.testing.assert_allclose(gradient, act.dual_slope(c, q1, q2), atol=1e-12)


# Hermite coefficients.


@pytest.mark.parametrize("name", ["relu", "hard_tanh", "gelu", "snake"])
@pytest.mark.parametrize("scale", [0.01, 3.0])
def test_split_nodes_integrate_polynomials_of_high_degree(name, scale):
    act = activations.get(name)
    cuts = np.array([*act.kinks, *panels.edges(act, scale**2)])
    z, weights = quadrature.split_nodes(cuts, scale)
    values = np.asarray(weights * act(scale * z))
    measured = gaussian.hermite_basis(np.asarray(z), 200) @ values
    np.testing.assert_allclose(measured, act.hermite(200, scale), rtol=0, atol=2e-13)
