"""Expectations and Hermite polynomials against what is known in closed form."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deqzoo.activation import gaussian


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0, 20.0])
def test_expectation_of_known_integrals(scale):
    moments = {2: 1.0, 4: 3.0, 6: 15.0}
    for power, moment in moments.items():
        measured = gaussian.expectation(lambda x, n=power: x**n, scale)
        assert measured == pytest.approx(moment * scale**power, rel=1e-13)
    cosine = gaussian.expectation(np.cos, scale)
    assert cosine == pytest.approx(math.exp(-(scale**2) / 2), abs=1e-14)


def test_a_kink_costs_digits_unless_panels_end_there():
    def ramp(x):
        return np.abs(x - 0.3)

    exact = 2 * math.exp(-0.045) / math.sqrt(2 * math.pi) + 0.3 * math.erf(0.3 / math.sqrt(2))
    assert abs(gaussian.expectation(ramp, kinks=(0.3,)) - exact) < 1e-14
    assert abs(gaussian.expectation(ramp) - exact) > 1e-6


def test_hermite_basis_is_orthonormal():
    """Gauss-Hermite quadrature with 64 nodes is exact for products of degree up to 127."""
    z, weights = np.polynomial.hermite_e.hermegauss(64)
    basis = gaussian.hermite_basis(z, 60)
    gram = (basis * weights / math.sqrt(2 * math.pi)) @ basis.T
    np.testing.assert_allclose(gram, np.eye(61), atol=1e-12)


def test_hermite_basis_starts_with_the_known_polynomials():
    z = np.linspace(-4, 4, 9)
    known = [np.ones(9), z, (z**2 - 1) / math.sqrt(2), (z**3 - 3 * z) / math.sqrt(6)]
    np.testing.assert_allclose(gaussian.hermite_basis(z, 3), known, rtol=1e-14, atol=1e-14)


def test_degree_1000_does_not_overflow():
    basis = gaussian.hermite_basis(np.linspace(-13, 13, 101), 1000)
    bound = 1.09 * np.exp(np.linspace(-13, 13, 101) ** 2 / 4)  # Cramér's inequality
    assert np.all(np.abs(basis) <= bound)


def test_hermite_at_zero():
    even = [1.0, -1 / math.sqrt(2), 3 / math.sqrt(24), -15 / math.sqrt(720)]
    np.testing.assert_allclose(gaussian.hermite_at_zero(6)[::2], even, rtol=1e-15)
    assert not np.any(gaussian.hermite_at_zero(7)[1::2])


@pytest.mark.parametrize("scale", [0.02, 0.7, 3.0])
@pytest.mark.parametrize("threshold", [-1.5, 0.0, 0.4])
def test_rectified_hermite_is_the_quadrature(scale, threshold):
    def ramp(x):
        return np.maximum(x - threshold, 0)

    measured = gaussian.hermite_coefficients(ramp, 200, scale, (threshold,))
    declared = gaussian.rectified_hermite(200, scale, threshold)
    np.testing.assert_allclose(declared, measured, rtol=0, atol=1e-13)


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_shared_coefficients_have_the_length_asked_for(degree):
    for coefficients in (
        gaussian.rectified_hermite(degree, 1.0),
        gaussian.clipped_hermite(degree, 1.0, -1.0, 2.0),
        gaussian.erf_hermite(degree, 1.0),
        gaussian.wave_hermite(degree, 1.0),
    ):
        assert coefficients.shape == (degree + 1,)


def test_wave_hermite_has_unit_mass_at_any_frequency():
    """E |exp(itZ)|² = 1; at t = 40 the factors t^k and sqrt(k!) alone would overflow."""
    for frequency in (0.1, 1.0, 10.0, 40.0):
        mass = np.sum(gaussian.wave_hermite(3000, frequency) ** 2)
        assert mass == pytest.approx(1, rel=1e-11)


@pytest.mark.parametrize("rho", [-0.95, -0.5, 0.0, 0.8])
def test_rectified_duals_are_integrals_over_an_angle(rho):
    """In polar coordinates u and v are positive on an arc of length π - arccos(ρ)."""
    q1, q2, arc = 0.7, 1.9, math.pi - math.acos(rho)
    points, weights = gaussian.legendre(40)
    angle = arc / 2 * (1 + points)
    mean = arc / 2 * float(weights @ (np.sin(angle) * np.sin(arc - angle))) / math.pi
    with jax.enable_x64(True):
        c = jnp.asarray(rho * math.sqrt(q1 * q2))
        covariance = float(gaussian.rectified_covariance(c, q1, q2))
        slope = float(gaussian.rectified_slope(c, q1, q2))
    assert covariance == pytest.approx(math.sqrt(q1 * q2) * mean, abs=1e-14)
    assert slope == pytest.approx(arc / (2 * math.pi), abs=1e-15)
