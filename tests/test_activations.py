"""Every activation is what it declares, and a false declaration is named.

The reference values were computed independently of the package with 30-digit arithmetic.
"""

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special

import activations
from deqzoo.activation import gaussian
from deqzoo.activation.check import ActivationError
from deqzoo.activation.contract import Activation
from deqzoo.catalog import CatalogError
from deqzoo.models.classifier import Classifier
from deqzoo.testing import check_activation, name_of

NAMES = activations.names()
PARAMETRISED = (
    "leaky_relu(negative_slope=0.2)",
    "elu(alpha=0.7)",
    "celu(alpha=0.5)",
    "sin(frequency=3.0)",
    "cos(frequency=0.5)",
    "snake(frequency=0.5)",
    "squareplus(b=1.0)",
    "soft_threshold(threshold=2.0)",
)
WAVES = ("sin", "cos", "snake")
RECIPES = (*NAMES, *PARAMETRISED)
REFERENCE = json.loads((Path(__file__).parent / "reference_values.json").read_text())
REFERENCE_NAMES = tuple(REFERENCE["derivative_bounds"])
REFERENCE_RECIPES = {
    "celu_0.5": "celu(alpha=0.5)",
    "squareplus_4": "squareplus(b=4.0)",
    "snake_1": "snake(frequency=1.0)",
}


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def reference_activation(name):
    return activations.get(REFERENCE_RECIPES.get(name, name))


def second_moment(act, scale):
    return gaussian.expectation(lambda x: act.in_float64(x) ** 2, scale, act.kinks)


# The contract.

# The derivative of a dual takes long without a closed form, and so do proximal operators.
SLOW = ("the dual slope is", "the proximal operator meets", "with step size one", "a closed prox")


def cases():
    for truth in check_activation.truths:
        slow = name_of(truth).startswith(SLOW)
        yield pytest.param(truth, id=name_of(truth), marks=[pytest.mark.slow] * slow)


@pytest.mark.quick("gelu-*", "leaky_relu-*", "relu-*", "sin-*", "softplus-*", "tanh-*")
@pytest.mark.parametrize("truth", [*cases()])
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_activation_keeps_its_contract(recipe, truth):
    check_activation(recipe, only=truth)


# What check measures.


def test_every_kind_of_fact_is_measured():
    measured = {fact.name for fact in activations.check("gelu").facts}
    assert {"slope infimum", "slope supremum", "curvature", "kinks", "primitive"} <= measured


def test_closed_duals_are_measured_and_quadrature_is_not_compared_with_itself():
    names = {recipe: str(activations.check(recipe)) for recipe in ("erf", "tanh")}
    assert "dual slope, q = 0.5, 2" in names["erf"]
    assert "dual" not in names["tanh"]


# Against the reference values.


@pytest.mark.parametrize("name", REFERENCE_NAMES)
def test_bounds_equal_the_reference(name):
    act, expected = reference_activation(name), REFERENCE["derivative_bounds"][name]
    curvature = math.inf if expected["curvature_max"] is None else expected["curvature_max"]
    declared = (*act.slope, act.curvature, act.lipschitz, act.max_sigma_w2, act.in_float64(0.0))
    keys = ("slope_min", "slope_max", None, "lipschitz", "sigma_w2_max", "phi_at_0")
    wanted = [expected[key] if key else curvature for key in keys]
    np.testing.assert_allclose(declared, wanted, rtol=1e-12)
    assert list(act.kinks) == REFERENCE["activations"][name]["kinks"]


@pytest.mark.parametrize("name", REFERENCE_NAMES)
def test_hermite_coefficients_equal_the_reference(name):
    act = reference_activation(name)
    for expected in REFERENCE["hermite_examples"][name].values():
        scale = expected["scale"]
        np.testing.assert_allclose(act.hermite(8, scale), expected["coefficients"], atol=1e-12)
        assert second_moment(act, scale) == pytest.approx(expected["second_moment"], rel=1e-12)


@pytest.mark.parametrize("name", REFERENCE_NAMES)
def test_duals_equal_the_reference(name):
    act = reference_activation(name)
    rows = REFERENCE["duals"][name]
    q, rho, c, dual, slope = (
        np.array([row[key] for row in rows]) for key in ("q", "rho", "c", "K", "K_dot")
    )
    for variance in (1.0, 2.0):
        at = q == variance
        np.testing.assert_allclose(act.dual(rho[at], variance), dual[at], atol=1e-12)
    np.testing.assert_allclose(act.dual_slope(c, q, q), slope, atol=1e-12)


# Identities that hold whatever the numbers are.


@pytest.mark.parametrize(
    "name",
    ["relu", "gelu", "gelu_tanh", "silu", "hard_silu", "softplus", "log_sigmoid", "squareplus"],
)
def test_half_a_line_plus_an_even_function(name):
    """φ(x) - φ(-x) = x leaves a_1 = s/2 as the only odd coefficient."""
    for scale in (0.7, math.sqrt(2)):
        odd = activations.get(name).hermite(41, scale)[1::2]
        assert odd[0] == pytest.approx(scale / 2, abs=1e-14)
        np.testing.assert_allclose(odd[1:], 0, atol=1e-14)


ODD = ["identity", "tanh", "erf", "arctan", "softsign", "sin", "hard_tanh", "soft_threshold"]
EVEN = ["absolute", "cos", "gaussian", "log_cosh"]


@pytest.mark.parametrize(("name", "absent"), [*((n, 0) for n in ODD), *((n, 1) for n in EVEN)])
def test_parity(name, absent):
    act, sign = activations.get(name), 1 - 2 * (absent == 0)
    x = np.linspace(-7, 7, 141)
    np.testing.assert_allclose(act.in_float64(-x), sign * act.in_float64(x), atol=1e-15)
    np.testing.assert_allclose(act.hermite(40, 1.3)[absent::2], 0, atol=1e-14)


@pytest.mark.parametrize("name", ["relu", "gelu", "erf", "gaussian", "snake", "hard_silu", "cos"])
def test_closed_hermite_coefficients_at_a_large_scale(name):
    act = activations.get(name)
    measured = gaussian.hermite_coefficients(act.in_float64, 60, 40.0, act.kinks)
    np.testing.assert_allclose(act.hermite(60, 40.0), measured, atol=1e-11)


def test_the_logistic_family_shares_its_coefficients():
    s, k = 1.3, np.arange(1, 31)
    logistic, wide, softplus, silu = (
        activations.get(name).hermite(31, scale)
        for name, scale in (("sigmoid", s), ("sigmoid", 2 * s), ("softplus", s), ("silu", s))
    )
    tanh, log_cosh = (activations.get(name).hermite(30, s) for name in ("tanh", "log_cosh"))
    np.testing.assert_allclose(tanh[1:], 2 * wide[1:31], atol=1e-14)
    np.testing.assert_allclose(softplus[1:31], s * logistic[:30] / np.sqrt(k), atol=1e-14)
    np.testing.assert_allclose(log_cosh[1:], s * tanh[:30] / np.sqrt(k), atol=1e-14)
    product = s * (np.sqrt(k + 1) * logistic[2:32] + np.sqrt(k) * logistic[:30])
    np.testing.assert_allclose(silu[1:31], product[:30], atol=1e-14)


@pytest.mark.parametrize(
    ("general", "special_case"),
    [
        ("leaky_relu(negative_slope=0)", "relu"),
        ("celu(alpha=1)", "elu(alpha=1)"),
    ],
)
def test_special_cases_agree(general, special_case):
    general, special_case = activations.get(general), activations.get(special_case)
    x = np.linspace(-5, 5, 101)
    np.testing.assert_allclose(general.in_float64(x), special_case.in_float64(x), atol=1e-15)
    np.testing.assert_allclose(general.hermite(20), special_case.hermite(20), atol=1e-14)
    assert (general.slope, general.curvature) == (special_case.slope, special_case.curvature)


# Numerical care.


@pytest.mark.parametrize(
    ("recipe", "slope", "bend"),
    [
        ("gaussian", 0.0, -1.0),
        ("cos", 0.0, -1.0),
        ("log_cosh", 0.0, 1.0),
        ("squareplus(b=1.0)", 0.5, 0.5),
        ("softplus", 0.5, 0.25),
        ("tanh", 1.0, 0.0),
        ("elu", 1.0, None),
        ("celu(alpha=0.5)", 1.0, None),
        ("softsign", 1.0, None),
    ],
)
def test_derivatives_at_zero_itself(recipe, slope, bend):
    act = activations.get(recipe)
    first, second = jax.jit(lambda x: (jax.grad(act)(x), jax.grad(jax.grad(act))(x)))(0.0)
    assert float(first) == slope
    if bend is not None:
        assert float(second) == pytest.approx(bend, abs=1e-15)


def test_small_values_keep_their_digits():
    """Where a plain formula cancels: left tails, and log cosh near 0."""
    cases = {
        "squareplus": (-1e8, 1e-8),
        "log_cosh": (1e-6, 5e-13),
        "normal_cdf": (-10.0, special.ndtr(-10.0)),
        "elu": (-1e-12, math.expm1(-1e-12)),
        "softplus": (-50.0, math.log1p(math.exp(-50.0))),
        "log_sigmoid": (40.0, -math.log1p(math.exp(-40.0))),
    }
    for name, (x, expected) in cases.items():
        assert float(activations.get(name).in_float64(x)) == pytest.approx(expected, rel=1e-11)


# What is derived from the bounds.


PROX = [
    "relu",
    "tanh",
    "sigmoid",
    "softplus",
    "arctan",
    "softsign",
    "hard_tanh",
    "squareplus",
    "relu6",
    "hard_sigmoid",
    "soft_threshold",
    "normal_cdf",
    "log_sigmoid",
    "identity",
    "leaky_relu",
    "linear_spline",
    "prelu",
    "elu",
    "elu(alpha=0.7)",
    "celu",
    "celu(alpha=0.5)",
]
NOT_PROX = [
    "gelu",
    "gelu_tanh",
    "silu",
    "mish",
    "hard_silu",
    "sin",
    "cos",
    "gaussian",
    "log_cosh",
    "absolute",
    "erf",
    "selu",
    "snake",
    "elu(alpha=1.5)",
    "linear_spline(low=-1.0)",
    "prelu(high=2.0)",
]


@pytest.mark.parametrize(
    ("recipe", "prox"), [*((r, True) for r in PROX), *((r, False) for r in NOT_PROX)]
)
def test_proximal_operators(recipe, prox):
    act = activations.get(recipe)
    assert act.is_prox is prox
    assert act.is_prox == (act.is_monotone and act.is_nonexpansive)


def test_every_activation_is_classified():
    assert {recipe.partition("(")[0] for recipe in (*PROX, *NOT_PROX)} == set(NAMES)


def met(recipe):
    """The theorems whose hypotheses hold, by their first word."""
    act = activations.get(recipe)
    assert all(hypothesis.reason for hypothesis in act.hypotheses)
    return {hypothesis.theorem.split()[0] for hypothesis in act.hypotheses if hypothesis.met}


def test_hypotheses():
    assert met("tanh") == {"contraction", "Theorem", "Truong,", "positive", "monotone"}
    assert met("relu") == {"contraction", "Theorem", "positive", "monotone"}
    assert met("gelu") == {"contraction", "Theorem", "Truong,", "positive", "monotone"}
    assert met("selu") == {"contraction", "Theorem", "positive", "monotone"}
    assert met("prelu") == {"contraction", "monotone"}  # a learned φ is not what the others fix
    assert met("linear_spline") == {"contraction", "monotone"}
    assert met("identity") == {"contraction", "Theorem", "Truong,", "monotone"}


def test_only_the_identity_is_affine():
    assert [name for name in NAMES if activations.get(name).is_affine] == ["identity"]


def test_max_weight_norm():
    erf = activations.get("erf")
    assert erf.max_weight_norm() == pytest.approx(math.sqrt(math.pi) / 2)
    assert erf.max_weight_norm(margin=0.1) == pytest.approx(0.9 * math.sqrt(math.pi) / 2)
    for margin in (-0.1, 1.0):
        with pytest.raises(ValueError, match="margin"):
            erf.max_weight_norm(margin)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_tanh_keeps_its_tail(dtype):
    """Against x/(1 + e^(-2a)), a = √(2/π)(x + 0.044715 x³), in Python's own arithmetic."""
    x = np.linspace(-8, 8, 161).astype(dtype)
    with jax.enable_x64(dtype is np.float64):
        measured = np.asarray(activations.get("gelu_tanh")(jnp.asarray(x)), np.float64)
    for point, value in zip(x.tolist(), measured.tolist(), strict=True):
        exact = point / (1 + math.exp(-math.sqrt(8 / math.pi) * (point + 0.044715 * point**3)))
        assert value == pytest.approx(exact, rel=100 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["gelu", "tanh"])
def test_computed_cosines_are_correlations(name, dtype):
    """Their diagonal exceeds 1 by rounding: there the dual is E φ², and beyond it is refused."""
    x = np.random.default_rng(0).standard_normal((8, 12)).astype(dtype)
    cosines = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(dtype)
    cosines = cosines @ cosines.T
    assert np.max(cosines) > 1
    act, (z, weights) = activations.get(name), np.polynomial.hermite_e.hermegauss(200)
    square = float(weights @ act.in_float64(z) ** 2 / np.sum(weights))
    beyond = np.diag(cosines)[np.diag(cosines) >= 1]
    np.testing.assert_allclose(act.dual(beyond), square, rtol=1e-12)
    with pytest.raises(ValueError, match=r"correlations in \[-1, 1\]"):
        act.dual(cosines * dtype(1 + 1e-5))


@pytest.mark.parametrize(
    "recipe",
    [
        "elu(alpha=0)",
        "celu(alpha=-1)",
        "leaky_relu(negative_slope=1)",
        "leaky_relu(negative_slope=-0.1)",
        "sin(frequency=0)",
        "cos(frequency=1e999)",
        "snake(frequency=-2)",
        "squareplus(b=0)",
        "soft_threshold(threshold='a')",
        "elu(alpha=99999999999999999999)",
        "sin(frequency=1e300)",
        "squareplus(b=1e-300)",
    ],
)
def test_impossible_parameters_are_refused(recipe):
    with pytest.raises(CatalogError, match=re.escape(recipe)):
        activations.get(recipe)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, 1e300])
def test_coefficients_of_an_impossible_scale_are_refused(scale):
    with pytest.raises(ValueError, match="positive, finite scale|scale must be a number, got nan"):
        activations.get("gelu").hermite(3, scale)


def test_dual_refuses_impossible_arguments():
    with pytest.raises(ValueError, match=r"correlations in \[-1, 1\]"):
        activations.get("relu").dual(1.1)
    with pytest.raises(ValueError, match="a positive, finite q"):
        activations.get("relu").dual(0.5, q=0.0)


# False declarations, each a single change to a true one.


@dataclass(frozen=True)
class Smooth(Activation):
    """tanh, told truly."""

    slope = (0.0, 1.0)
    curvature = 4 / (3 * math.sqrt(3))

    def __call__(self, x):
        return jnp.tanh(x)


class Bent(Smooth):
    """A rectifier, told truly."""

    kinks = (0.0,)
    curvature = math.inf

    def __call__(self, x):
        return jnp.maximum(x, 0)

    def primitive(self, x):
        return jnp.maximum(x, 0) ** 2 / 2

    def dual_covariance(self, c, q1, q2):
        return gaussian.rectified_covariance(c, q1, q2)

    def dual_slope(self, c, q1, q2):
        return gaussian.rectified_slope(c, q1, q2)


class SupremumTooLarge(Smooth):
    slope = (0.0, 1.0 + 1e-9)


class SupremumTooSmall(Smooth):
    slope = (0.0, 1.0 - 1e-9)


class InfimumTooSmall(Smooth):
    slope = (-0.1, 1.0)


class CurvatureTooSmall(Smooth):
    curvature = 0.769


class CurvatureNeedlesslyInfinite(Smooth):
    curvature = math.inf


class CurvatureFinite(Bent):
    curvature = 1.0


class KinkOfSlopeUndeclared(Bent):
    kinks = ()
    dual_covariance = Activation.dual_covariance  # closed ones would not meet the wrong quadrature
    dual_slope = Activation.dual_slope

    def primitive(self, x):
        return jnp.maximum(x, 0) ** 2 / 2


class OneOfTwoKinks(Bent):
    kinks = (0.0,)

    def __call__(self, x):
        return jnp.clip(x, 0, math.pi)

    def primitive(self, x):
        return self(x) * (x - self(x) / 2)

    def hermite(self, degree, scale=1.0):
        return gaussian.clipped_hermite(degree, scale, 0.0, math.pi)

    dual_covariance = Activation.dual_covariance
    dual_slope = Activation.dual_slope


class KinkOfCurvatureUndeclared(Smooth):
    curvature = 2.0

    def __call__(self, x):
        return x / (1 + jnp.abs(x))

    def primitive(self, x):
        return jnp.abs(x) - jnp.log1p(jnp.abs(x))


class Jumping(Smooth):
    kinks = (0.5,)
    slope = (0.0, 0.0)
    curvature = 0.0

    def __call__(self, x):
        return jnp.where(x > 0.5, 1, 0).astype(x.dtype)

    def primitive(self, x):
        return jnp.maximum(x - 0.5, 0)


class WrongPrimitive(Smooth):
    def primitive(self, x):
        return jnp.log(jnp.cosh(x)) + 1e-9


class PrimitiveOfAnotherShape(Smooth):
    def primitive(self, x):
        return jnp.log(jnp.cosh(x[1:]))


class WrongCoefficient(Smooth):
    def hermite(self, degree, scale=1.0):
        coefficients = super().hermite(degree, scale)
        coefficients[7:8] += 1e-9
        return coefficients


class WrongDual(Bent):
    def dual_covariance(self, c, q1, q2):
        return gaussian.rectified_covariance(c, q1, q2) + 1e-9 * jnp.sqrt(q1)


class WrongDualSlope(Bent):
    def dual_slope(self, c, q1, q2):
        return gaussian.rectified_slope(c, q1, q2) * q1


class Widening(Smooth):
    def __call__(self, x):
        return jnp.tanh(x.astype(jnp.float64))


class NoLowPrecision(Smooth):
    def __call__(self, x):
        return jax.scipy.special.ndtr(x)  # written for float32 and float64 only


class Summing(Smooth):
    def __call__(self, x):
        return jnp.sum(jnp.tanh(x))


class Overflowing(Smooth):
    slope, curvature = (0.0, 1.0), 0.25

    def __call__(self, x):
        return jnp.log(1 + jnp.exp(x))


class OverflowingInTheOtherBranch(Smooth):
    kinks = (0.0,)

    def __call__(self, x):
        return jnp.where(x >= 0, x, jnp.exp(x) - 1)


class UndefinedSlopeAtZero(Smooth):
    def __call__(self, x):
        return jnp.sqrt(x * x)


class WrongSlopeAtZeroOnly(Smooth):
    """softplus, but differentiating max(x, 0) and |x| at 0 does not give 1/2."""

    slope, curvature = (0.0, 1.0), 0.25

    def __call__(self, x):
        return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@jax.custom_jvp
def surrogate(x):
    return jnp.tanh(2 * x)


surrogate.defjvp(lambda x, t: (surrogate(*x), (1 - jnp.tanh(x[0]) ** 2) * t[0]))


class SurrogateSlope(Smooth):
    """tanh(2x) with the derivative of tanh(x)."""

    slope, curvature = (0.0, 1.0), 4 / (3 * math.sqrt(3))

    def __call__(self, x):
        return surrogate(x)


class StoppedSlope(SurrogateSlope):
    """0.9 tanh(x) with the derivative of tanh(x): no slope is too large, but φ' is another's."""

    def __call__(self, x):
        return jnp.tanh(x) - jax.lax.stop_gradient(0.1 * jnp.tanh(x))


class SteepFarAway(SurrogateSlope):
    """A hidden slope of 3 between 10³ and 10⁴."""

    def __call__(self, x):
        return jnp.tanh(x) + jax.lax.stop_gradient(3 * jnp.clip(x - 1e3, 0, 9e3))


class WrongDualBeyondVariance2(Bent):
    def dual_covariance(self, c, q1, q2):
        return gaussian.rectified_covariance(c, q1, q2) + 1e-3 * (q2 > 2)


class WrongProx(Smooth):
    def prox(self, u, step_size):
        return 0.9 * u


class WrongProxOfLargeSteps(Bent):
    def prox(self, u, step_size):
        return self(u) * (1 + 1e-9 * (step_size > 3))


class WrongCoefficient300(Smooth):
    def hermite(self, degree, scale=1.0):
        coefficients = super().hermite(degree, scale)
        coefficients[300:301] += 1e-9
        return coefficients


class WrongCoefficientAtScale2(Smooth):
    def hermite(self, degree, scale=1.0):
        return super().hermite(degree, scale) + 1e-9 * (scale > 1.51)


class ClippedFarAway(Smooth):
    """The projection onto [-310, 310], told as the identity."""

    slope, curvature = (1.0, 1.0), 0.0

    def __call__(self, x):
        return jnp.clip(x, -310, 310)


class KinkMisplaced(Bent):
    """A rectifier that starts at 40.03, where 40 is declared."""

    kinks = (40.0,)

    def __call__(self, x):
        return jnp.maximum(x - 40.03, 0)

    primitive = Activation.primitive
    dual_covariance = Activation.dual_covariance
    dual_slope = Activation.dual_slope


class SlopeOfOneNumber(Smooth):
    slope = 1.0  # type: ignore[assignment]


class InfiniteKink(Smooth):
    kinks = (math.inf,)


@dataclass(frozen=True)
class UnhashableSetting(Smooth):
    gains: list = field(default_factory=lambda: np.ones(2))  # type: ignore[arg-type]

    def __post_init__(self):
        """Anything."""


@jax.custom_vjp
def reverse_only(x):
    return jnp.tanh(x)


reverse_only.defvjp(lambda x: (reverse_only(x), x), lambda x, g: (g / jnp.cosh(x) ** 2,))


class ReverseModeOnly(Smooth):
    def __call__(self, x):
        return reverse_only(x)


@dataclass(frozen=True)
class UndefinedAtTheOffset(Smooth):
    """The identity, but √(x - 0.37)² has no slope at 0.37."""

    offset: float = 0.37
    slope, curvature = (1.0, 1.0), 0.0

    def __call__(self, x):
        return x + 0 * jnp.sqrt((x - self.offset) ** 2)


class HiddenStepAt300(Smooth):
    def __call__(self, x):
        return jnp.tanh(x) + jax.lax.stop_gradient(3 * jnp.tanh(x - 300))


class Staircase(Smooth):
    """Values to a quarter, told as the identity whose slope is passed on."""

    slope, curvature = (1.0, 1.0), 0.0

    def __call__(self, x):
        return x + jax.lax.stop_gradient(jnp.round(4 * x) / 4 - x)


FLOATS = ("float64", "float32")
SCALES = ("0.1", "0.6", "1", "1.5", "2.5", "6", "30")
HERMITE = [f"Hermite coefficients, s = {scale}" for scale in SCALES]
VARIANCES = ("1, 1", "0.5, 2", "2.5, 2.5", "0.1, 9", "100, 100")


@dataclass(frozen=True)
class SignedLogWithoutKink(Activation):
    """sign(x) log(1 + |x|), whose φ'' jumps at 0."""

    slope, curvature = (0.0, 1.0), 1.0

    def __call__(self, x):
        return jnp.sign(x) * jnp.log1p(jnp.abs(x))


@dataclass(frozen=True)
class SlopeThatJaxLeaves(Activation):
    """sign(x) (|x| + log(1 + |x|))/2 has slopes in [1/2, 1], and JAX says 0 at 0."""

    slope, curvature, kinks = (0.5, 1.0), 0.5, (0.0,)

    def __call__(self, x):
        return jnp.sign(x) * (jnp.abs(x) + jnp.log1p(jnp.abs(x))) / 2


@dataclass(frozen=True)
class SlightlyBent(Activation):
    """Slopes 0.999 and 1 beside 0, which are no finite curvature."""

    slope, curvature, kinks = (0.0, 1.0), 1.0, (0.0,)

    def __call__(self, x):
        return jnp.where(x > 0, 1, 0.999) * jnp.sign(x) * jnp.log1p(jnp.abs(x))


FALSE = {
    SignedLogWithoutKink: ["curvature", "kinks"],
    SlopeThatJaxLeaves: ["φ' at kinks"],
    SlightlyBent: ["curvature"],
    SupremumTooLarge: ["slope supremum"],
    SupremumTooSmall: ["slope supremum"],
    InfimumTooSmall: ["slope infimum"],
    CurvatureTooSmall: ["curvature"],
    CurvatureNeedlesslyInfinite: ["curvature"],
    CurvatureFinite: ["curvature"],
    OneOfTwoKinks: ["kinks"],
    Jumping: ["continuity"],
    WrongPrimitive: ["primitive"],
    PrimitiveOfAnotherShape: ["primitive"],
    WrongCoefficient: HERMITE,
    WrongDual: [f"dual, q = {pair}" for pair in VARIANCES],
    WrongDualSlope: [f"dual slope, q = {pair}" for pair in VARIANCES[1:]],
    WrongDualBeyondVariance2: [f"dual, q = {pair}" for pair in VARIANCES[2:]],
    WrongProx: ["prox"],
    WrongProxOfLargeSteps: ["prox"],
    WrongCoefficient300: HERMITE,
    WrongCoefficientAtScale2: HERMITE[4:],
    ClippedFarAway: ["slope infimum", "curvature", "kinks"],
    KinkMisplaced: ["kinks", HERMITE[-1]],  # integrals are split at declared kinks only
    SlopeOfOneNumber: ["slope, kind"],
    InfiniteKink: ["kinks, kind"],
    UnhashableSetting: ["settings, kind"],
    ReverseModeOnly: ["forward derivative"],
    UndefinedAtTheOffset: [f"{f} in {dtype}" for dtype in FLOATS for f in ("φ'", "φ''")],
    HiddenStepAt300: ["φ(b) - φ(a)", "difference quotients of φ"],
    Widening: ["dtype and shape of bfloat16", "dtype and shape of float32"],
    NoLowPrecision: ["dtype and shape of bfloat16"],
    Summing: [
        *(f"dtype and shape of {dtype}" for dtype in ("bfloat16", "float32", "float64")),
        "forward derivative",
    ],
    Overflowing: [f"{f} in {dtype}" for dtype in FLOATS for f in ("φ", "φ'", "φ''")],
    OverflowingInTheOtherBranch: [f"{f} in {dtype}" for dtype in FLOATS for f in ("φ'", "φ''")],
    UndefinedSlopeAtZero: [f"{f} in {dtype}" for dtype in FLOATS for f in ("φ'", "φ''")],
    WrongSlopeAtZeroOnly: ["curvature", "kinks"],
    SurrogateSlope: ["φ(b) - φ(a)", "difference quotients of φ"],
    StoppedSlope: ["φ(b) - φ(a)"],
    SteepFarAway: ["φ(b) - φ(a)", "difference quotients of φ"],
}


def wrong_facts(act):
    with pytest.raises(ActivationError) as caught:
        activations.check(act)
    return re.findall(r"^  (.+): declared .+, measured .+$", str(caught.value), re.MULTILINE)


@pytest.mark.parametrize("false", FALSE, ids=lambda false: false.__name__)
def test_a_false_declaration_is_named(false):
    assert wrong_facts(false()) == FALSE[false]


def test_a_step_hidden_behind_a_slope_is_a_jump():
    assert {"continuity", "kinks"} <= {*wrong_facts(Staircase())}


@dataclass(frozen=True)
class Steep(Activation):
    """tanh(50x), told truly."""

    slope = (0.0, 50.0)
    curvature = 2500 * 4 / (3 * math.sqrt(3))

    def __call__(self, x):
        return jnp.tanh(50 * x)


@dataclass(frozen=True)
class Clipped(Activation):
    """The projection onto [-100, 100], told truly."""

    slope, curvature, kinks = (0.0, 1.0), math.inf, (-100.0, 100.0)

    def __call__(self, x):
        return jnp.clip(x, -100, 100)


@dataclass(frozen=True)
class ThreeKinks(Activation):
    """Four lines with slopes 0.2, 1, -0.5 and 0.3, told truly."""

    slope, curvature, kinks = (-0.5, 1.0), math.inf, (-1.3, 0.4, 2.7)

    def __call__(self, x):
        bends = zip(self.kinks, (0.8, -1.5, 0.8), strict=True)
        return 0.2 * x + sum(gain * jnp.maximum(x - kink, 0) for kink, gain in bends)


@dataclass(frozen=True)
class Arsinh(Activation):
    """arsinh x, told truly: its infimum 0 is reached at infinity alone."""

    slope, curvature = (0.0, 1.0), 2 / (3 * math.sqrt(3))

    def __call__(self, x):
        return jnp.arcsinh(x)


@dataclass(frozen=True)
class Shifted(Activation):
    """tanh(x - 50.3), told truly."""

    slope, curvature = (0.0, 1.0), 4 / (3 * math.sqrt(3))

    def __call__(self, x):
        return jnp.tanh(x - 50.3)


@dataclass(frozen=True)
class SignedLog(Activation):
    """sign(x - c) log(1 + |x - c|), told truly: of ``sign`` JAX makes a slope of 0 at c, not 1."""

    c: float = 0.0

    slope, curvature = (0.0, 1.0), 1.0

    @property
    def kinks(self):
        return (self.c,)

    def __call__(self, x):
        return jnp.sign(x - self.c) * jnp.log1p(jnp.abs(x - self.c))


@dataclass(frozen=True)
class SignedExponential(Activation):
    """sign(x) (1 - exp(-|x|)), told truly."""

    slope, curvature, kinks = (0.0, 1.0), 1.0, (0.0,)

    def __call__(self, x):
        return -jnp.sign(x) * jnp.expm1(-jnp.abs(x))


@dataclass(frozen=True)
class SquareOverSum(Activation):
    """x|x|/(1 + |x|), told truly: φ'' = 2 sign(x)/(1 + |x|)³."""

    slope, curvature, kinks = (0.0, 1.0), 2.0, (0.0,)

    def __call__(self, x):
        return x * jnp.abs(x) / (1 + jnp.abs(x))


@pytest.mark.quick("Smooth()", "Bent()", "Steep()", "sin(frequency=0.1)")
@pytest.mark.parametrize(
    "truth",
    [
        *(Smooth(), Bent(), Steep(), Clipped(), ThreeKinks(), Arsinh(), Shifted()),
        *(SignedLog(), SignedLog(1.5), SignedExponential(), SquareOverSum()),
        *("sin(frequency=0.1)", "squareplus(b=1e-4)", "soft_threshold(threshold=50.0)"),
        *(pytest.param(f"{wave}(frequency=30.0)", marks=pytest.mark.slow) for wave in WAVES),
    ],
    ids=str,
)
def test_true_declarations_pass(truth):
    assert activations.check(truth).wrong == ()


def test_the_default_primitive_is_split_at_kinks_and_bends():
    """∫₀ˣ of four lines is Σ gain ((x - kink)₊² - (-kink)₊²)/2, that of tanh(50x) log cosh."""
    x = np.array([-15.0, -1.3, -0.7, 0.0, 0.01, 0.4, 3.0, 17.0])
    plus = lambda t: np.maximum(t, 0) ** 2 / 2  # noqa: E731
    bends = ((-1.3, 0.8), (0.4, -1.5), (2.7, 0.8))
    lines = 0.1 * x**2 + sum(gain * (plus(x - kink) - plus(-kink)) for kink, gain in bends)
    np.testing.assert_allclose(ThreeKinks().primitive(x), lines, rtol=1e-13, atol=1e-13)
    steep = np.abs(x) + (np.log1p(np.exp(-100 * np.abs(x))) - math.log(2)) / 50
    np.testing.assert_allclose(Steep().primitive(x), steep, rtol=1e-12, atol=1e-13)


class ThirdDerivativeJumps(Smooth):
    """∫(1 - x²)² inside [-1, 1], constant outside: φ'' is continuous, with a corner at ±1."""

    slope, curvature = (0.0, 1.0), 8 / (3 * math.sqrt(3))

    def __call__(self, x):
        y = jnp.clip(x, -1, 1)
        return y - 2 * y**3 / 3 + y**5 / 5


def test_a_corner_of_the_second_derivative_is_a_kink():
    assert "kinks" in wrong_facts(ThirdDerivativeJumps())


@pytest.mark.parametrize("false", [KinkOfSlopeUndeclared, KinkOfCurvatureUndeclared])
def test_an_undeclared_kink_is_named_with_its_place(false):
    with pytest.raises(ActivationError, match=r"kinks: declared \(\), measured also x = 0$"):
        activations.check(false())


class HardlyMisplaced(Bent):
    """A rectifier that starts at 0.001, where 0 is declared."""

    def __call__(self, x):
        return jnp.maximum(x - 1e-3, 0)


def test_a_kink_declared_1e_3_off_is_named_with_its_place():
    with pytest.raises(ActivationError, match=r"kinks: .*0\.0,.*, measured also x = 0\.001\n"):
        activations.check(HardlyMisplaced())


def test_the_message_shows_both_values():
    with pytest.raises(ActivationError, match=r"supremum: declared 1.000000001, measured 1$"):
        activations.check(SupremumTooLarge())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slope", 1.0),
        ("slope", None),
        ("slope", (1.0,)),
        ("slope", (1.0, 0.0)),
        ("slope", ("0", 1.0)),
        ("slope", (0.0, math.nan)),
        ("curvature", "inf"),
        ("curvature", -1.0),
        ("curvature", True),
        ("kinks", 0.0),
        ("kinks", (None,)),
    ],
)
def test_a_declaration_that_nothing_meets_is_refused_before_it_is_used(name, value):
    facts = {"slope": (0.0, 1.0), "curvature": 1.0, "__call__": lambda self, x: jnp.tanh(x)}
    mistaken = type("Mistaken", (Activation,), {**facts, name: value})()
    with pytest.raises(ActivationError, match=f"{name}, kind"):
        activations.check(mistaken)
    for use in (
        lambda: Classifier((4,), 2, activation=mistaken, rngs=nnx.Rngs(0)),
        lambda: mistaken.is_prox,
        lambda: mistaken.is_affine,
        lambda: mistaken.hypotheses,
    ):
        with pytest.raises(ValueError, match=f"Mistaken must declare {name} as .* got "):
            use()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda act: act.hermite("a"), "degree must be a whole number, got 'a'"),
        (lambda act: act.hermite(True), "degree must be a whole number, got True"),
        (lambda act: act.hermite(2, None), "scale must be a number, got None"),
        (lambda act: act.dual(None), r"expected correlations in \[-1, 1\], got array\(None"),
        (lambda act: act.dual("x"), r"expected correlations in \[-1, 1\], got array\('x'"),
        (lambda act: act.dual(0.5, "q"), "q must be a number, got 'q'"),
        (lambda act: act.max_weight_norm("x"), "margin must be a number, got 'x'"),
    ],
)
def test_what_is_no_number_is_named(ask, message):
    with pytest.raises(ValueError, match=message):
        ask(activations.get("gelu"))


def test_numbers_of_numpy_and_jax_are_numbers():
    act = activations.get("gelu")
    np.testing.assert_array_equal(act.hermite(np.int64(3), jnp.float32(1)), act.hermite(3))
    assert act.dual(1) == act.dual(jnp.asarray([1.0]))[0]
