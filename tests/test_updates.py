"""Updates: warm-up, clipping, weight decay, accumulated gradients, averaged weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from test_training import assert_equal_bits, small

import deqzoo
from deqzoo import catalog
from deqzoo.catalog import CatalogError
from deqzoo.models.wide import Wide
from deqzoo.nn.pure_model import PureModel
from deqzoo.training import ConfigError, Training
from deqzoo.training.observer import Observer
from deqzoo.training.state import TrainState
from deqzoo.training.step import make_step
from deqzoo.training.update import Update

TREE = {"W": jnp.array([[3.0, 0.0], [0.0, 4.0]]), "b": jnp.array([2.0])}


def optimizer(recipe):
    return catalog.optimizers.get(recipe)


def updates(recipe, gradients, parameters=TREE, steps=100):
    """The updates that one gradient after another makes."""
    transform = optimizer(recipe).build(steps)
    state, found = transform.init(parameters), []
    for gradient in gradients:
        update, state = transform.update(gradient, state, parameters)
        found.append(update)
        parameters = optax.apply_updates(parameters, update)
    return found


def test_an_optimizer_by_itself_keeps_the_state_of_optax_and_a_clipped_one_a_pair():
    pair = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1))
    for recipe, same in (("adam", optax.adam(0.1)), ("adam(clip=1.0)", pair)):
        ours, theirs = (each.init(TREE) for each in (optimizer(recipe).build(10), same))
        assert jax.tree.structure(ours) == jax.tree.structure(theirs)


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("gd(learning_rate=0.4, warmup=4)", [0.1, 0.2, 0.3, 0.4, 0.4, 0.4]),
        ("gd(learning_rate=0.4, warmup=1)", [0.4, 0.4]),
        (
            "gd(learning_rate=0.4, schedule='cosine')",
            [0.2 * (1 + np.cos(np.pi * t / 6)) for t in range(7)],
        ),
        (
            "gd(learning_rate=0.4, warmup=2, schedule='cosine')",
            [0.2, 0.4, *(0.2 * (1 + np.cos(np.pi * t / 4)) for t in range(5))],
        ),
        (
            "gd(learning_rate=0.4, warmup=2, schedule='cosine', accumulate=2)",
            [0.2, 0.4, *(0.2 * (1 + np.cos(np.pi * t / 1)) for t in range(2))],
        ),
    ],
)
def test_the_learning_rate_grows_to_its_value_and_then_follows_its_schedule(recipe, expected):
    rate = optimizer(recipe).rate(0.4, 6)
    np.testing.assert_allclose([rate(t) for t in range(len(expected))], expected, atol=1e-7)


def test_without_warm_up_and_schedule_the_learning_rate_is_one_number():
    assert optimizer("gd(learning_rate=0.4)").rate(0.4, 6) == 0.4


def test_warm_up_reaches_the_weights():
    ones = jax.tree.map(jnp.ones_like, TREE)
    found = updates("gd(learning_rate=0.4, warmup=4)", [ones] * 5)
    np.testing.assert_allclose([-each["b"][0] for each in found], [0.1, 0.2, 0.3, 0.4, 0.4])


def test_a_warm_up_that_the_run_does_not_outlast_is_refused(tmp_path):
    config = small(tmp_path, optimizer="adam(warmup=3, accumulate=2)", steps=6)
    with pytest.raises(
        ConfigError, match="--optimizer: the run has 3 updates .*warmup=3 must be below"
    ):
        Training(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("warmup=-1", "warmup must be a whole number >= 0, got -1"),
        ("clip=0", "clip must be a finite number > 0 or None, got 0"),
        ("accumulate=0", "accumulate must be a whole number >= 1, got 0"),
        ("ema=1", r"ema must be a number in \[0, 1\) or None, got 1"),
        ("weight_decay=-0.1", "weight_decay must be a finite number >= 0"),
    ],
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(CatalogError, match=message):
        optimizer(f"adam({setting})")


def test_clipping_bounds_the_update_and_leaves_short_gradients_alone():
    long, short = TREE, jax.tree.map(lambda leaf: leaf / 100, TREE)
    clipped = updates("gd(learning_rate=0.5, clip=1.0)", [long, short])
    plain = updates("gd(learning_rate=0.5)", [long, short])
    assert float(optax.tree.norm(clipped[0])) == pytest.approx(0.5)
    direction = jax.tree.map(lambda a, b: a / b * optax.tree.norm(long), clipped[0], plain[0])
    np.testing.assert_allclose(direction["W"][[0, 1], [0, 1]], 1.0, rtol=1e-6)
    assert_equal_bits(clipped[1], plain[1])


@pytest.mark.parametrize("name", ["adam", "gd", "momentum"])
def test_weight_decay_is_decoupled_and_spares_biases(name):
    none = jax.tree.map(jnp.zeros_like, TREE)
    recipe = f"{name}(learning_rate=0.5, weight_decay=0.1, warmup=2)"
    first, second = updates(recipe, [none, none])
    np.testing.assert_allclose(first["W"], -0.25 * 0.1 * TREE["W"], rtol=1e-6)
    np.testing.assert_allclose(second["W"], -0.5 * 0.1 * (1 - 0.025) * TREE["W"], rtol=1e-6)
    assert not np.any(first["b"])


def problem(loss, recipe):
    """The model, its first state, its step, and 32 examples."""
    model = Wide((5,), 3, activation="tanh", width=12, rngs=nnx.Rngs(0))
    pure, loss, made = PureModel(model), catalog.losses.get(loss), optimizer(recipe)
    transform = made.build(40, sums=loss.is_sum)
    update = Update(transform, catalog.constraints.get("rescale"), model.guarantees(), made.ema)
    parameters, kept = update.init(pure.state.parameters)
    state = TrainState(parameters, pure.state.variables, kept, jnp.zeros((), jnp.int32))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((32, 5)).astype(np.float32), rng.integers(0, 3, 32)
    return model, state, jax.jit(make_step(pure, loss, update)), x, y


@pytest.mark.quick("-square")
@pytest.mark.parametrize("loss", ["cross_entropy", "square"])
@pytest.mark.parametrize("rest", ["", ", clip=0.01, weight_decay=0.1, warmup=2"])
def test_accumulated_small_batches_are_one_large_batch(loss, rest):
    _, whole, step, x, y = problem(loss, f"momentum(learning_rate=0.01{rest})")
    _, parts, part_step, *_ = problem(loss, f"momentum(learning_rate=0.01, accumulate=4{rest})")
    for _ in range(3):
        whole, _ = step(whole, x, y)
        before = parts.parameters
        for number, rows in enumerate(np.split(np.arange(32), 4)):
            parts, _ = part_step(parts, x[rows], y[rows])
            moved = not np.array_equal(parts.parameters["a"], before["a"])
            assert moved == (number == 3)
    for a, b in zip(*map(jax.tree.leaves, (whole.parameters, parts.parameters)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


class Weights(Observer):
    """Keeps the weights of every step, those that move and those that a run is evaluated at."""

    def __init__(self):
        self.moving, self.evaluated = [], []

    def each_step(self, step):
        state = jax.tree.map(np.asarray, step.state)
        self.evaluated.append(state.parameters)
        self.moving.append(getattr(state.optimizer, "weights", state.parameters))


def trained(config):
    weights = Weights()
    training = Training(config, observers=[weights])
    begin = jax.tree.map(np.asarray, training.state.parameters)
    *lines, summary = training.reports()
    training.close()
    return begin, weights, lines, summary


@pytest.mark.quick("1")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_average_is_that_of_the_weights_which_move_as_they_would_without_it(
    accumulate, tmp_path
):
    settings = {"steps": 6, "learning_rate": "0.02", "constraint": "monitor"}
    recipe = f"adam(accumulate={accumulate}"
    _, plain, *_ = trained(small(tmp_path / "plain", optimizer=recipe + ")", **settings))
    config = small(tmp_path / "ema", optimizer=recipe + ", ema=0.9)", **settings)
    average, found, lines, summary = trained(config)
    for number, (moving, evaluated) in enumerate(zip(plain.moving, found.evaluated, strict=True)):
        assert_equal_bits(moving, found.moving[number])
        if number % accumulate == accumulate - 1:
            average = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, average, moving)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), average, evaluated)
    run = deqzoo.load_run(config.workdir)  # evaluated, saved and loaded is the average
    assert_equal_bits(run.arrays("parameters")["parameters"], found.evaluated[-1])
    assert lines[-1]["test_loss"] == pytest.approx(summary["test_loss"])
    assert_equal_bits(nnx.to_pure_dict(nnx.state(run.model, nnx.Param)), found.evaluated[-1])


@pytest.mark.slow
def test_the_average_keeps_the_guarantee():
    model, state, step, x, y = problem("square", "gd(learning_rate=1.0, ema=0.5)")
    for _ in range(5):
        state, _ = step(state, x, y)
        for guarantee in model.guarantees():
            assert float(guarantee.bound(state.parameters)) < 1
            assert float(guarantee.bound(state.optimizer.weights)) < 1
    assert not np.array_equal(state.parameters["a"], state.optimizer.weights["a"])
