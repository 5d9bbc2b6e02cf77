"""Competitive mirror descent, and multipliers that hold quantities of a model at a limit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_training import assert_equal_bits, parameters_of, small

from deqzoo import catalog
from deqzoo.analysis import plots
from deqzoo.analysis.margins import proof
from deqzoo.games import (
    Box,
    Entropy,
    LogDeterminant,
    Quadratic,
    competitive_mirror_descent,
    own_gradients,
    with_multipliers,
)
from deqzoo.games.multipliers import LEAST
from deqzoo.settings import SettingError
from deqzoo.storage.workdir import Workdir
from deqzoo.training import ConfigError, RunOptions, Training

POSITIVE = np.array([[2.0, 0.3], [0.3, 0.7]])
POTENTIALS = [Quadratic(2.0), Entropy(0.5), Box(0.7, -1.0, 3.0), LogDeterminant(1.5)]


@pytest.fixture(autouse=True)
def _x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("potential", POTENTIALS, ids=lambda each: type(each).__name__)
def test_the_maps_of_a_potential_belong_together(potential):
    move = 0.1 * np.array([[0.4, -1.0], [-1.0, 0.2]])
    dual = potential.gradient(POSITIVE)
    np.testing.assert_allclose(potential.inverse(dual), POSITIVE, rtol=1e-12)
    _, along = jax.jvp(potential.gradient, (jnp.asarray(POSITIVE),), (jnp.asarray(move),))
    np.testing.assert_allclose(potential.hessian(POSITIVE, move), along, rtol=1e-10)
    np.testing.assert_allclose(potential.solve(POSITIVE, along), move, rtol=1e-10)
    there = potential.step(POSITIVE, move)
    np.testing.assert_allclose(potential.gradient(there), dual + along, rtol=1e-10)


@pytest.mark.parametrize("count", [1, 2])
def test_the_closed_form_is_competitive_mirror_descent_on_the_lagrangian(count):
    rng, rate, alpha = np.random.default_rng(count), 0.05, 5.0
    centre, normals = rng.standard_normal(4), rng.standard_normal((count, 4))
    loss = lambda x: jnp.sum((x - centre) ** 4)  # noqa: E731
    bounds = [lambda x, n=n: jnp.sum(n * x) + 0.1 * jnp.sum(x**2) for n in normals]
    f = lambda x, y: loss(x) + sum(each * g(x) for each, g in zip(y, bounds, strict=True))  # noqa: E731
    g = lambda x, y: -f(x, y)  # noqa: E731
    players = jnp.asarray(rng.standard_normal(4)), jnp.full(count, 0.4)
    whole = competitive_mirror_descent(f, g, Quadratic(1 / rate), Entropy(alpha))
    (move, turn), _ = whole.update(own_gradients(f, g, players), whole.init(players), players)
    rule = with_multipliers(optax.sgd(rate), bounds, rate, alpha, start=0.4)
    own, state = rule.update(jax.grad(loss)(players[0]), rule.init(players[0]), players[0])
    assert np.all(np.abs(np.log(state.multipliers / 0.4)) < 1)  # no precaution of ours was at work
    np.testing.assert_allclose(own, move, rtol=1e-8)
    np.testing.assert_allclose(state.multipliers, players[1] + turn, rtol=1e-8)


def settled(rule, slope, start, steps=400):
    state = rule.init(start)

    def walk(carry, _):
        x, state = carry
        move, state = rule.update(slope(x), state, x)
        return (optax.apply_updates(x, move), state), None

    return jax.jit(lambda: jax.lax.scan(walk, (start, state), None, length=steps))()[0]


def test_an_idle_multiplier_vanishes_and_wakes_up_and_what_is_not_finite_rests():
    bounds = [lambda x: jnp.sum(x) - 5.0, lambda x: jnp.log(-1.0 - x[0] ** 2)]
    rule = with_multipliers(optax.sgd(0.1), bounds, 0.1, 0.1, start=0.3)
    move, state = rule.update(-jnp.ones(2), rule.init(jnp.zeros(2)), jnp.zeros(2))
    np.testing.assert_allclose(move, 0.1)  # and not away from the limit
    np.testing.assert_allclose(state.multipliers, [0.3 / np.e, 0.3])
    x, state = settled(rule, lambda x: x - 1.0, jnp.zeros(2))
    np.testing.assert_allclose(x, 1, rtol=1e-3)  # as if there was no constraint
    np.testing.assert_allclose(state.multipliers, [LEAST, 0.3])
    rule = with_multipliers(optax.sgd(0.1), [lambda x: jnp.sum(x) - 1.0], 0.1, 0.1, start=LEAST)
    x, state = settled(rule, lambda x: x - 1.0, jnp.zeros(2))
    np.testing.assert_allclose([*x, *state.multipliers], 0.5, rtol=1e-3)


def trained(config, stop=None, **options):
    training = Training(config, RunOptions(**options))
    reports = list(training.reports(stop=stop))
    training.save()
    training.close()
    return reports


@pytest.mark.slow
@pytest.mark.parametrize(
    "of",
    ["bound", *(pytest.param(of, marks=pytest.mark.slow) for of in ("lipschitz", "jacobian_norm"))],
)
def test_the_multiplier_is_resumed_bit_for_bit_logged_and_drawn(of, tmp_path):
    settings = {
        "constraint": f"multiplier(of='{of}', limit=0.01)",
        "optimizer": "adam(accumulate=2, ema=0.5, warmup=1)",
        "checkpoint_every": 3,
        "steps": 6,
    }
    with jax.enable_x64(False):
        whole, parts = (small(tmp_path / name, **settings) for name in ("whole", "parts"))
        trained(whole)
        trained(parts, stop=lambda step: step == 3)
        trained(parts)
        a, b = (parameters_of(each.workdir, 6) for each in (whole, parts))
        assert_equal_bits(a, b)
    lines, again = (Workdir(each.workdir).read_metrics() for each in (whole, parts))
    told = [[row["multiplier"] for row in rows] for rows in (lines, again)]
    assert told[0] == told[1]
    assert 0 < told[0][0] < told[0][-1]
    assert all(row["violation"] > 0 for row in lines[2:])
    without = [{k: v for k, v in row.items() if k != "multiplier"} for row in lines]
    drawn = [plots.training(rows, tmp_path / "a.png", "").read_bytes() for rows in (lines, without)]
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "mdeq", "constraint": "multiplier", "width": None}, "declares no guarantee"),
        (
            {"model": "mondeq", "constraint": "multiplier(of='lipschitz')"},
            "needs affine stem and head and a cell with",
        ),
    ],
)
def test_a_multiplier_without_anything_to_hold_is_refused(settings, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        Training(small(tmp_path, **settings))


def test_iterates_are_no_quantity_of_weights():
    with pytest.raises((SettingError, catalog.CatalogError), match="looks at iterates"):
        catalog.constraints.get("multiplier(of='correction')")


@pytest.mark.slow
@pytest.mark.parametrize("of", ["bound", "lipschitz"])
def test_what_is_held_is_what_the_guarantee_proves(of, tmp_path):
    """Of full-batch gradient descent ends near the limit L‖W‖, or ‖A‖‖U‖L/(1 - L‖W‖)."""
    limit = {"bound": 0.3, "lipschitz": 3.0}[of]
    config = small(
        tmp_path,
        task="sphere(examples=24, dimension=4, labels='teacher')",
        model="wide",
        loss="square",
        optimizer="gd",
        learning_rate="0.01",
        batch_size="full",
        precision="float64",
        constraint=f"multiplier(of='{of}', limit={limit})",
        steps=100,
        log_every=100,
        eval_every=100,
        checkpoint_every=100,
    )
    training = Training(config)
    list(training.reports())
    model = training.setup.pure.rebuild(training.state.model)
    training.close()
    (guarantee,) = model.guarantees()
    bound = guarantee.sharp_bound(training.state.parameters)
    found = bound if of == "bound" else proof(model).slope()
    assert 0.9 * limit < found < 1.01 * limit
