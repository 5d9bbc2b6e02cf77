"""Every loss: a metric with a finite gradient, down which it falls."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np

from deqzoo import catalog
from deqzoo.data.loss import Loss
from deqzoo.testing import metric
from deqzoo.testing.check import Check, require

__all__ = ["check_loss"]


def _it_falls_along_its_negative_gradient(loss: Loss) -> None:
    for kind in loss.takes:
        outputs, targets = metric.examples(kind)
        value, slope = jax.jit(jax.value_and_grad(lambda o, t: loss(o, t)))(outputs, targets)
        chex.assert_tree_all_finite((value, slope))
        length = np.linalg.norm(slope)
        require(length > 0, f"its gradient is zero for {kind}")
        after = loss(outputs - 0.01 / length * np.asarray(slope), targets)
        require(after < value, f"a step down the gradient takes it from {value} to {after}")


def _twice_the_examples_are_twice_a_sum_and_the_same_mean(loss: Loss) -> None:
    for kind in loss.takes:
        outputs, targets = metric.examples(kind)
        double = [jnp.concatenate([each, each]) for each in (outputs, targets)]
        once, twice = loss(outputs, targets), loss(double[0], double[1])
        chex.assert_trees_all_close(twice, (2 if loss.is_sum else 1) * once, rtol=1e-5)


check_loss = Check(
    "loss",
    catalog.losses.get,
    (
        *metric.TRUTHS,
        _it_falls_along_its_negative_gradient,
        _twice_the_examples_are_twice_a_sum_and_the_same_mean,
    ),
)
