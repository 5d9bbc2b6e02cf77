"""The kernels of the infinitely wide DEQ against references, theorems and finite networks.

The reference values were computed independently of the package with 30-digit arithmetic.
"""

import json
import math
import re
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

import activations
from deqzoo.activation import gaussian
from deqzoo.theory import (
    HermiteSeries,
    Network,
    TheoryError,
    WideLimit,
    bounds,
    gram_bounds,
    hermite_series,
    kernel_regression,
    pairs,
    population_gram,
)
from deqzoo.theory.angle_table import tabulate
from deqzoo.theory.hermite import coefficient_table
from deqzoo.theory.inputs import as_inputs

REFERENCE = json.loads((Path(__file__).parent / "reference_values.json").read_text())
RECIPES = {
    "celu_0.5": "celu(alpha=0.5)",
    "squareplus_4": "squareplus(b=4.0)",
    "snake_1": "snake(frequency=1.0)",
}
S_W, S_U = 0.4, math.sqrt(2)
SLOW = pytest.mark.slow


def get(name):
    return activations.get(RECIPES.get(name, name))


def limit_of(name, s_w=S_W, **scales):
    return WideLimit(get(name), s_w, **scales)


def spherical(n, d, seed=0):
    """The inputs of the reference: columns of a d x n matrix, scaled to norm √d."""
    x = np.random.default_rng(seed).standard_normal((d, n))
    return (x / np.linalg.norm(x, axis=0) * math.sqrt(d)).T


def of_unequal_norms(n, d, seed=0):
    """A dozen norms; tests share shapes, since every new one is compiled again."""
    return spherical(n, d, seed) * np.resize(np.linspace(0.4, 1.8, 12), n)[:, None]


def signs(n, d=16, seed=0):
    """Different vectors of ±1; ‖x‖²/d = 1 to the last bit, so that one table serves all tests."""
    x = np.sign(np.random.default_rng(seed).standard_normal((2 * n, d)))
    return np.unique(x, axis=0)[:n]


def plane(*angles):
    """Inputs of norm √2 at these angles."""
    return math.sqrt(2) * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def all_parts(limit, x):
    """K, K_dot and C of inputs that fit one tile."""
    blocks = []
    limit.assemble(lambda block: blocks.append(block) or block.K, x)
    return blocks[0][:3]


def smallest(matrix):
    return np.linalg.eigvalsh(matrix)[0]


def off_diagonal(matrix):
    return matrix[~np.eye(len(matrix), dtype=bool)]


# Against the reference values.


def at_the_correlations_of(expected):
    """100 signs, then the same with a share of (1 - ρ)/2 of them turned: ρ is exact."""
    flipped = [round(50 * (1 - pair["rho"])) for pair in expected["pairs"]]
    return np.array([[-1.0] * k + [1.0] * (100 - k) for k in (0, *flipped)])


def assert_fixed_points_are(expected, limit, x):
    """The kernels of the first row with itself and with those that follow."""
    last = 1 + len(expected["pairs"])
    K, K_dot, C = all_parts(limit, x)
    adjoint, ntk = 1 / (1 - limit.s_w**2 * K_dot), limit.ntk(x)
    measured = {"C": C, "K": K, "K_dot": K_dot, "adjoint": adjoint, "ntk": ntk}
    for key, kernel in measured.items():
        wanted = [expected["q" if key == "C" else f"{key}_ii"]]
        wanted += [pair[key] for pair in expected["pairs"]]
        np.testing.assert_allclose(kernel[0, :last], wanted, rtol=1e-12, atol=1e-14, err_msg=key)


CLOSED = {"identity", "relu", "leaky_relu", "erf", "gelu", "sin", "cos", "gaussian", "snake_1"}


SERIES = {"softplus", "hard_tanh", "celu_0.5"}  # smooth, two kinks, a jump of φ''


def fixed_points(slow):
    """Tables are quick to make from closed duals, a few pairs are quick without."""
    names = REFERENCE["gram_fixed_points"]
    return [pytest.param(name, marks=SLOW if slow(name) else ()) for name in names]


ON_A_SPHERE = [
    case
    for case in fixed_points(slow=lambda name: name not in CLOSED | {"tanh"})
    if case.values != ("hard_tanh",)  # its table takes a minute; off a sphere it has none
]


@pytest.mark.parametrize("name", ON_A_SPHERE)
def test_fixed_points_on_a_sphere_equal_the_reference(name):
    expected = REFERENCE["gram_fixed_points"][name]
    assert_fixed_points_are(expected, limit_of(name), at_the_correlations_of(expected))


@pytest.mark.quick("softplus")
@pytest.mark.parametrize("name", fixed_points(slow=lambda name: name not in SERIES))
def test_fixed_points_off_a_sphere_equal_the_reference(name):
    """One input of another norm, and all pairs are solved one by one."""
    expected = REFERENCE["gram_fixed_points"][name]
    x = at_the_correlations_of(expected)
    assert_fixed_points_are(expected, limit_of(name), np.vstack([x, 1.1 * x[:1]]))


@pytest.mark.parametrize("name", REFERENCE["gram_fixed_points"])
def test_moments_of_the_features_equal_the_reference(name):
    expected, act = REFERENCE["gram_fixed_points"][name], get(name)
    mean = act.hermite(0, math.sqrt(expected["q"]))[0]
    assert mean == pytest.approx(expected["mean_phi"], rel=1e-12, abs=1e-14)
    assert expected["K_ii"] - mean**2 == pytest.approx(expected["var_phi"], rel=1e-12)


@pytest.mark.parametrize("name", REFERENCE["gram_unequal_norms"])
def test_unequal_norms_equal_the_reference(name):
    expected = REFERENCE["gram_unequal_norms"][name]
    (first, second), product = expected["norm2_over_d"], expected["rho_12"]
    along = product / math.sqrt(first)
    x = math.sqrt(2) * np.array([[math.sqrt(first), 0], [along, math.sqrt(second - along**2)]])
    limit = limit_of(name)
    K, K_dot, C = all_parts(limit, x)
    np.testing.assert_allclose(limit.variances(x).q, expected["q"], rtol=1e-13)
    np.testing.assert_allclose(
        [C[0, 1], K[0, 1], K_dot[0, 1]],
        [expected["C_12"], expected["K_12"], expected["K_dot_12"]],
        rtol=1e-12,
    )


@pytest.mark.parametrize("name", REFERENCE["population_bounds"])
def test_eigenvalues_and_bounds_equal_the_reference(name):
    expected, limit, x = REFERENCE["population_bounds"][name], limit_of(name), spherical(24, 8)
    found = gram_bounds(limit, x)
    assert found.r == expected["B2_r"]
    assert found.b4 is None
    for value, key in (
        (found.lambda_min, "lambda_min_K"),
        (found.lambda_max, "lambda_max_K"),
        (found.beta, "beta"),
        (smallest(limit.ntk(x)), "lambda_min_ntk"),
        (smallest(limit.ntk(x, width=10**10) / 10**10), "lambda_min_H_infinite"),
    ):
        assert value == pytest.approx(expected[key], rel=1e-8), key
    for value, key in ((found.b1, "B1"), (found.b2, "B2"), (found.b3, "B3")):
        if name == "relu":  # whose slow tail the reference drops near k = 200
            assert expected[key] <= value <= 1.002 * expected[key], key
        else:
            assert value == pytest.approx(expected[key], rel=1e-9, abs=2e-16), key


@pytest.mark.parametrize("d", [8, 32])
@pytest.mark.parametrize("name", REFERENCE["population_bounds"])
def test_bounds_for_full_rank_data_equal_the_reference(name, d):
    expected = REFERENCE["b4"][f"n=8,d={d}"][name]
    found = gram_bounds(limit_of(name), spherical(8, d, seed=1))
    assert found.b4 == pytest.approx(expected["B4"], rel=1e-12)
    assert found.lambda_min == pytest.approx(expected["lambda_min_K"], rel=1e-12)


# Second routes to the same kernels.


ROUTES = ["relu", "erf", "gelu", "sin", "cos", "tanh"]
SLOW_ROUTES = ["softplus", "softsign", "arctan", "elu", "hard_tanh"]


def test_the_error_of_a_table_is_relative_to_the_largest_value():
    def error(scale):
        return tabulate(lambda angles: scale * np.abs(angles[None] - 1)).error

    assert error(2.0**-40) == error(1.0) > 0
    assert error(0.0) == 0


@pytest.mark.parametrize("name", [*ROUTES, *(pytest.param(n, marks=SLOW) for n in SLOW_ROUTES)])
def test_tables_in_the_angle_agree_with_pair_by_pair_solutions(name):
    limit, inputs = limit_of(name), as_inputs(signs(20))
    variances = limit.variances(inputs.rows)
    table, defect = pairs.on_a_sphere(limit.activation, S_W, S_U, 1.0)
    each, other_defect = pairs.of_any_norm(limit.activation, S_W, S_U, variances.q)
    block = (inputs, variances)
    for one, two in zip(table(block, block), each(block, block), strict=True):
        np.testing.assert_allclose(off_diagonal(one), off_diagonal(two), rtol=0, atol=5e-15)
    assert max(defect.residual, other_defect.residual, defect.truncation) < 1e-14


@pytest.mark.parametrize("name", ["relu", "absolute"])
def test_kernels_of_homogeneous_activations_scale_with_the_norms(name):
    """K(Dx) = D K(x) D off the sphere, by the closed form, from K on it, by the table."""
    limit, x = limit_of(name), signs(12)
    norms = np.linspace(0.1, 3, 12)[:, None]
    np.testing.assert_allclose(
        limit.gram(norms * x), norms * limit.gram(x) * norms.T, rtol=1e-13, atol=1e-14
    )


@pytest.mark.quick("relu", "erf")
@pytest.mark.parametrize("name", ["relu", "erf", "sin", "gelu"])
def test_kernels_are_those_of_a_deep_untied_network(name):
    """40 layers that each see the input: weights need not be tied (Feng and Kolter)."""
    act, x = get(name), of_unequal_norms(12, 5)
    source = S_U**2 * (x @ x.T) / 5
    diagonal = np.diag_indices(12)
    K, K_dot, tangent = np.zeros((12, 12)), np.zeros((12, 12)), np.zeros((12, 12))
    for _ in range(40):
        C = S_W**2 * K + source
        tangent = C + S_W**2 * K_dot * tangent
        q = np.diag(C)
        arguments = C, *np.broadcast_arrays(q[:, None], q[None, :])
        with jax.enable_x64(True):
            K = np.array(act.dual_covariance(*map(jnp.asarray, arguments)))
            K_dot = np.array(act.dual_slope(*map(jnp.asarray, arguments)))
        for kernel, f in ((K, act.in_float64), (K_dot, act.slope_in_float64)):
            kernel[diagonal] = [
                gaussian.expectation(lambda u, f=f: f(u) ** 2, math.sqrt(v), act.kinks) for v in q
            ]
    limit = limit_of(name)
    np.testing.assert_allclose(limit.gram(x), K, rtol=0, atol=2e-14)
    np.testing.assert_allclose(limit.ntk(x), K + K_dot * tangent, rtol=0, atol=5e-14)


@pytest.mark.parametrize("name", ["relu", "tanh", "cos"])
def test_two_forms_of_the_tangent_kernel_agree(name):
    limit, x = limit_of(name, s_a=0.7), of_unequal_norms(12, 4)
    K, K_dot, C = all_parts(limit, x)
    other_form = 0.7**2 * (K + C * K_dot / (1 - S_W**2 * K_dot))
    np.testing.assert_allclose(limit.ntk(x), other_form, rtol=1e-13, atol=1e-15)


def test_the_covariance_of_outputs_carries_the_readout():
    x = of_unequal_norms(12, 4)
    np.testing.assert_allclose(
        limit_of("erf", s_a=0.3).nngp(x), 0.09 * limit_of("erf").gram(x), rtol=1e-15
    )


@pytest.mark.parametrize("x", [spherical(12, 4), of_unequal_norms(12, 4)])
def test_the_standard_tangent_kernel_keeps_the_share_of_the_input_layer(x):
    """H/m = K + (K + dρ/m) K_dot s_a²/(1 - s_w² K_dot) with d = 4, dρ = x·x'."""
    limit, width = limit_of("erf", s_a=0.7), 10
    K, K_dot, _ = all_parts(limit, x)
    adjoint = 0.49 / (1 - S_W**2 * K_dot)
    expected = K + (K + x @ x.T / width) * K_dot * adjoint
    np.testing.assert_allclose(limit.ntk(x, width=width) / width, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", ["tanh", "softplus", "sin"])
def test_without_recurrence_the_kernel_is_the_dual(name):
    x = spherical(6, 4)
    expected = get(name).dual(np.clip(x @ x.T / 4, -1, 1), 2.0)
    gram = limit_of(name, 0.0).gram(np.vstack([x, 1.1 * x[:1]]))[:6, :6]
    np.testing.assert_allclose(gram, expected, rtol=0, atol=5e-14)


# Hermite series.


GRID = np.linspace(-1, 1, 21)


@pytest.mark.parametrize("name", ["relu", "tanh", "hard_tanh", "softsign"])
def test_the_tail_bounds_what_the_series_leaves_out(name, x64):
    act, q = get(name), 1.3
    variances = np.full_like(GRID, q)
    dual = np.asarray(act.dual_covariance(GRID * q, variances, variances))
    slope = np.asarray(act.dual_slope(GRID * q, variances, variances))
    for degree in (10, 50, 200):
        series = hermite_series(act, q, degree)
        assert series.degree == degree
        for exact, measured, bound in (
            (dual, series.dual(GRID), series.error(GRID)),
            (slope, series.dual_slope(GRID), series.slope_error(GRID)),
        ):
            assert np.all(np.abs(exact - measured) <= bound + 2e-14)
            assert exact[-1] - measured[-1] == pytest.approx(bound[-1], abs=2e-14)  # sharp at 1


def test_the_bound_of_a_tail_of_one_term_is_the_term():
    """E uv = R and E 1 = 1 of the identity, of which a series of degree 0 has nothing."""
    series = HermiteSeries(q=1.0, coefficients=np.zeros(1), tail=1.0, slope_tail=1.0)
    np.testing.assert_array_equal(series.error(GRID), np.abs(GRID))
    np.testing.assert_array_equal(series.slope_error(GRID), 1)


@pytest.mark.parametrize("name", ["tanh", "erf", "gelu", "sin", "softplus", "gaussian"])
def test_the_series_is_as_long_as_it_needs_to_be(name):
    act, q = get(name), 2.0
    series = hermite_series(act, q)
    square = gaussian.expectation(lambda x: act.in_float64(x) ** 2, math.sqrt(q))
    terms = act.hermite(400, math.sqrt(q)) ** 2
    last = series.degree
    assert np.sum(terms[last + 1 :]) <= 1e-15 * square < np.sum(terms[last:])
    assert series.dual(1.0) == pytest.approx(square, rel=3e-15)
    assert series.tail <= 2e-15 * square


@pytest.mark.parametrize("name", ["relu", "hard_tanh", "gelu", "sin"])
def test_coefficients_of_many_variances_are_those_of_each(name):
    variances = np.array([1e-6, 0.3, 2.0, 400.0])
    table = coefficient_table(get(name), variances, 80)
    for row, q in zip(table, variances, strict=True):
        np.testing.assert_allclose(row, get(name).hermite(80, math.sqrt(q)), rtol=0, atol=1e-13)


# Bounds on the smallest eigenvalue.


BOUNDED = ["relu", "tanh", "gelu", "erf", "sin", "cos", "gaussian", "absolute"]


def assert_bounds_hold(found):
    rounding = 50 * np.finfo(float).eps * found.lambda_max
    assert max(found.b1, found.b2, found.b3, found.b4 or 0.0) <= found.lambda_min + rounding
    assert max(found.b1, found.b2) <= found.b3 + rounding
    assert min(found.b1, found.b2, found.b3) >= 0


@pytest.mark.parametrize("spread", [0.0, 1e-16, 1e-13, 2e-7, 4e-7, 8e-7, 3e-6, 1e-4, 1e-2])
@pytest.mark.parametrize("name", ["tanh", "relu", "softplus"])
def test_bounds_hold_at_any_spread_of_norms(name, spread):
    """Orthogonal inputs leave an odd φ no room: R = I, and B1 to B3 are λ_min itself."""
    x = 4 * np.eye(2, 16) * np.sqrt([[1.0], [1 + spread]])
    found = gram_bounds(limit_of(name), x)
    assert max(found.b1, found.b2, found.b3) <= found.lambda_min
    assert found.b3 > (0.99 if name == "tanh" else 0.5) * found.lambda_min


@pytest.mark.parametrize(("n", "rho"), [(2, -0.75), (2, 0.9375), (5, 0.5), (9, -0.125), (3, 0.998)])
def test_bounds_of_hadamard_powers_are_below_the_exact_eigenvalue(n, rho):
    """R with one ρ off the diagonal: λ_min(R^∘k) is 1 - ρ^k, or 1 + (n-1) ρ^k if that is less."""
    R = np.full((n, n), rho) + (1 - rho) * np.eye(n)
    r = Fraction(R[0, 1])
    for k, bound in enumerate(bounds._smallest_of_powers(R, 60).tolist()):
        exact = min(1 - r**k, 1 + (n - 1) * r**k) if n > 1 else 1
        assert Fraction(bound) <= exact
        assert bound == pytest.approx(float(exact), abs=1e-3 + 1e-13)


@pytest.mark.parametrize("make", [spherical, of_unequal_norms])
@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_are_below_the_smallest_eigenvalue(name, make):
    found = gram_bounds(limit_of(name), make(12, 4))
    assert_bounds_hold(found)
    assert found.b3 > (0.5 if make is spherical else 0.02) * found.lambda_min


@pytest.mark.parametrize("name", ["relu", "sin", "gelu", "cos", "absolute"])
def test_the_bound_for_full_rank_data_holds(name):
    found = gram_bounds(limit_of(name), spherical(8, 32, seed=2))
    assert_bounds_hold(found)
    assert found.b4 > 0.25 * found.lambda_min


def test_the_bound_for_full_rank_data_is_sharp_for_the_identity():
    found = gram_bounds(limit_of("identity"), spherical(8, 32, seed=2))
    assert found.b4 == pytest.approx(found.lambda_min, rel=1e-12)


@pytest.mark.parametrize("x", [of_unequal_norms(4, 8), spherical(9, 8)])
def test_the_bound_for_full_rank_data_needs_a_sphere_and_few_inputs(x):
    assert gram_bounds(limit_of("erf"), x).b4 is None


@pytest.mark.parametrize("make", [spherical, of_unequal_norms])
def test_many_inputs_are_bounded_by_fewer_decompositions(make, monkeypatch):
    x = make(135, 12)
    few = gram_bounds(limit_of("sin"), x)
    assert_bounds_hold(few)
    monkeypatch.setattr(bounds, "_EVERY", 1000)
    every = gram_bounds(limit_of("sin"), x)
    assert_bounds_hold(every)
    for a, b in ((few.b2, every.b2), (few.b3, every.b3)):
        assert 0.5 * b < a < b or a == pytest.approx(b, rel=1e-12)
    assert few.b3 < every.b3


def test_a_single_input_is_its_own_eigenvalue():
    found = gram_bounds(limit_of("relu"), np.ones((1, 4)))
    assert (found.beta, found.lambda_min) == (0, found.lambda_max)
    for value in (found.lambda_min, found.b1, found.b3):
        assert value == pytest.approx(1 / 0.92, rel=2e-12)


@pytest.mark.parametrize("name", ["relu", "tanh", "softplus"])
def test_the_tangent_kernel_is_bounded_by_the_gram_matrix(name):
    """Schur: λ_min(H/m) >= λ_* (1 + s_a² K_dot_ii/(1 - s_w² K_dot_ii)), least over i."""
    limit, x = limit_of(name, s_a=0.8), of_unequal_norms(12, 4)
    slope = limit.variances(x).slope_square
    factor = np.min(1 + 0.64 * slope / (1 - S_W**2 * slope))
    assert smallest(limit.ntk(x, width=50) / 50) >= factor * smallest(limit.gram(x)) > 0


# Existence.


@pytest.mark.parametrize(("name", "s_w"), [("relu", 1.0), ("erf", 0.9), ("snake_1", 0.5)])
def test_scales_beyond_the_contraction_are_refused(name, s_w):
    L = get(name).lipschitz
    with pytest.raises(TheoryError, match=rf"s_w L = {s_w * L:.6g} with L = {L:.6g}"):
        WideLimit(get(name), s_w)
    assert WideLimit(get(name), 0.999 / L).kernel_gain == pytest.approx(0.999)


@pytest.mark.parametrize("scales", [(-0.1, 1, 1), (0.1, 0, 1), (0.1, 1, -1), (math.nan, 1, 1)])
def test_impossible_scales_are_refused(scales):
    with pytest.raises(TheoryError, match="expected s_w >= 0, s_u > 0 and s_a >= 0"):
        WideLimit(get("tanh"), *scales)


def test_the_scales_of_ling():
    limit = WideLimit.from_ling(get("relu"), 0.08)
    assert (limit.s_w, limit.s_u, limit.s_a) == pytest.approx((0.4, math.sqrt(2), 1.0))
    with pytest.raises(TheoryError, match="sigma_w2"):
        WideLimit.from_ling(get("relu"), -0.1)


@pytest.mark.parametrize(
    ("name", "gain"),
    [("relu", 0.95), ("tanh", 0.4), ("erf", 0.95), ("cos", 0.8), ("softplus", 0.8)],
)
def test_the_scalar_iteration_contracts(name, gain):
    """p <- √(s_w² E φ(pZ)² + s_u²) with rate s_w L, towards the variance that is solved for."""
    act = get(name)
    s_w = gain / act.lipschitz

    def image(p):
        mean = gaussian.expectation(lambda x: act.in_float64(x) ** 2, p, act.kinks)
        return math.sqrt(s_w**2 * mean + S_U**2)

    for p in (0.1, 1.0, 10.0):
        once = image(p)
        assert abs(image(once) - once) <= gain * abs(once - p)
    found = WideLimit(act, s_w).variances(np.ones((1, 3)))
    assert found.q[0] == pytest.approx(image(math.sqrt(found.q[0])) ** 2, rel=1e-13)
    assert found.residual < 1e-13


@pytest.mark.parametrize("s_w", [0.0, 0.4, 0.99])
def test_the_linear_kernel(s_w):
    limit, x = limit_of("identity", s_w), of_unequal_norms(12, 5)
    np.testing.assert_allclose(limit.gram(x), 2 * x @ x.T / 5 / (1 - s_w**2), rtol=1e-12)


def test_an_affine_kernel_is_singular_beyond_the_dimension():
    found = gram_bounds(limit_of("identity"), of_unequal_norms(12, 5))
    assert abs(found.lambda_min) < 1e-13
    assert max(found.b1, found.b2, found.b3) < 1e-13


@pytest.mark.parametrize("name", ["relu", "tanh", "erf", "sin", "cos", "gelu"])
def test_antipodal_inputs_are_singular_for_odd_activations_only(name):
    """On the sphere, and where a fourth input leaves it."""
    x = signs(3)[[0, 0, 1, 2]] * np.array([[1.0], [-1.0], [1.0], [1.3]])
    for inputs in (x[:3], x):
        least = smallest(limit_of(name).gram(inputs))
        if name in ("tanh", "erf", "sin"):
            assert abs(least) < 1e-14
        else:
            assert least > 1e-4


@pytest.mark.parametrize("make", [signs, of_unequal_norms])
@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_duplicate_inputs_make_the_gram_matrix_singular(name, make):
    x = make(12, 16)
    x[7] = x[2]
    found = gram_bounds(limit_of(name), x)
    assert found.beta == pytest.approx(1, abs=1e-12)
    assert abs(found.lambda_min) < 1e-13
    assert max(found.b1, found.b2, found.b3) < 1e-13


# Inputs.


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_inputs_that_are_not_finite_are_named(bad):
    x = spherical(6, 4)
    x[3, 1] = x[5, 0] = bad
    for use in (limit_of("relu").gram, limit_of("relu").variances, limit_of("relu").ntk):
        with pytest.raises(TheoryError, match="2 of 6 inputs are not finite, the first is input 3"):
            use(x)


@pytest.mark.parametrize("x", [np.ones(3), np.ones((0, 3)), np.ones((3, 0)), 1.0])
def test_inputs_of_impossible_shape_are_refused(x):
    with pytest.raises(TheoryError, match=r"expected inputs of shape \(n, d\)"):
        limit_of("relu").gram(x)


def test_the_largest_norm_that_is_named_is_allowed():
    with pytest.raises(TheoryError, match="no kernel of norms above ") as refused:
        as_inputs([[1e71]])
    named = float(re.search(r"above (\S+):", str(refused.value))[1])
    assert as_inputs([[named]]).squares == named**2
    with pytest.raises(TheoryError, match="input 1 has a norm of"):
        as_inputs([[named], [math.nextafter(named, math.inf)]])


@pytest.mark.filterwarnings("error")
def test_a_norm_beyond_float64_is_refused_without_a_warning():
    with pytest.raises(TheoryError, match="input 1 has a norm of inf"):
        as_inputs([[1.0, 1.0], [1.7e308, 1.7e308]])


def test_inputs_of_two_dimensions_are_refused():
    with pytest.raises(TheoryError, match="must have one dimension, got 4 and 5"):
        limit_of("relu").gram(np.ones((2, 4)), np.ones((3, 5)))


@pytest.mark.parametrize("name", ["relu", "tanh", "erf"])
def test_a_zero_input_vanishes_where_phi_0_is_zero(name):
    limit, x = limit_of(name), of_unequal_norms(12, 4)
    whole, x[5] = limit.gram(x), 0
    for kernel in (limit.gram(x), limit.ntk(x)):
        assert not np.any(kernel[5])
        assert not np.any(kernel[:, 5])
        assert np.sum(np.linalg.eigvalsh(kernel) > 1e-6) == 11
    rest = np.ix_(np.arange(12) != 5, np.arange(12) != 5)
    np.testing.assert_allclose(limit.gram(x)[rest], whole[rest], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["cos", "softplus"])
def test_a_zero_input_has_a_kernel_where_phi_0_is_not_zero(name):
    """Its variance solves q = s_w² E φ(√q Z)²."""
    act, limit = get(name), limit_of(name)
    x = of_unequal_norms(12, 4)
    x[5] = 0

    def defect(q):
        mean = gaussian.expectation(lambda u: act.in_float64(u) ** 2, math.sqrt(q))
        return S_W**2 * mean - q

    q = optimize.brentq(defect, 1e-3, 1.0, xtol=1e-15)
    gram = limit.gram(x)
    assert gram[5, 5] == pytest.approx(q / S_W**2, rel=1e-12)
    assert smallest(gram) > 1e-4


@pytest.mark.parametrize("name", ["relu", "cos"])
def test_inputs_without_direction_are_all_alike(name):
    limit, x = limit_of(name), np.zeros((3, 4))
    gram = limit.gram(x)
    np.testing.assert_allclose(gram, gram[0, 0], rtol=0, atol=1e-15)
    assert gram[0, 0] == limit.variances(x).square[0]
    assert (gram[0, 0] > 0.5) == (name == "cos")


@pytest.mark.parametrize("name", ["relu", "cos"])
def test_bounds_refuse_a_zero_input(name):
    with pytest.raises(TheoryError, match="input 2 is zero"):
        gram_bounds(limit_of(name), np.array([[1.0, 2.0], [2.0, 1.0], [0.0, 0.0]]))


def test_images_are_their_pixels():
    images = np.random.default_rng(0).standard_normal((5, 8, 8, 1))
    flat, limit = images.reshape(5, 64), limit_of("gelu")
    np.testing.assert_array_equal(limit.gram(images), limit.gram(flat))
    np.testing.assert_array_equal(limit.ntk(images, flat), limit.ntk(flat, flat))
    assert gram_bounds(limit, images) == gram_bounds(limit, flat)


@pytest.mark.parametrize("make", [signs, of_unequal_norms])
@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_rectangular_blocks_are_parts_of_the_square_matrix(name, make):
    limit, x = limit_of(name), make(12, 16)
    for kernel in (limit.gram, limit.ntk):
        square = kernel(x)
        np.testing.assert_allclose(kernel(x[:5], x[5:]), square[:5, 5:], rtol=0, atol=1e-13)


@pytest.mark.parametrize("make", [signs, of_unequal_norms])
def test_more_inputs_than_a_tile_holds(make):
    limit, x = limit_of("relu"), make(530, 16)
    gram = limit.gram(x)
    np.testing.assert_array_equal(gram, gram.T)
    np.testing.assert_array_equal(np.diag(gram), limit.variances(x).square)
    sample = np.array([0, 1, 300, 511, 512, 529])
    np.testing.assert_allclose(gram[np.ix_(sample, sample)], limit.gram(x[sample]), atol=2e-14)


@pytest.mark.parametrize("make", [signs, of_unequal_norms])
@pytest.mark.parametrize("name", ["erf", "tanh"])
def test_small_tiles_make_the_same_matrices(name, make, monkeypatch):
    limit, x = limit_of(name), make(12, 16)
    whole, rectangle = limit.ntk(x), limit.ntk(x[:5], x[5:])
    monkeypatch.setattr("deqzoo.theory.limit._TILE", 5)
    tiled = limit.ntk(x)
    np.testing.assert_array_equal(tiled, tiled.T)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-14)
    np.testing.assert_allclose(limit.ntk(x[:5], x[5:]), rectangle, rtol=0, atol=1e-14)


def test_kernels_are_float64_whatever_the_flag():
    assert not jax.config.jax_enable_x64
    for name, x in (("erf", of_unequal_norms(12, 4)), ("tanh", signs(12))):
        limit = limit_of(name)
        kernels = [limit.gram(x), limit.ntk(x), limit.variances(x).q]
        assert all(kernel.dtype == np.float64 for kernel in kernels)
        with jax.enable_x64(True):
            np.testing.assert_array_equal(limit.ntk(x), kernels[1])


@pytest.mark.parametrize("name", ["relu", "softplus"])
def test_float32_inputs_keep_the_norms_they_have(name):
    """Norms that differ by 1e-7 are not taken for one: every K_ii is that of its own norm."""
    limit, x = limit_of(name), spherical(6, 4).astype(np.float32)
    gram = limit.gram(x)
    for row, value in zip(x.astype(float), np.diag(gram), strict=True):
        assert value == pytest.approx(limit.gram(row[None])[0, 0], rel=1e-14)
    assert 1e-8 < np.ptp(np.diag(gram)) < 1e-6
    exact = np.sum(np.square(x.astype(float)), axis=1) / 4 / 0.92
    if name == "relu":
        np.testing.assert_allclose(np.diag(gram), exact, rtol=1e-13)


def test_the_default_scale_makes_every_gain_the_same():
    x = spherical(4, 3)
    for name in ("relu", "erf"):
        expected = WideLimit(get(name), 0.4 / get(name).lipschitz).gram(x)
        np.testing.assert_array_equal(population_gram(get(name), x), expected)


# Nearly parallel inputs.


@pytest.mark.parametrize("theta", [1e-2, 1e-3, 1e-5, 1e-7])
def test_nearly_parallel_inputs_keep_their_digits(theta):
    """The rectifier, whose covariance angle ψ solves an equation without cancellation."""
    q = 2 / 0.92

    def gap(psi):
        """E φ(u)² - E φ(u)φ(v) at the angle ψ: ½q(1 - cos ψ) - q(sin ψ - ψ cos ψ)/2π."""
        cubic = psi**3 / 3 - psi**5 / 30 + psi**7 / 840  # sin ψ - ψ cos ψ
        return q * (math.sin(psi / 2) ** 2 - cubic / (2 * math.pi))

    def defect(psi):
        apart = 2 * q * math.sin(psi / 2) ** 2 - S_W**2 * gap(psi)
        return apart - 2 * S_U**2 * math.sin(theta / 2) ** 2

    psi = optimize.brentq(defect, theta / 2, 2 * theta, xtol=1e-22, rtol=1e-14)
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0][:2]
    x = math.sqrt(3) * plane(0, theta) @ rotation
    K, K_dot, _ = all_parts(limit_of("relu"), x)
    ulp = np.finfo(float).eps
    assert K[0, 0] - K[0, 1] == pytest.approx(gap(psi), rel=1e-9, abs=3 * ulp)
    assert K_dot[0, 0] - K_dot[0, 1] == pytest.approx(psi / 2 / math.pi, rel=1e-8, abs=3 * ulp)


# Finite networks.


def draw(name, width, inputs, outputs=1, *, seed=0, gain=S_W):
    act = get(name)
    scales = {"s_w": gain / act.lipschitz, "s_u": S_U, "s_a": 1.0}
    return Network.draw(act, width, inputs, outputs, **scales, seed=seed)


def unrolled(act, weights, x):
    W, U, a = weights
    start = jnp.zeros((len(x), len(W)))
    Z, _ = jax.lax.scan(lambda Z, _: (act(Z @ W.T + x @ U.T), None), start, length=100)
    return Z @ a.T


def jacobian(net, x):
    weights = (net.W, net.U, net.a)
    parts = jax.jit(jax.jacrev(lambda w: unrolled(net.activation, w, x).ravel()))(weights)
    return np.concatenate([np.asarray(part).reshape(part.shape[0], -1) for part in parts], axis=1)


@pytest.mark.parametrize(("name", "outputs"), [("tanh", 1), ("gelu", 2), ("sin", 2)])
def test_the_tangent_kernel_is_that_of_an_unrolled_network(name, outputs, x64):
    net = draw(name, 20, 3, outputs, gain=0.3)
    x, other = of_unequal_norms(5, 3), of_unequal_norms(5, 3, seed=1)
    J, J_other = jacobian(net, x), jacobian(net, other)
    for measured, exact in (
        (net.tangent_kernel(x), J @ J.T),
        (net.tangent_kernel(x, other), J @ J_other.T),
    ):
        np.testing.assert_allclose(measured, exact, rtol=0, atol=1e-12 * np.max(np.abs(exact)))


@pytest.mark.parametrize("name", ["tanh"])
def test_the_gradient_is_measured_by_the_tangent_kernel(name, x64):
    """‖∇Φ‖² = rᵀHr, and the Polyak-Łojasiewicz inequality ‖∇Φ‖² >= 2 λ_min(G) Φ."""
    net, x = draw(name, 20, 3, 2, gain=0.3), of_unequal_norms(5, 3)
    y = np.random.default_rng(1).standard_normal((5, 2))

    def loss(weights):
        return jnp.sum(jnp.square(unrolled(net.activation, weights, x) - y)) / 2

    gradients = jax.grad(loss)((net.W, net.U, net.a))
    square = sum(float(jnp.sum(jnp.square(part))) for part in gradients)
    r = (net.outputs(x) - y).ravel()
    assert r @ net.tangent_kernel(x) @ r == pytest.approx(square, rel=1e-12)
    assert square >= smallest(net.gram(x)) * (r @ r)


def test_the_equilibrium_solves_its_equation():
    net, x = draw("gelu", 30, 4), of_unequal_norms(6, 4)
    Z, stats = net.equilibrium(x)
    assert Z.dtype == np.float64
    assert stats.fraction_converged == 1
    image = net.activation.in_float64(Z @ net.W.T + x @ net.U.T)
    residual = np.linalg.norm(Z - image, axis=1) / np.linalg.norm(image, axis=1)
    assert np.all(residual < 2e-14)
    np.testing.assert_array_equal(net.gram(x), Z @ Z.T)
    np.testing.assert_array_equal(net.outputs(x), Z @ net.a.T)
    np.testing.assert_array_equal(net.gram(x.reshape(6, 2, 2)), net.gram(x))


def test_draws_have_their_scales_and_their_seeds():
    net = Network.draw(get("relu"), 300, 200, 150, s_w=0.3, s_u=1.5, s_a=0.7, seed=5)
    assert net.width == 300
    for weight, deviation in (
        (net.W, 0.3 / math.sqrt(300)),
        (net.U, 1.5 / math.sqrt(200)),
        (net.a, 0.7 / math.sqrt(300)),
    ):
        assert np.std(weight) == pytest.approx(deviation, rel=0.02)
    again = Network.draw(
        get("relu"), 300, 200, 150, s_w=0.3, s_u=1.5, s_a=0.7, seed=np.random.default_rng(5)
    )
    np.testing.assert_array_equal(again.W, net.W)
    np.testing.assert_array_equal(again.a, net.a)


def test_weights_that_do_not_fit_are_refused():
    W, U, a = np.zeros((3, 3)), np.zeros((3, 2)), np.zeros((1, 3))
    for wrong in ((W[:2], U, a), (W, U[:2], a), (W, U, a[:, :2])):
        with pytest.raises(TheoryError, match=r"expected W \(m, m\), U \(m, d\) and a \(k, m\)"):
            Network(get("relu"), *wrong)


def errors_of_draws(limit, x, width, seeds):
    """Root mean squares, times √m, of G/m - K and H/m - Θ over draws."""
    K, theta = limit.gram(x), limit.ntk(x, width=width) / width
    squares = []
    for seed in seeds:
        scales = {"s_w": limit.s_w, "s_u": limit.s_u, "s_a": limit.s_a}
        net = Network.draw(limit.activation, width, x.shape[1], **scales, seed=seed)
        errors = net.gram(x) / width - K, net.tangent_kernel(x) / width - theta
        squares.append([np.mean(np.square(error)) for error in errors])
    return np.sqrt(width * np.mean(squares, axis=0))


def expected_at(*widths):
    return [
        pytest.param(row, id=f"{row['activation']}-{row['width']}", marks=marks)
        for row in REFERENCE["finite_width_expected"]
        for marks in (SLOW if row["width"] > 256 else (),)
        if row["width"] in widths
    ]


@pytest.mark.slow
@pytest.mark.parametrize("row", expected_at(256, 1024))
def test_finite_networks_err_as_much_as_the_reference(row):
    """The draws of the reference, hence its digits; other seeds scatter by a third."""
    width = row["width"]
    seeds = [1000 * width + s for s in range(row["seeds"])]
    measured = errors_of_draws(limit_of(row["activation"]), spherical(24, 8), width, seeds)
    wanted = [row[f"{kernel}_rms_error_times_sqrt_width"] for kernel in ("gram", "ntk")]
    np.testing.assert_allclose(measured, wanted, rtol=1e-3)


def assert_errors_shrink_with_the_root_of_the_width(name, x, widths, draws):
    limit = WideLimit(get(name), S_W / get(name).lipschitz)
    narrow, wide = (
        errors_of_draws(limit, x, width, [7000 + 10 * width + s for s in range(draws)])
        for width in widths
    )
    assert np.all((wide / narrow > 1 / 1.5) & (wide / narrow < 1.5)), (narrow, wide)


CONVERGING = ["relu", "tanh", "gelu", "erf", "sin", "cos", "softplus"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["relu", "cos"])
def test_finite_networks_converge_to_the_limit(name):
    x = of_unequal_norms(12, 5)
    assert_errors_shrink_with_the_root_of_the_width(name, x, (64, 512), draws=6)


@SLOW
@pytest.mark.parametrize("make", [spherical, of_unequal_norms])
@pytest.mark.parametrize("name", CONVERGING)
def test_wide_networks_converge_to_the_limit(name, make):
    assert_errors_shrink_with_the_root_of_the_width(name, make(24, 8), (128, 1024), draws=4)


# Kernel regression.


def regression_data(n=8, d=4, k=2):
    rng = np.random.default_rng(3)
    return spherical(n, d), rng.standard_normal((n, k)), spherical(5, d, seed=4)


KERNELS = ("nngp", "ntk")


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_mean_solves_the_normal_equations(kernel):
    x, y, test = regression_data()
    limit = limit_of("erf", s_a=0.7)
    fit = kernel_regression(limit, x, y, test, kernel=kernel, noise=1e-3)
    train = getattr(limit, kernel)(x)
    assert fit.noise == pytest.approx(1e-3 * np.mean(np.diag(train)))
    noisy = train + fit.noise * np.eye(8)
    exact = getattr(limit, kernel)(test, x) @ np.linalg.solve(noisy, y)
    np.testing.assert_allclose(fit.mean, exact, rtol=1e-10, atol=1e-12)
    for column in range(2):
        alone = kernel_regression(limit, x, y[:, column], test, kernel=kernel, noise=1e-3)
        np.testing.assert_allclose(alone.mean[:, 0], fit.mean[:, column], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(alone.variance, fit.variance)


@pytest.mark.parametrize("kernel", KERNELS)
def test_off_a_sphere_the_noise_is_a_share_of_the_mean_diagonal(kernel):
    x, y, test = regression_data()
    x, limit = x * np.linspace(0.3, 3, 8)[:, None], limit_of("erf", s_a=0.7)
    diagonal = [float(getattr(limit, kernel)(row[None])[0, 0]) for row in x]
    fit = kernel_regression(limit, x, y, test, kernel=kernel, noise=1e-3)
    assert fit.noise == pytest.approx(1e-3 * sum(diagonal) / 8, rel=1e-12)


@pytest.mark.parametrize("name", ["relu", "tanh"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_training_targets_are_interpolated(name, kernel):
    x, y, _ = regression_data()
    fit = kernel_regression(limit_of(name), x, y, x, kernel=kernel, noise=1e-12)
    np.testing.assert_allclose(fit.mean, y, rtol=0, atol=1e-9)
    assert np.all(fit.variance < 1e-10)


def test_the_posterior_variance_lies_between_nothing_and_the_prior():
    limit, (x, y, test) = limit_of("gelu"), regression_data()
    x, test = x * np.linspace(0.5, 1.5, 8)[:, None], test * 1.2
    prior = limit.variances(test).square
    fit = kernel_regression(limit, x, y, test, kernel="nngp", noise=1e-3)
    fewer = kernel_regression(limit, x[:5], y[:5], test, kernel="nngp", noise=1e-3)
    rounding = 1e-3 * prior
    assert np.all((fit.variance > 0) & (fit.variance < prior))
    assert np.all(fit.variance <= fewer.variance + rounding)
    at_data = kernel_regression(limit, x, y, x, kernel="nngp", noise=1e-3)
    assert np.all(at_data.variance <= at_data.noise)


@pytest.mark.parametrize("kernel", KERNELS)
def test_odd_activations_learn_nothing_about_orthogonal_inputs(kernel):
    limit = limit_of("erf", s_a=0.7)
    x, test = np.eye(6)[:4] + np.eye(6)[3], np.eye(6)[4:] * [[1.0], [2.0]]
    fit = kernel_regression(limit, x, np.ones(4), test, kernel=kernel)
    np.testing.assert_allclose(fit.mean, 0, atol=1e-12)
    np.testing.assert_allclose(fit.variance, 0.49 * limit.variances(test).square, rtol=1e-9)


def test_the_variance_of_gradient_descent_is_that_of_its_random_start():
    """f(x_*) - A f(x) with f drawn from the prior, A = Θ_* (Θ + σ²)⁻¹."""
    limit, (x, y, test) = limit_of("erf", s_a=0.7), regression_data()
    fit = kernel_regression(limit, x, y, test, noise=1e-2)
    weights = limit.ntk(test, x) @ np.linalg.inv(limit.ntk(x) + fit.noise * np.eye(8))
    contrast = np.hstack([np.eye(5), -weights])
    prior = limit.nngp(np.vstack([test, x]))
    np.testing.assert_allclose(fit.variance, np.diag(contrast @ prior @ contrast.T), rtol=1e-9)
    assert math.isnan(fit.log_evidence)


def test_the_evidence_is_the_density_of_the_targets():
    limit, (x, y, test) = limit_of("gelu", s_a=0.7), regression_data()
    fit = kernel_regression(limit, x, y, test, kernel="nngp", noise=1e-2)
    covariance = limit.nngp(x) + fit.noise * np.eye(8)
    exact = np.sum(stats.multivariate_normal.logpdf(y.T, np.zeros(8), covariance))
    assert fit.log_evidence == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": "rbf"}, "kernel must be one of nngp, ntk; got 'rbf'"),
        ({"noise": 0.0}, "noise must be positive"),
        ({"noise": math.nan}, "noise must be positive"),
        ({"limit": limit_of("relu", s_a=0.0)}, "s_a > 0"),
        ({"y": np.ones(7)}, r"for 8 inputs, got shape \(7, 1\)"),
        ({"y": np.full(8, math.nan)}, "expected finite targets"),
        ({"x_test": np.ones((2, 3))}, "must have one dimension, got 3 and 4"),
    ],
)
def test_impossible_regressions_are_refused(change, message):
    x, y, test = regression_data()
    arguments = {"limit": limit_of("relu"), "x": x, "y": y, "x_test": test, **change}
    with pytest.raises(TheoryError, match=message):
        kernel_regression(**arguments)


@pytest.mark.parametrize("kernel", KERNELS)
def test_duplicates_without_noise_are_refused(kernel):
    x, y, test = regression_data()
    with pytest.raises(TheoryError, match=f"the {kernel} kernel .* remove duplicate inputs"):
        kernel_regression(
            limit_of("relu"),
            np.tile(x, (4, 1)),
            np.tile(y, (4, 1)),
            test,
            kernel=kernel,
            noise=1e-30,
        )


@pytest.mark.parametrize("name", ["hard_tanh", "tanh"])
def test_parallel_inputs_off_a_sphere_have_exact_kernels(name):
    """Where the Hermite series of a function with kinks gives up, pairs are solved one by one."""
    x = np.random.default_rng(0).standard_normal((6, 3))
    limit = limit_of(name)
    rectangular, defect = limit.assemble(lambda block: block.K_dot, x, x.copy())
    square, _ = limit.assemble(lambda block: block.K_dot, x)
    np.testing.assert_allclose(rectangular, square, atol=1e-13)
    assert defect.truncation < 1e-11
    twice = np.vstack([x, x[:1]])
    assert abs(np.linalg.eigvalsh(limit.gram(twice))[0]) < 1e-13


def test_pairs_that_are_too_many_to_solve_exactly_are_reported(monkeypatch):
    x = np.random.default_rng(0).standard_normal((6, 3))
    monkeypatch.setattr("deqzoo.theory.pairs._EXACT_ENTRIES", 3)
    limit = limit_of("hard_tanh")
    rectangular, defect = limit.assemble(lambda block: block.K_dot, x, x.copy())
    error = np.abs(rectangular - limit.assemble(lambda block: block.K_dot, x)[0]).max()
    assert 1e-3 < error <= defect.truncation


def test_the_truncation_bounds_the_error_near_the_edge_of_existence(monkeypatch):
    """s_w L = 0.97, where an error of the dual grows (1 - 0.97²)⁻¹ times into K."""
    x = np.random.default_rng(0).standard_normal((6, 3))
    limit = limit_of("hard_tanh", 0.97)
    exact, _ = limit.assemble(lambda block: block.K, x)
    monkeypatch.setattr("deqzoo.theory.pairs._EXACT_ENTRIES", 3)
    series, defect = limit.assemble(lambda block: block.K, x, x.copy())
    error = np.abs(series - exact).max() / limit.variances(x).q.max()
    assert 1e-9 < error <= defect.truncation


def test_what_the_dual_leaves_out_counts_as_often_as_the_recursion_repeats_it(monkeypatch):
    """1 + c + c² + ... = 1/(1 - c) times, c = (s_w L)², in parts of the largest variance."""
    x = np.random.default_rng(0).standard_normal((6, 3))
    limit = limit_of("hard_tanh", 0.97)
    monkeypatch.setattr("deqzoo.theory.pairs._EXACT_ENTRIES", 0)
    monkeypatch.setattr("deqzoo.theory.pairs._left_out", lambda R, *_: np.ones_like(R))
    _, defect = limit.assemble(lambda block: block.K, x, x.copy())
    expected = sum(0.97 ** (2 * k) for k in range(1000)) / limit.variances(x).q.max()
    assert defect.truncation == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_a_sphere_of_any_radius_agrees_with_pair_by_pair_solutions(name):
    """‖x‖²/d = 1.23456789, through the table and, beside an input of another norm, without it."""
    x, limit = math.sqrt(1.23456789) * signs(6), limit_of(name)
    mixed = limit.gram(np.vstack([x, 2 * x[:1]]))[:6, :6]
    np.testing.assert_allclose(limit.gram(x), mixed, rtol=0, atol=2e-14)


def test_a_zero_input_has_the_slope_of_the_origin():
    """E φ'(0) φ'(v), on the route by series as on the closed one."""
    x = np.array([[1.0, 2.0], [0.0, 0.0], [2.0, -1.0]])
    for name in ("tanh", "erf"):
        limit = limit_of(name)
        K_dot, _ = limit.assemble(lambda block: block.K_dot, x)
        origin = float(limit.activation.slope_in_float64(0.0))
        q = limit.variances(x).q
        for j in (0, 2):
            mean = gaussian.expectation(limit.activation.slope_in_float64, float(np.sqrt(q[j])))
            assert K_dot[1, j] == pytest.approx(origin * mean, rel=1e-12)


@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
def test_duplicates_are_refused_at_any_noise_below_rounding(kernel):
    x = np.tile(np.random.default_rng(2).standard_normal((8, 4)), (2, 1))
    for noise in (1e-17, 1e-16, 1e-15):
        with pytest.raises(ValueError, match="remove duplicate inputs or raise the noise"):
            kernel_regression(
                limit_of("relu"), x, np.arange(16.0), x[:2], kernel=kernel, noise=noise
            )
