"""An activation in straight pieces: nowhere steeper, as near as is said, a plug-in as a file."""

import numpy as np
import pytest

import activations
import launch.distill
from deqzoo import catalog
from deqzoo.activation.piecewise_linear import PiecewiseLinear
from deqzoo.splines import (
    distill,
    equilibrium_error,
    largest_weight,
    min_knots,
    regression,
    sparsest,
)
from deqzoo.splines.sup_error import sup_error
from launch._command import UsageError
from launch.distill import DistillConfig

# Of a spline of 8, 16 and 32 knots on [-4, 4], found once with other code.
EXPECTED = {"tanh": (0.0183, 0.0049, 0.0013), "gelu": (0.0143, 0.0037, 0.0010)}
BENT = ["tanh", "softplus", "hard_silu", "selu", "softsign", "mish", "gaussian", "elu(alpha=0.7)"]


@pytest.fixture(scope="module")
def gelu():
    return distill(activations.get("gelu"), 9)


def gap(found, x):
    return np.abs(found.of.in_float64(x) - found.spline.in_float64(x))


def is_kept(found):
    """The bound holds at random points and is not idle; the slopes are among those of φ."""
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [6 * rng.standard_normal(100_000), rng.uniform(found.where[0], found.where[1], 100_000)]
    )
    x = x[(found.where[0] <= x) & (x <= found.where[1])]
    low, high = found.of.slope
    assert low <= min(found.spline.slopes) <= max(found.spline.slopes) <= high
    assert 0.98 * found.error - 2e-9 <= np.max(gap(found, x)) <= found.error


def test_it_is_nowhere_steeper_and_as_near_as_proved(gelu):
    assert len(gelu.spline.kinks) == 9
    is_kept(gelu)
    assert np.max(gap(gelu, np.array([-1e7, -2e3, 2e3, 1e7]))) <= gelu.tail


@pytest.mark.slow
@pytest.mark.parametrize("recipe", BENT)
def test_every_activation_with_asymptotes_has_one(recipe):
    found = distill(activations.get(recipe), 9)
    assert len(found.spline.kinks) <= 9
    assert found.tail < 1.1 * found.error
    is_kept(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_the_error_falls_with_the_square_of_the_knots(name):
    found = [distill(activations.get(name), knots, (-4.0, 4.0)).error for knots in (8, 16, 32)]
    np.testing.assert_allclose(found, EXPECTED[name], rtol=0.04)
    assert 3.4 < found[0] / found[1] < 4.2
    assert 3.4 < found[1] / found[2] < 4.2


@pytest.mark.parametrize(("name", "knots"), [("relu", 1), ("hard_tanh", 2), ("absolute", 1)])
def test_what_is_straight_is_found_exactly(name, knots):
    found = distill(activations.get(name), 7)
    assert len(found.spline.kinks) == knots
    assert found.error < 2e-9  # rounding at |x| = 1000


@pytest.mark.quick("None-0")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("interval", [None, (-3.2, 3.4)])
def test_knots_of_a_spline_are_left_out_where_it_loses_least(seed, interval):
    """The error is exact, the slopes are among means of its own, no second choice is better."""
    rng, grid = np.random.default_rng(seed), np.linspace(-3, 3, 13)
    phi = PiecewiseLinear(tuple(grid.tolist()), tuple(rng.uniform(-0.5, 1, 14).tolist()))
    found = distill(phi, 9, interval)
    x = np.linspace(*(interval or (-9.0, 9.0)), 10_001)
    measured = np.max(gap(found, np.union1d(x, grid[(grid > x[0]) & (grid < x[-1])])))
    assert len(found.spline.kinks) == 9
    assert found.error == pytest.approx(measured, abs=1e-8)
    assert phi.slope[0] <= found.spline.slope[0] <= found.spline.slope[1] <= phi.slope[1]
    assert found.error <= distill(phi, 8, interval).error
    assert distill(phi, 13, interval).error < 2e-9


def test_the_bound_sees_between_the_points():
    """The error at the points alone is too small by what a cell of sup_error can hide."""
    tanh = activations.get("tanh")
    found = distill(tanh, 3, (-1.0, 1.0))
    coarse = np.max(gap(found, np.linspace(-1, 1, 5)))
    assert sup_error(tanh, found.spline, (-1.0, 1.0)) > 1.01 * coarse


@pytest.mark.parametrize(
    ("recipe", "knots", "interval", "message"),
    [
        ("sin", 9, None, "approaches no line: .* give an interval"),
        ("identity", 9, None, "is a line"),
        ("prelu", 9, None, "is learnable: freeze it"),
        ("hard_silu", 3, None, "expected at least 4 knots"),
        ("tanh", 1, None, "knots must be"),
        ("tanh", 9, (1.0, -1.0), "expected an interval in"),
    ],
)
def test_what_cannot_be_done_is_refused(recipe, knots, interval, message):
    with pytest.raises(ValueError, match=message):
        distill(activations.get(recipe), knots, interval)


@pytest.mark.parametrize("seed", range(5))
def test_the_equilibrium_moves_no_further_than_is_said(gelu, seed):
    rng, m = np.random.default_rng(seed), 16
    w = rng.standard_normal((m, m))
    w *= 0.7 / gelu.of.lipschitz / np.linalg.norm(w, 2)
    u = 2 * rng.standard_normal(m)

    def equilibrium(act):
        z = np.zeros(m)
        for _ in range(120):
            z = act.in_float64(w @ z + u)
        return z

    moved = np.linalg.norm(equilibrium(gelu.of) - equilibrium(gelu.spline))
    norm = float(np.linalg.norm(w, 2))
    bound = equilibrium_error(gelu.error, m, norm, gelu.spline.lipschitz)
    assert 0.01 * bound < moved <= bound
    with pytest.raises(ValueError, match="the map does not contract"):
        equilibrium_error(gelu.error, m, 1.2, gelu.of.lipschitz)


# Interpolants.


def instance(seed):
    """Noise, a rounded corner with an outlier, or a function of three knots."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-1, 1, int(rng.integers(3, 40))))
    kinds = (
        rng.standard_normal(len(x)),
        2 * np.abs(x) + 0.05 * rng.standard_normal(len(x)),
        np.maximum(x, 0) + np.maximum(x - 0.3, 0) - 0.5 * np.maximum(x + 0.4, 0),
    )
    z = kinds[seed % 3].copy()
    z[len(x) // 2] += 5 * (seed % 2)
    return x, z


@pytest.mark.parametrize("seed", range(50))
def test_the_sparsest_interpolant_has_as_few_knots_as_any(seed):
    x, z = instance(seed)
    slopes = np.diff(z) / np.diff(x)
    steepest = np.max(np.abs(slopes))
    found = sparsest(x, z)
    np.testing.assert_allclose(found.in_float64(x), z, atol=1e-9)
    assert found.lipschitz <= steepest
    variation = np.sum(np.abs(np.diff(found.slopes)))
    np.testing.assert_allclose(variation, np.sum(np.abs(np.diff(slopes))), rtol=1e-9)
    assert len(found.knots) == min_knots(x, z, steepest) == min_knots(x, z)


def test_points_that_have_no_interpolant_are_refused():
    x, z = np.arange(4.0), np.array([0.0, 1.0, 0.0, 1.0])
    assert min_knots(x, z, 1.0) == 2
    assert min_knots(x, x) == 0
    with pytest.raises(ValueError, match="no such interpolant exists"):
        min_knots(x, z, 0.5)
    with pytest.raises(ValueError, match="expected at least two points"):
        sparsest([0.0, 0.0], [1.0, 2.0])


# Regression.


def noisy(seed):
    """60 points about a function of three knots and steepest slope 2.2, with an outlier."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-1, 1, 60))
    y = 1.5 * np.maximum(x + 0.5, 0) - 3 * np.maximum(x, 0) + 3.7 * np.maximum(x - 0.4, 0)
    y += 0.05 * rng.standard_normal(60)
    y[30] += 1
    return x, y


@pytest.mark.quick("0.02-2.2-0", "0.2-2.2-0")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("weight", "bound"), [(0.02, np.inf), (0.02, 2.2), (0.2, 2.2), (0.02, 1)])
def test_the_regression_is_optimal_and_has_as_few_knots_as_its_values_allow(weight, bound, seed):
    x, y = noisy(seed)
    found = regression(x, y, weight, bound)
    assert found.optimality < 1e-8
    assert found.spline.lipschitz <= bound + 1e-8
    np.testing.assert_allclose(found.spline.in_float64(x), found.values, atol=1e-8)
    assert len(found.spline.knots) == min_knots(x, found.spline.in_float64(x))

    def objective(z):
        return np.sum((z - y) ** 2) / 2 + weight * np.sum(np.abs(np.diff(np.diff(z) / np.diff(x))))

    rng, line = np.random.default_rng(seed), np.polyval(np.polyfit(x, y, 1), x)
    least = objective(found.values)
    for way in (line - found.values, np.sin(3 * x), *rng.standard_normal((3, 60))):
        for size in (1e-2, 1e-5, -1e-5):
            z = found.values + size * way
            if np.all(np.abs(np.diff(z) / np.diff(x)) <= bound):
                assert objective(z) >= least - 1e-9


@pytest.mark.quick("0")
@pytest.mark.parametrize("seed", range(3))
def test_from_the_largest_weight_on_it_is_a_line(seed):
    x, y = noisy(seed)
    weight = largest_weight(x, y)
    assert len(regression(x, y, 1.01 * weight).spline.knots) == 0
    assert len(regression(x, y, 0.98 * weight).spline.knots) > 0


# The command.


@pytest.mark.slow
def test_the_file_is_a_plug_in_that_declares_what_is_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert launch.distill.write(DistillConfig(knots=7, output="made_here.py")) == 0
    assert "7 knots: |φ - s| <= 0.0196" in capsys.readouterr().out
    assert (tmp_path / "made_here.png").stat().st_size > 5000
    try:
        catalog.import_plugin("made_here")
        made = activations.get("made_here")
        assert not activations.check(made).wrong
        assert len(made.kinks) == 7
    finally:
        catalog.activations._registered.pop("made_here", None)
    (tmp_path / "mine.py").write_text("x = 1\n")
    with pytest.raises(UsageError, match="exists and is no plug-in of launch.distill"):
        launch.distill.write(DistillConfig(output="mine.py"))


@pytest.mark.parametrize("output", ["gelu", "a-b.py", "1.py"])
def test_a_file_that_python_cannot_import_is_refused(output):
    with pytest.raises(UsageError, match=r"such as my_gelu\.py"):
        DistillConfig(output=output)
