"""The learned spline keeps its slopes whatever is learned; its variation can be a penalty."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import activations
import deqzoo
from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.activation.piecewise_linear import PiecewiseLinear
from deqzoo.nn import DEQ, MonotoneCell, Nonlinearity
from deqzoo.nn.nonlinearity import learned_activations
from deqzoo.settings import SettingError
from deqzoo.training import TrainConfig, Training, train

WIDE = "linear_spline(low=-0.5, high=1.5, size=7, reach=3.0, init='tanh')"
GRID = np.linspace(-3, 3, 7)


def coefficients(act, size, seed=0):
    drawn = size * np.random.default_rng(seed).standard_normal(len(act.start))
    return dict(zip(act.start, drawn, strict=True))


def of_paper(c, low, high):
    """Slope clipping as the code of the paper's group has it, on a grid of spacing 1."""
    walked = np.append(0.0, np.cumsum(np.clip(np.diff(c), low, high)))
    return walked + np.mean(c - walked)


@pytest.mark.parametrize("size", [0.1, 1.0, 30.0])
def test_it_is_the_projected_coefficients_joined_by_lines(x64, size):
    act = activations.get(WIDE)
    learned = coefficients(act, size)
    c = of_paper(np.array([*learned.values()]), -0.5, 1.5)
    x = np.linspace(-3, 3, 61)
    np.testing.assert_allclose(act.evaluate(learned, x), np.interp(x, GRID, c), atol=1e-12 * size)
    beyond = act.evaluate(learned, np.array([-5.0, 7.0]))
    expected = [c[0] - 2 * (c[1] - c[0]), c[-1] + 4 * (c[-1] - c[-2])]
    np.testing.assert_allclose(beyond, expected, atol=1e-12 * size)


@pytest.mark.parametrize("name", ["identity", "relu", "absolute", "tanh"])
def test_it_begins_as_what_it_is_told(x64, name):
    act = activations.get(f"linear_spline(low=-1.0, init={name!r})")
    assert isinstance(act, Activation)
    at = np.linspace(-3.5, 3.5, 15)
    np.testing.assert_allclose(act(at), activations.get(name)(at), atol=1e-14)


@pytest.mark.parametrize(
    "settings",
    ["init='absolute'", "high=0.9", "low=1.0", "low=2.0", "size=2", "init='gelu'", "reach=0.0"],
)
def test_what_cannot_be_is_refused(settings):
    with pytest.raises(ValueError, match="leave \\[low, high\\]|low < high|must be"):
        activations.get(f"linear_spline({settings})")


@pytest.mark.slow
def test_frozen_at_drawn_coefficients_it_declares_what_is_so():
    for recipe in (WIDE, "linear_spline"):
        act = activations.get(recipe)
        assert not activations.check(act.frozen(coefficients(act, 1.0))).wrong


def test_its_variation_is_that_of_the_second_differences(x64):
    act = activations.get(WIDE)
    learned = coefficients(act, 0.4)
    c = of_paper(np.array([*learned.values()]), -0.5, 1.5)
    expected = np.sum(np.abs(np.convolve(c, [1, -2, 1], "valid")))
    np.testing.assert_allclose(act.slope_variation(**learned), expected, rtol=1e-12)
    frozen = act.frozen(learned)
    np.testing.assert_allclose(np.sum(np.abs(np.diff(frozen.slopes))), expected, rtol=1e-12)
    half = act.frozen(learned).slope_in_float64(np.linspace(-9, 9, 200_001))
    np.testing.assert_allclose(np.sum(np.abs(np.diff(half))), expected, rtol=1e-10)


def test_a_clipped_slope_can_come_back(x64):
    act = activations.get("linear_spline(size=3, reach=1.0)")
    value = lambda c: act.evaluate(dict(zip(act.start, c, strict=True)), jnp.asarray(0.5))  # noqa: E731
    steep = jnp.array([0.0, 0.0, 5.0])
    np.testing.assert_allclose(jax.grad(value)(steep), [0, 0.5, 0.5], atol=1e-15)


def test_units_learn_coefficients_of_their_own():
    phi = Nonlinearity(activations.get("linear_spline(size=3, reach=1.0, per_unit=True)"), 2)
    phi.learned["c2"][...] = jnp.array([1.0, 0.0])
    np.testing.assert_allclose(phi(jnp.ones((1, 2))), [[1.0, 0.0]], atol=1e-6)


@pytest.mark.slow
def test_its_gradient_inside_a_monotone_model_is_that_of_differences(x64):
    cell = MonotoneCell(4, activations.get(WIDE), rngs=nnx.Rngs(0), dtype=jnp.float64)
    for i, parameter in enumerate(cell.phi.learned.values()):
        parameter[...] = jnp.asarray(0.3 * i + 0.1 * (-1) ** i)
    u = jnp.asarray(np.random.default_rng(1).standard_normal((3, 4)))
    deq = DEQ(cell, solver="peaceman_rachford(rtol=1e-13, max_steps=500)", adjoint="implicit")
    loss = lambda deq: jnp.sum(jnp.sin(deq(u).value))  # noqa: E731
    found = nnx.grad(loss)(deq)["cell"]["phi"]["learned"]
    for name, parameter in cell.phi.learned.items():
        at, ends = parameter[...], []
        for h in (1e-6, -1e-6):
            parameter[...] = at + h
            ends.append(float(loss(deq)))
        parameter[...] = at
        assert abs((ends[0] - ends[1]) / 2e-6 - float(found[name][...])) < 1e-6


# The straight pieces.


def test_pieces_that_cannot_be_are_refused():
    for knots, slopes in (((0.0, 0.0), (1.0, 2.0, 3.0)), ((0.0,), (1.0,)), ((np.inf,), (0, 1))):
        with pytest.raises(ValueError, match="expected finite knots that increase"):
            PiecewiseLinear(knots, slopes)


def test_a_subclass_with_defaults_is_a_plug_in():
    @dataclasses.dataclass(frozen=True)
    class Ramp(PiecewiseLinear):
        knots: tuple = (-1.0, 2.0)
        slopes: tuple = (0.0, 1.0, 0.0)

    assert Ramp().slope == (0.0, 1.0)
    np.testing.assert_allclose(Ramp()(jnp.array([-4.0, 1.0, 5.0])), [-1.0, 1.0, 2.0])


# The penalty.


def test_the_penalty_is_the_variation_of_every_activation_that_is_learned(x64):
    phi = Nonlinearity(activations.get(WIDE), 3)
    ((act, learned),) = learned_activations(phi)
    rule = catalog.regularizers.get("total_variation(weight=2.0)")
    fn = lambda z: 0.5 * z  # noqa: E731
    solution = deqzoo.fixed_point(lambda z, _: fn(z), jnp.zeros((4, 3)), solver="picard")
    both = [(act, learned), (activations.get("prelu"), {"negative_slope": jnp.asarray(0.25)})]
    found = rule.of_activations(both)(fn, solution, jax.random.key(0))
    np.testing.assert_allclose(found, 2 * (act.slope_variation(**learned) + 0.75), rtol=1e-6)
    with pytest.raises(SettingError, match="the model learns none that declares slope_variation"):
        rule(fn, solution, jax.random.key(0))


@pytest.mark.slow
def test_it_flattens_a_spline_in_training(tmp_path):
    """From the rectifier the jump at 0 shrinks under a penalty that outweighs the loss."""
    settings: dict[str, Any] = {
        "task": "sphere(examples=16, dimension=3)",
        "width": 4,
        "batch_size": "8",
        "steps": 3,
        "learning_rate": "0.02",
        "activation": "linear_spline(size=3)",
        "regularizer": "total_variation(weight=100.0)",
    }
    training = Training(TrainConfig(**settings, workdir=str(tmp_path)))
    list(training.reports())
    c = training.state.parameters["deq"]["cell"]["phi"]["learned"]
    left, middle, right = (float(c[name]) for name in ("c0", "c1", "c2"))
    training.close()
    assert right - 2 * middle + left < 3.5 - 0.1


@pytest.mark.slow
def test_a_model_that_learns_no_activation_is_refused(tmp_path):
    settings: dict[str, Any] = {
        "task": "sphere(examples=16, dimension=3)",
        "width": 4,
        "batch_size": "8",
        "steps": 1,
        "activation": "tanh",
        "regularizer": "total_variation",
        "workdir": str(tmp_path),
    }
    with pytest.raises(SettingError, match="use --activation=linear_spline or prelu"):
        list(train(TrainConfig(**settings)))
