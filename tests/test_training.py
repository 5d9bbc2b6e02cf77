"""Runs: what they reach, that they resume bit for bit, and what they refuse."""

import json
import math
import shutil
from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import activations
from deqzoo import catalog, load_run
from deqzoo.activation.check import ActivationError
from deqzoo.activation.contract import Activation
from deqzoo.data.loss import Loss
from deqzoo.models.wide import Wide
from deqzoo.nn import PureModel
from deqzoo.nn.guarantees.contraction import Contraction
from deqzoo.storage.checkpoint import CheckpointError, Checkpoints
from deqzoo.storage.workdir import Workdir, WorkdirError
from deqzoo.training import ConfigError, RunOptions, TrainConfig, Training, TrainingError, train
from deqzoo.training.evaluation import Chunks
from deqzoo.training.promises.stable_step import ntk_step
from deqzoo.training.state import TrainState
from deqzoo.training.step import make_step
from deqzoo.training.update import Update

SMALL = {
    "width": 16,
    "batch_size": "32",
    "solver": "picard",
    "adjoint": "implicit(solver='picard')",  # compiles faster than the default
    "log_every": 1,
    "eval_every": 3,
    "checkpoint_every": 3,
}


def small(tmp_path, **settings):
    return TrainConfig(**{**SMALL, "workdir": str(tmp_path / "run"), "steps": 6, **settings})


def parameters_of(path, step):
    reader = Checkpoints(Workdir(path).checkpoints, writable=False)
    try:
        return reader.read(step)
    finally:
        reader.close()


def assert_equal_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        assert x.tobytes() == y.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("gelu", "relu", "sin") else [pytest.mark.slow])
        for name in catalog.activations.names()
    ],
)
def test_every_activation_trains_and_stays_well_posed(name, tmp_path):
    reports = list(
        train(small(tmp_path, activation=name, steps=4, eval_every=4, checkpoint_every=4))
    )
    assert [report["step"] for report in reports] == [1, 2, 3, 4, 4]
    assert all(math.isfinite(report["loss"]) for report in reports[:-1])
    assert reports[-1]["bound"] < 1
    assert reports[-1]["test_converged"] == 1


@pytest.mark.slow
def test_the_default_run_reaches_95_percent_on_real_digits(tmp_path):
    *_, summary = train(TrainConfig(activation="gelu", workdir=str(tmp_path / "run")))
    assert summary["test_accuracy"] >= 0.95
    assert summary["bound"] < 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["relu", "sin"])
def test_other_activations_reach_95_percent_on_real_digits(name, tmp_path):
    *_, summary = train(TrainConfig(activation=name, workdir=str(tmp_path / "run")))
    assert summary["test_accuracy"] >= 0.95
    assert summary["bound"] < 1


EVERYTHING = "warmup=2, clip=0.5, weight_decay=0.1, accumulate=2, ema=0.9"


@pytest.mark.quick("momentum")
@pytest.mark.parametrize(
    "optimizer", ["adam(schedule='cosine')", "momentum", f"adam(schedule='cosine', {EVERYTHING})"]
)
def test_an_interrupted_run_equals_the_uninterrupted_one_bit_for_bit(optimizer, tmp_path):
    settings = {"optimizer": optimizer, "steps": 7, "solver": "anderson"}
    whole, parts = small(tmp_path / "whole", **settings), small(tmp_path / "parts", **settings)
    expected = list(train(whole))
    training = Training(parts)
    list(training.reports(lambda step: step == 4))  # one step behind the checkpoint of step 3
    training._checkpoints.wait()  # as after a kill: step 4 was never saved
    training.close()
    resumed = Training(parts)
    assert resumed.step == 3
    assert "resumed from step 3 of 7" in resumed.notes
    found = list(resumed.reports())
    resumed.close()
    assert_equal_bits(parameters_of(whole.workdir, 7), parameters_of(parts.workdir, 7))
    rows = [Workdir(config.workdir).read_metrics() for config in (whole, parts)]
    for row in (*rows[0], *rows[1]):
        row.pop("examples_per_second")
    assert rows[0] == rows[1]
    for key in ("test_loss", "train_loss", "test_accuracy", "bound", "best_step"):
        assert found[-1][key] == expected[-1][key]


def test_a_plugin_that_declares_too_small_a_slope_is_promised_nothing(tmp_path):
    @dataclass(frozen=True)
    class Steep(Activation):
        slope = (0.0, 1.0)  # in truth up to 2
        curvature = 8 / (3 * math.sqrt(3))

        def __call__(self, x):
            return 2 * jnp.tanh(x)

    catalog.activations.register(Steep)
    try:
        with pytest.raises(ActivationError, match="slope supremum: declared 1, measured 2"):
            Training(small(tmp_path, activation="steep"))
    finally:
        catalog.activations._registered.pop("steep")
    assert not (tmp_path / "run").exists()


def test_the_initial_model_outlives_the_training(tmp_path):
    training = Training(small(tmp_path, steps=2, constraint="monitor"))
    x = jnp.ones((1, 8, 8, 1))
    before = training.setup.model(x)[0]
    list(training.reports())
    training.close()
    assert np.array_equal(training.setup.model(x)[0], before)


def test_a_finished_run_says_so_and_changes_nothing(tmp_path):
    config = small(tmp_path)
    first = list(train(config))[-1]
    before = Workdir(config.workdir).read_metrics()
    training = Training(config)
    assert training.finished
    assert list(training.reports()) == [json.loads(json.dumps(first))]
    training.close()
    assert Workdir(config.workdir).read_metrics() == before


def test_saving_on_demand_resumes_from_there(tmp_path):
    config = small(tmp_path, checkpoint_every=100, eval_every=100)
    training = Training(config)
    list(training.reports(lambda step: step == 2))
    training.save()
    training.close()
    resumed = Training(config)
    assert resumed.step == 2
    resumed.close()


def test_the_latest_and_the_best_checkpoints_stay(tmp_path):
    config = small(tmp_path, steps=12, checkpoint_every=2, optimizer="adam(learning_rate=0.3)")
    *rows, summary = train(config)
    kept = Checkpoints(Workdir(config.workdir).checkpoints, writable=False)
    scores = {
        row["step"]: row["validation_loss"]
        for row in rows
        if "validation_loss" in row and row["step"] % 2 == 0
    }
    best = min(scores, key=scores.get)
    assert kept.best_step() == best == summary["best_step"]
    assert set(kept.steps()) == {10, 12, best}
    kept.close()


def flip_a_bit(folder):
    """Change one bit in the middle of the largest data file."""
    largest = max(
        (file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size
    )
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(bytes(data))


def truncate(folder):
    """Cut the largest data file in half."""
    largest = max(
        (file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size
    )
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])


def lose_data(folder):
    """Lose the arrays."""
    shutil.rmtree(folder / "state" / "ocdbt.process_0")


def lose_record(folder):
    """Lose the checksums."""
    (folder / "meta" / "metadata").unlink()


@pytest.mark.quick("lose_record")
@pytest.mark.parametrize("damage", [flip_a_bit, truncate, lose_data, lose_record])
def test_a_damaged_checkpoint_is_set_aside_and_the_previous_one_used(damage, tmp_path):
    config = small(tmp_path, width=64)
    list(train(config))
    expected = parameters_of(config.workdir, 6)
    damage(Workdir(config.workdir).checkpoints / "6")
    training = Training(config)
    assert training.step == 3
    assert any("step 6 is damaged" in note and "damaged-6-0" in note for note in training.notes)
    list(training.reports())
    training.close()
    assert_equal_bits(parameters_of(config.workdir, 6), expected)
    assert (Workdir(config.workdir).checkpoints / "damaged-6-0").is_dir()


def test_a_run_whose_checkpoints_are_all_damaged_is_refused(tmp_path):
    config = small(tmp_path, width=64)
    list(train(config))
    for step in (3, 6):
        flip_a_bit(Workdir(config.workdir).checkpoints / str(step))
    with pytest.raises(CheckpointError, match="no checkpoint in .* can be read: step 6 is damaged"):
        Training(config)
    assert (Workdir(config.workdir).checkpoints / "6").is_dir()


def test_another_configuration_is_refused_and_shown(tmp_path):
    list(train(small(tmp_path, steps=1)))
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(
        WorkdirError, match=r"activation: 'gelu' there, 'tanh' here; seed: 0 there, 1 here"
    ):
        Training(small(tmp_path, steps=1, activation="tanh", seed=1))
    assert (tmp_path / "run" / "config.json").read_bytes() == before


OLD = {  # as deqzoo wrote it before losses were recorded as recipes
    "format": 1,
    "config": {"activation": "gelu", "plugin": []},
    "resolved": {"input_shape": [8, 8, 1], "outputs": 10, "loss": "CrossEntropy()"},
    "versions": {"deqzoo": "0.1.0"},
}


@pytest.mark.parametrize("record", [OLD, {k: v for k, v in OLD.items() if k != "format"}])
def test_a_run_of_an_earlier_format_is_neither_resumed_nor_loaded(record, tmp_path):
    config = small(tmp_path)
    Workdir(config.workdir).path.mkdir()
    Workdir(config.workdir).write_config(record)
    message = "holds a run of format .*, written by deqzoo 0.1.0, and this version reads format 3"
    for attempt in (lambda: Training(config), lambda: load_run(config.workdir)):
        with pytest.raises(WorkdirError, match=message) as caught:
            attempt()
        assert str(caught.value).count(". ") == 0  # one sentence
    assert Workdir(config.workdir).read_config() == record


def test_changed_data_are_refused(tmp_path):
    file = tmp_path / "mine.npz"
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 5)), rng.integers(0, 2, 40)
    np.savez(file, x=x, y=y)
    config = small(tmp_path, task=f"npz:{file}", batch_size="8")
    list(train(config))
    x[3, 2] += 1e-3
    np.savez(file, x=x, y=y)
    with pytest.raises(WorkdirError, match="the data of npz:.* changed since the run"):
        Training(config)


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(WorkdirError, match="is not empty and holds no config.json"):
        Training(small(tmp_path, workdir=str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == ["thesis.tex"]


def test_two_writers_are_refused(tmp_path):
    training = Training(small(tmp_path))
    with pytest.raises(WorkdirError, match="another process is training"):
        Training(small(tmp_path))
    training.close()


def test_a_diverging_run_stops_with_advice_and_keeps_its_checkpoint(tmp_path):
    config = small(
        tmp_path,
        steps=60,
        task="sphere",
        loss="square",
        batch_size="full",
        model="wide",
        optimizer="gd(learning_rate=1e30)",
        constraint="monitor",
        log_every=1,
        checkpoint_every=1,
        eval_every=1,
    )
    with pytest.raises(
        TrainingError, match=r"after step \d+: .* not finite: lower --learning_rate"
    ):
        list(train(config))
    restored = parameters_of(
        config.workdir,
        max(Checkpoints(Workdir(config.workdir).checkpoints, writable=False).steps()),
    )
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(restored["parameters"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "--steps must be a whole number >= 1, got 0"),
        ({"seed": -1}, "--seed must be a whole number >= 0, got -1"),
        ({"width": 0}, "--width must be a whole number >= 1 or None, got 0"),
        ({"batch_size": "many"}, "--batch_size must be a whole number >= 1 or 'full', got 'many'"),
        ({"batch_size": "0"}, "--batch_size must be a whole number >= 1 or 'full', got 0"),
        (
            {"precision": "float16"},
            "--precision must be one of float32, bfloat16, float64, got 'float16'",
        ),
    ],
)
def test_impossible_settings_name_their_flag(settings, message):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**settings)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": "2000"}, "exceeds the 1294 training examples"),
        ({"optimizer": "gd"}, "'ntk' is 1/lambda_max of the square loss"),
        ({"learning_rate": "-3"}, "learning_rate must be a finite number > 0"),
        (
            {"learning_rate": "fast"},
            "learning_rate must be a finite number > 0 or one of ntk, certified, got 'fast'",
        ),
        ({"task": "sphere", "loss": "cross_entropy"}, "needs class labels"),
        ({"precision": "float64"}, "JAX_ENABLE_X64=1"),
        ({"activation": "gleu"}, "did you mean 'gelu'"),
        ({"model": "classifier(width=8)"}, "'width' is given twice"),
        ({"model": "wide(s_w=0.9)", "width": None}, "2 s_w L = 2.032"),
        ({"solver": "anderson(history=0)"}, "history must be a whole number >= 1"),
        ({"constraint": "projection(margin=1.5)"}, "margin must be a number in"),
        ({"plugin": ("no_such_module",)}, "cannot import the plug-in module 'no_such_module'"),
    ],
)
def test_unusable_settings_are_refused_before_anything_is_written(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        Training(small(tmp_path, **settings))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_papers_regime_descends_at_every_step(tmp_path):
    config = small(
        tmp_path,
        task="sphere(examples=24, dimension=8)",
        model="wide",
        width=128,
        optimizer="gd",
        loss="square",
        batch_size="full",
        activation="tanh",
        steps=30,
    )
    losses = [report["loss"] for report in train(config) if "loss" in report]
    assert all(after < before for before, after in zip(losses, losses[1:], strict=False))


@pytest.mark.slow
def test_the_ntk_step_is_one_over_the_largest_eigenvalue_of_the_tangent_kernel():
    with jax.enable_x64(True):
        model = Wide(
            (6,),
            2,
            activation="gelu",
            width=20,
            solver="picard(rtol=1e-12)",
            rngs=nnx.Rngs(0),
            dtype=jnp.float64,
        )
        pure = PureModel(model)
        parameters = pure.state.parameters
        forward = lambda p, x: pure(pure.state._replace(parameters=p), x)  # noqa: E731
        x = jnp.asarray(np.random.default_rng(0).standard_normal((7, 6)))
        jacobian = jax.jacrev(lambda p: forward(p, x)[0].ravel())(parameters)
        rows = np.concatenate(
            [np.asarray(leaf).reshape(14, -1) for leaf in jax.tree.leaves(jacobian)], axis=1
        )
        expected = 1 / np.linalg.eigvalsh(rows @ rows.T)[-1]
        assert ntk_step(forward, parameters, x) == pytest.approx(expected, rel=1e-3)


def test_the_square_loss_is_the_papers_sum_and_cross_entropy_a_mean():
    outputs = jnp.array([[1.0, 2.0], [0.5, -1.0]])
    square = catalog.losses.get("square")
    assert square(outputs, jnp.array([1, 0])) == pytest.approx(0.5 * (1 + 1 + 0.25 + 1))
    assert square(outputs, outputs + 1) == pytest.approx(2.0)
    labels = jnp.array([1, 0])
    expected = -np.mean(np.log(jax.nn.softmax(outputs)[np.arange(2), labels]))
    assert catalog.losses.get("cross_entropy")(outputs, labels) == pytest.approx(expected)


@pytest.mark.quick("cross_entropy")
@pytest.mark.parametrize("loss", catalog.losses.names())
def test_evaluation_in_chunks_equals_evaluation_at_once(loss):
    pure = PureModel(Wide((5,), 3, width=12, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((10, 5)).astype(np.float32), rng.integers(0, 3, 10)
    metrics = {"loss": catalog.losses.get(loss), "accuracy": catalog.metrics.get("accuracy")}
    at_once, in_chunks = (
        Chunks(pure, metrics, size)(pure.state, x, y).numbers(metrics) for size in (10, 4)
    )
    # A residual at the tolerance is rounding noise, which depends on the shape of the batch.
    assert in_chunks.pop("residual") == pytest.approx(at_once.pop("residual"), rel=0.05)
    assert in_chunks == pytest.approx(at_once, rel=1e-5)


@pytest.mark.parametrize("name", catalog.constraints.names())
def test_a_constraint_touches_nothing_but_what_is_guaranteed(name):
    weight = jnp.asarray(np.random.default_rng(0).standard_normal((30, 30)), jnp.float32)
    tree = {"deq": {"cell": {"W": weight}}, "head": {"kernel": weight}}
    promised = (Contraction(activations.get("identity"), ("deq", "cell", "W")),)
    after = catalog.constraints.get(name).apply(tree, promised)
    assert after["head"]["kernel"] is weight


def test_a_step_does_not_retrace():
    model = Wide((5,), 2, width=8, rngs=nnx.Rngs(0))
    pure, transform = PureModel(model), optax.sgd(0.1)
    update = Update(transform, catalog.constraints.get("monitor"), ())
    once = chex.assert_max_traces(make_step(pure, catalog.losses.get("square"), update), n=1)
    step = jax.jit(once)
    optimizer = transform.init(pure.state.parameters)
    state = TrainState(*pure.state, optimizer, jnp.zeros((), jnp.int32))
    x, y = jnp.ones((4, 5)), jnp.zeros((4, 2))
    for _ in range(3):
        state, _ = step(state, x, y)
    assert int(state.step) == 3


@dataclass(frozen=True)
class WithoutSlope(Loss):
    """ŷ² + √(c ŷ²), finite everywhere; where c ŷ = 0 its slope is NaN."""

    def entries(self, outputs, targets):
        values = outputs**2 + jnp.sqrt(targets * outputs**2)
        return values, jnp.ones_like(values, bool)


@pytest.mark.parametrize(
    "recipe", ["momentum(learning_rate=0.1)", "adam(learning_rate=0.1, ema=0.9)"]
)
def test_a_finite_loss_with_a_gradient_that_is_not_leaves_the_state_as_it_was(recipe):
    pure = PureModel(Wide((5,), 2, width=8, rngs=nnx.Rngs(0)))
    made = catalog.optimizers.get(recipe)
    update = Update(made.build(10), catalog.constraints.get("rescale"), (), made.ema)
    step = jax.jit(make_step(pure, WithoutSlope(), update))
    parameters, optimizer = update.init(pure.state.parameters)
    before = TrainState(parameters, pure.state.variables, optimizer, jnp.zeros((), jnp.int32))
    x, y = jnp.ones((4, 5)), jnp.ones((4, 2))
    after, metrics = step(before, x, y.at[2, 1].set(0))
    assert np.isfinite(metrics["loss"])
    assert np.isnan(metrics["gradient_norm"])
    assert_equal_bits(after, before)
    moved, metrics = step(before, x, y)
    assert np.isfinite(metrics["gradient_norm"])
    assert int(moved.step) == 1


class Unread:
    """Metrics that nobody may look at."""

    def __array__(self, *args, **kwargs):
        raise AssertionError("the loop waits for the devices")

    __float__ = __bool__ = __array__


def test_between_reports_the_host_never_waits_for_the_devices(tmp_path):
    training = Training(small(tmp_path, log_every=100, eval_every=100, checkpoint_every=100))
    step, calls = training._step, []

    def watched(state, x, y):
        calls.append(1)
        return step(state, x, y)[0], Unread()

    training._step = watched
    with jax.transfer_guard_device_to_host("disallow"):  # sees nothing on a CPU
        assert list(training.reports(lambda step: step == 4)) == []
    assert len(calls) == 4
    training.close()


def test_a_report_waits_until_the_next_step_is_under_way(tmp_path):
    training = Training(small(tmp_path, eval_every=100, checkpoint_every=100))
    seen = [(report["step"], training.step) for report in training.reports()][:-1]
    training.close()
    assert seen == [(1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 6)]


def test_a_run_begins_with_the_weights_of_another(tmp_path):
    first = small(tmp_path, steps=3)
    list(train(first))
    second = small(tmp_path / "second", init_from=first.workdir, constraint="monitor")
    training = Training(second)
    assert f"begins with the weights of {first.workdir} at step 3" in training.notes
    expected = parameters_of(first.workdir, 3)["parameters"]
    assert_equal_bits(jax.tree.map(np.asarray, training.state.parameters), expected)
    assert training.step == 0
    training.close()


@pytest.mark.parametrize(
    ("init_from", "message"),
    [("nowhere", "--init_from=nowhere holds no checkpoint"), ("other", "the model expects")],
)
def test_weights_that_do_not_fit_are_refused(init_from, message, tmp_path):
    other = small(tmp_path, steps=1, width=8)
    list(train(other))
    named = other.workdir if init_from == "other" else init_from
    with pytest.raises(ConfigError, match=message):
        Training(small(tmp_path / "second", init_from=named))
    assert not (tmp_path / "second").exists()


def test_where_the_loss_is_not_finite_the_last_good_state_is_saved(tmp_path):
    config = small(
        tmp_path,
        task="sphere",
        loss="square",
        batch_size="full",
        model="wide",
        optimizer="gd(learning_rate=1e30)",
        constraint="monitor",
        steps=60,
        log_every=20,
        eval_every=100,
        checkpoint_every=100,
    )
    with pytest.raises(TrainingError, match="not finite") as caught:
        list(train(config))
    step = int(str(caught.value).split("after step ")[1].split(":")[0])
    assert step < 20
    state = parameters_of(config.workdir, step)
    assert int(state["step"]) == step
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))


def test_a_run_whose_solves_fail_stops_and_saves(tmp_path):
    config = small(tmp_path, solver="picard(max_steps=1)", steps=20)
    with pytest.raises(
        TrainingError, match=r"100% of the forward solves failed .* 1, 2, 3"
    ) as told:
        list(train(config))
    assert "--solver='auto(max_steps=500)'" in str(told.value)
    assert len(Workdir(config.workdir).read_metrics()) == 2
    again = small(tmp_path / "again", solver="picard(max_steps=1)", steps=4)
    assert list(train(again, RunOptions(max_failed=1.0)))[-1]["summary"]


@pytest.mark.parametrize("keep", [{"keep": 1, "keep_best": 0}, {"keep": 1, "keep_every": 4}])
def test_checkpoints_that_were_asked_for_stay(keep, tmp_path):
    config = small(tmp_path, steps=10, checkpoint_every=2, **keep)
    list(train(config))
    reader = Checkpoints(Workdir(config.workdir).checkpoints, writable=False)
    best = {reader.best_step()}
    expected = {10} if "keep_every" not in keep else {4, 8, 10} | best
    assert {*reader.steps()} == expected
    about = reader.about(10)
    assert about["run"]["config"] == config.to_dict()
    assert about["versions"]["jax"] == jax.__version__
    reader.close()


@pytest.mark.slow
def test_bfloat16_keeps_weights_and_states_in_float32(tmp_path):
    config = small(tmp_path, precision="bfloat16", steps=8, solver="auto")
    training = Training(config)
    *_, summary = training.reports()
    assert training.setup.guarantees[-1].endswith("before it is rounded to bfloat16")
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(training.state.parameters)}
    assert dtypes == {np.dtype("float32")}
    x = np.ones((2, 8, 8, 1), np.float32)
    outputs, solution = training.setup.pure(training.state.model, x)
    assert outputs.dtype == solution.value.dtype == np.float32
    assert summary["test_converged"] == 1
    exact = PureModel(training.setup.model)(training.state.model, x)[0]
    error = float(jnp.max(jnp.abs(outputs - exact)) / jnp.max(jnp.abs(exact)))
    assert 1e-5 < error < 0.05
    training.close()


@pytest.mark.slow
def test_a_tolerance_that_bfloat16_cannot_reach_warns(tmp_path):
    config = small(tmp_path, precision="bfloat16", steps=1, solver="picard(rtol=1e-5)")
    with pytest.warns(UserWarning, match="rtol=1e-05 is below the rounding 7.8e-03"):
        list(train(config, RunOptions(max_failed=1.0)))


def test_a_profile_of_some_steps_is_written(tmp_path):
    config = small(tmp_path)
    list(train(config, RunOptions(profile="2:4")))
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))


def test_tensorboard_holds_the_numbers_of_the_metrics(tmp_path):
    events = pytest.importorskip("tensorboardX")
    assert events
    config = small(tmp_path, steps=3)
    list(train(config, RunOptions(sink=("tensorboard",))))
    files = list((tmp_path / "run" / "tensorboard").iterdir())
    assert len(files) == 1
    assert b"test_loss" in files[0].read_bytes()


@pytest.mark.parametrize("sink", ["tensorboard", "wandb(project='project')"])
def test_a_sink_whose_package_is_missing_is_refused_before_anything_is_written(
    sink, tmp_path, monkeypatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'deqzoo\[(logs|wandb)\]'"):
        Training(small(tmp_path), RunOptions(sink=(sink,)))
    assert not (tmp_path / "run").exists()
