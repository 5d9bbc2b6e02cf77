"""Runs under a certificate: what is refused, what is watched, and that it holds."""

import json
import math
from dataclasses import replace

import jax
import numpy as np
import pytest

import activations
from deqzoo import catalog
from deqzoo.data.augmentation import Augmentation
from deqzoo.data.losses.square import Square
from deqzoo.storage.workdir import Workdir
from deqzoo.theory import Network, certify
from deqzoo.training import ConfigError, TrainConfig, Training, TrainingError, train
from deqzoo.training.optimizers.gd import GD as GradientDescent
from deqzoo.training.promises.certified import is_descent
from deqzoo.training.promises.watch import Watch

GD = {
    "activation": "tanh",
    "task": "sphere(examples=6, dimension=8)",
    "model": "wide",
    "width": 96,
    "optimizer": "gd",
    "loss": "square",
    "batch_size": "full",
    "constraint": "monitor",
    "certify": True,
    "log_every": 2,
    "eval_every": 4,
    "checkpoint_every": 4,
    "steps": 12,
}
CERTIFIED = {"precision": "float64", "init": "certified", "learning_rate": "certified"}


def config(tmp_path, **settings):
    return TrainConfig(**{**GD, "workdir": str(tmp_path / "run"), **settings})


def test_a_certified_run_keeps_every_promise(x64, tmp_path):
    training = Training(config(tmp_path, **CERTIFIED))
    certificate = training.setup.certificate
    *rows, summary = training.reports()
    training.close()
    assert certificate.certified
    assert training.record["resolved"]["learning_rate"] == certificate.descent.learning_rate
    assert 0 < training.setup.loss.target_scale < 1
    assert summary["certified"] is True
    assert summary["alarms"] == 0
    assert 0 < summary["loss_ratio"] <= certificate.descent.rate()
    for row in rows:
        assert row["loss"] <= row["certified_loss"]
        assert row["loss"] == pytest.approx(row["predicted_loss"], rel=1e-3)
    measured = [row for row in rows if "lambda_min" in row]
    assert [row["step"] for row in measured] == [4, 8, 12]
    for row in measured:
        assert row["lambda_min"] >= certificate.descent.lambda_0 / 2
        assert max(row["travel_W"], row["travel_a"]) <= certificate.descent.delta
        assert 0 < row["travel_U"] <= travel_of_u(certificate, training.setup.train.x)
        assert row["gain"] < 1
    stored = json.loads((tmp_path / "run" / "certificate.json").read_text())
    assert stored["descent"]["delta"] == certificate.descent.delta


def test_the_loss_of_a_line_is_bounded_at_the_step_before_it(x64, tmp_path):
    """The loss of a training step is that of the weights it starts from."""
    training = Training(config(tmp_path, **CERTIFIED, log_every=1, steps=3))
    rows = list(training.reports())[:-1]
    training.close()
    np.testing.assert_allclose(
        [row["certified_loss"] for row in rows], training.setup.certificate.bound(range(3))
    )
    assert rows[0]["loss"] == pytest.approx(training.setup.certificate.loss, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("saved", [False, True], ids=["killed", "stopped"])
def test_a_resumed_certified_run_equals_the_uninterrupted_one(saved, x64, tmp_path):
    whole = config(tmp_path / "whole", **CERTIFIED)
    list(train(whole))
    parts = config(tmp_path / "parts", **CERTIFIED)
    training = Training(parts)
    list(training.reports(lambda step: step == 6))
    if saved:
        training.save()
    training._checkpoints.wait()
    training.close()
    list(train(parts))
    rows = [Workdir(each.workdir).read_metrics() for each in (whole, parts)]
    for row in (*rows[0], *rows[1]):
        row.pop("examples_per_second")
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_an_uncertified_start_is_watched_without_a_bound(tmp_path):
    training = Training(config(tmp_path, steps=4))
    *rows, summary = training.reports()
    training.close()
    assert any(
        "no certified bound for this run: it needs --precision=float64" in n for n in training.notes
    )
    assert summary["certified"] is False
    assert "certified_loss" not in rows[-1]
    assert rows[-1]["predicted_loss"] == pytest.approx(rows[-1]["loss"], rel=0.2)
    assert rows[-1]["lambda_min"] > 0


@pytest.mark.slow
def test_a_run_by_another_method_has_neither_bound_nor_prediction(tmp_path):
    settings = {"optimizer": "adam", "batch_size": "3", "steps": 4, "init": "certified"}
    training = Training(config(tmp_path, **settings))
    *rows, summary = training.reports()
    training.close()
    assert any("--optimizer=gd, --batch_size=full" in note for note in training.notes)
    assert summary["certified"] is True
    assert not {"certified_loss", "predicted_loss", "alarms"} & {*rows[-1]}


def test_descent_on_images_that_are_others_in_every_step_is_none():
    plan, data = TrainConfig(**GD), catalog.tasks.get("digits").load()
    for augmentation in (None, Augmentation(shift=1)):
        found = is_descent(plan, GradientDescent(), replace(data, augmentation=augmentation))
        assert found == (augmentation is None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model": "classifier", "task": "digits", "optimizer": "gd(learning_rate=0.1)"},
            "--model=wide",
        ),
        ({"task": "digits", "loss": "cross_entropy", "optimizer": "adam"}, "--loss=square"),
        ({"learning_rate": "certified"}, "also needs --precision=float64"),
        ({"learning_rate": "certified", "constraint": "rescale"}, "--constraint=monitor"),
        ({"learning_rate": "certified", "solver": "picard(rtol=1e-4)"}, "rtol <= 1e-08"),
        ({"learning_rate": "certified", "adjoint": "phantom"}, "--adjoint=implicit"),
        (
            {"learning_rate": "certified", "adjoint": "implicit(solver='gmres(rtol=0.1)')"},
            "--adjoint=implicit",
        ),
        ({"learning_rate": "certified", "regularizer": "jacobian_norm"}, "no --regularizer"),
        (
            {"learning_rate": "certified", "optimizer": "gd(clip=1.0, accumulate=2, ema=0.9)"},
            "an optimizer without clip, accumulate, ema",
        ),
        (
            {"learning_rate": "certified", "task": "digits(shift=1, scaling='sphere')"},
            "a task without shift and flip",
        ),
        ({"init": "certified", "width": 4}, "use a width of at least 6"),
        ({"init": "lucky"}, "--init must be one of drawn, certified, got 'lucky'"),
    ],
)
def test_what_cannot_be_certified_is_refused_with_advice(settings, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        Training(config(tmp_path, **settings))
    assert not (tmp_path / "run").exists() or not any(
        path.name != ".lock" for path in (tmp_path / "run").iterdir()
    )


def test_the_certified_step_without_a_certificate_shows_the_failed_lines(x64, tmp_path):
    with pytest.raises(
        ConfigError, match=r"(?s)Theorem A does not hold.*FAIL readout.*--init=certified"
    ):
        Training(config(tmp_path, precision="float64", learning_rate="certified"))


@pytest.mark.slow
def test_a_larger_step_than_certified_draws_no_bound(x64, tmp_path):
    settings = {**CERTIFIED, "learning_rate": "ntk", "steps": 2}
    *rows, _ = train(config(tmp_path, **settings))
    assert "certified_loss" not in rows[-1]
    assert "predicted_loss" in rows[-1]


def travel_of_u(certificate, x):
    """‖∇_U‖ <= γα‖X‖₂‖r‖ and η Σ ‖r‖ <= (4/λ_0)‖r_0‖."""
    at, delta = certificate.measured, certificate.descent.delta
    flat = np.reshape(x, (len(x), -1)).astype(np.float64)
    gamma = 1 / (1 / at.lipschitz - at.norm_w - delta)
    alpha, norm_x = at.norm_a + delta, np.linalg.svd(flat, compute_uv=False)[0]
    return gamma * alpha * norm_x * 4 / at.lambda_0 * math.sqrt(2 * certificate.loss)


def watch_of_a_certified_start():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 5))
    network = Network.draw(activations.get("tanh"), 64, 5, s_w=0.4, s_a=0.0)
    certificate = certify(network, x, 1e-4 * rng.standard_normal(4))
    step = certificate.descent.learning_rate
    watch = Watch(certificate, network, x, step, applies=True, predicts=True, before=None)
    return watch, network, certificate


def test_every_broken_promise_raises_an_alarm():
    watch, network, certificate = watch_of_a_certified_start()
    watch.see(certificate.loss)
    watch.see(certificate.loss)  # no decrease
    alarms = watch.line(1, certificate.loss)["alarms"]
    assert len(alarms) == 2
    assert all("is violated" in alarm for alarm in alarms)
    assert watch.measure(network)["alarms"] == []
    far = Network(network.activation, 3 * network.W, network.U, network.a + 1)
    alarms = " ".join(watch.measure(far)["alarms"])
    assert all(name in alarms for name in ("L‖W‖₂ < 1", "travel_W <= δ", "travel_a <= δ"))
    dead = Network(network.activation, network.W, 0 * network.U, network.a)
    assert "λ_min(G) >= λ_0/2" in " ".join(watch.measure(dead)["alarms"])


def test_one_step_without_decrease_between_two_good_ones_raises_the_alarm():
    watch, _, certificate = watch_of_a_certified_start()
    good, start = certificate.descent.rate() / 2, certificate.loss
    for loss in (start, good * start, 1.01 * good * start, good**2 * start):
        watch.see(loss)
    alarm, *others = watch.line(3, good**2 * start)["alarms"]  # below the bound of three steps
    assert others == []
    assert "Φ(τ+1) <= (1 - ηλ_0/2) Φ(τ) is violated: 1.01 >" in alarm
    watch.see(good**3 * start)
    assert watch.line(4, good**3 * start)["alarms"] == []  # each line tells of its own steps


def test_the_travel_of_every_matrix_has_a_bound_of_its_own():
    watch, network, certificate = watch_of_a_certified_start()
    delta, x = certificate.descent.delta, watch._x
    bounds = {"W": delta, "U": travel_of_u(certificate, x), "a": delta}
    assert bounds["U"] != pytest.approx(delta, rel=0.1)
    for name, bound in bounds.items():
        start = getattr(network, name)
        step = np.ones_like(start) / np.sqrt(start.size)
        for share, broken in ((1 - 1e-6, False), (1 + 1e-6, True)):
            report = watch.measure(replace(network, **{name: start + share * bound * step}))
            assert report[f"travel_{name}"] == pytest.approx(share * bound)
            assert any(f"travel_{name} <= " in alarm for alarm in report["alarms"]) == broken


def test_weights_that_are_not_finite_are_measured_as_such():
    watch, network, _ = watch_of_a_certified_start()
    broken = Network(network.activation, network.W * np.nan, network.U, network.a)
    report = watch.measure(broken)
    assert np.isnan(report["lambda_min"])
    assert len(report["alarms"]) == 3  # λ_min, L‖W‖₂ and the distance of W; a has not moved


@pytest.mark.slow
def test_a_certified_run_that_diverges_ends_with_advice(tmp_path):
    settings = {"optimizer": "gd(learning_rate=1e30)", "log_every": 1, "eval_every": 1}
    with pytest.raises(TrainingError, match="lower --learning_rate"):
        list(train(config(tmp_path, **settings)))


def test_nan_is_an_alarm():
    watch, _, _ = watch_of_a_certified_start()
    watch.see(float("nan"))
    assert watch.line(0, float("nan"))["alarms"]


def test_scaled_targets_are_those_of_the_loss():
    outputs, labels = np.array([[0.1, 0.3], [0.2, -0.1]]), np.array([1, 0])
    loss = Square(target_scale=0.5)
    expected = ((outputs - 0.5 * np.eye(2)[labels]) ** 2).sum() / 2
    assert float(loss(jax.numpy.asarray(outputs), jax.numpy.asarray(labels))) == pytest.approx(
        expected
    )
    with pytest.raises(ValueError, match="target_scale must be a finite number > 0"):
        Square(target_scale=0.0)
