"""Losses and metrics: what they measure, parts add up to the whole, and -1 is no label."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deqzoo import catalog
from deqzoo.data.examples import Data, Split, TaskError
from deqzoo.data.metric import CLASSES, TARGETS, Metric
from deqzoo.data.tally import Tally
from deqzoo.testing import check_loss, check_metric, name_of
from deqzoo.testing.metric import examples
from deqzoo.training.evaluation import named, recorded

CHECKS = [(catalog.losses, check_loss), (catalog.metrics, check_metric)]
CASES = [
    pytest.param(check, name, truth, id=f"{name}-{name_of(truth)}")
    for room, check in CHECKS
    for name in room.names()
    for truth in check.truths
]


@pytest.mark.parametrize(("check", "name", "truth"), CASES)
def test_every_loss_and_metric_keeps_its_contract(check, name, truth):
    check(name, only=truth)


def test_what_the_metrics_are():
    outputs, labels = examples(CLASSES)
    kept = labels >= 0
    right = np.argmax(outputs, -1) == labels
    logs = jax.nn.log_softmax(outputs)
    nats = -np.mean([logs[i][labels[i]] for i in zip(*np.nonzero(kept), strict=True)])
    any_label = kept.any(axis=1)
    of = lambda name: float(catalog.metrics.get(name)(outputs, labels))  # noqa: E731
    assert of("accuracy") == pytest.approx(right[kept].mean())
    assert of("exact_match") == pytest.approx((right | ~kept).all(axis=1)[any_label].mean())
    assert of("perplexity") == pytest.approx(np.exp(nats), rel=1e-5)
    assert of("bits_per_character") == pytest.approx(nats / np.log(2), rel=1e-5)
    outputs, targets = examples(TARGETS)
    error = outputs - targets
    of = lambda recipe: float(catalog.metrics.get(recipe)(outputs, targets))  # noqa: E731
    assert of("psnr(peak=2.0)") == pytest.approx(10 * np.log10(4 / np.mean(error**2)), rel=1e-5)
    ratios = np.linalg.norm(error.reshape(12, -1), axis=1)
    ratios /= np.linalg.norm(targets.reshape(12, -1), axis=1)
    assert of("relative_l2") == pytest.approx(ratios.mean(), rel=1e-5)


def test_a_sum_of_many_small_half_precision_values_is_honest():
    values = jnp.full((1, 4096), 0.01, jnp.bfloat16)
    tally = Tally.over(values, values > 0, each=True)
    assert tally.sum.dtype == tally.count.dtype == jnp.float32
    assert tally.count[0] == 4096
    assert tally.sum[0] == pytest.approx(4096 * float(values[0, 0]), rel=1e-5)


def test_a_task_names_its_loss_and_its_metrics():
    split = Split(np.ones((2, 3)), np.zeros(2, int))
    assert (Data(split, split, 2).loss, Data(split, split, 2).metrics) == (
        "cross_entropy",
        ("accuracy",),
    )
    assert (Data(split, split, None).loss, Data(split, split, None).metrics) == ("square", ())
    own = Data(split, split, 2, loss="square", metrics=())
    assert (own.loss, own.metrics) == ("square", ())


def test_a_metric_of_another_kind_of_targets_is_refused():
    with pytest.raises(TaskError, match="psnr needs real targets, but the task has class"):
        named(["accuracy", "psnr"], CLASSES)


def test_a_package_brings_a_metric_of_its_own():
    @dataclasses.dataclass(frozen=True)
    class Margin(Metric):
        takes = (CLASSES,)
        higher_is_better = True

        def entries(self, outputs, targets):
            right = jnp.take_along_axis(outputs, jnp.maximum(targets, 0)[..., None], -1)
            others = outputs - right - 2 * jnp.max(jnp.abs(outputs)) * (outputs == right)
            return -jnp.max(others, axis=-1), targets >= 0

    catalog.metrics.register(Margin)
    try:
        assert named(["margin"], CLASSES)["margin"](jnp.eye(2), jnp.array([0, 1])) == 1
    finally:
        catalog.metrics._registered.pop("margin")


def test_a_report_tells_its_metrics():
    report = {"loss": 1.0, "test_loss": 2.0, "test_psnr": 3.0, "test_solver_steps_max": 4.0}
    assert recorded(report) == ("loss", "psnr")
    assert recorded(report, "train") == ()
