"""Every metric: parts add up to the whole, examples count by themselves, and -1 is no label."""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from deqzoo import catalog
from deqzoo.data.metric import CLASSES, TARGETS, Metric
from deqzoo.testing.check import Check, are_values, require

__all__ = ["check_metric"]

_EXAMPLES, _OUTPUTS = 12, 4
_PARTS = (slice(0, 3), slice(3, 4), slice(4, 12))
_SHAPES = ((), (5,), (2, 3))


def examples(kind: str, shape: tuple[int, ...] = (5,)) -> tuple[Any, Any]:
    """Outputs and targets; of labels some are none, and the first two examples have none."""
    rng = np.random.default_rng(0)
    full = (_EXAMPLES, *shape, _OUTPUTS)
    outputs = rng.standard_normal(full).astype(np.float32)
    if kind == TARGETS:
        return outputs, rng.standard_normal(full).astype(np.float32)
    labels = rng.integers(-1, _OUTPUTS, full[:-1])
    labels[:2] = -1
    return outputs, labels.astype(np.int32)


def settings_are_values(metric: Metric) -> None:
    """Two of equal settings are equal."""
    are_values(metric)


def it_speaks_of_a_kind_of_targets(metric: Metric) -> None:
    """``takes`` names one kind or both."""
    known = {CLASSES, TARGETS}
    require(metric.takes and {*metric.takes} <= known, f"takes is {metric.takes}, not of {known}")


def parts_add_up_to_the_whole(metric: Metric) -> None:
    """The number of merged tallies is that of the data set."""
    for kind in metric.takes:
        outputs, targets = examples(kind)
        tallies = [metric.tally(outputs[part], targets[part]) for part in _PARTS]
        merged = jax.tree.map(lambda *leaves: sum(leaves), *tallies)
        whole = metric(outputs, targets)
        chex.assert_shape(whole, ())
        chex.assert_tree_all_finite(whole)
        chex.assert_trees_all_close(metric.value(merged), whole, rtol=1e-5)


def every_example_counts_by_itself(metric: Metric) -> None:
    """Whatever the rank of its targets."""
    for kind in metric.takes:
        for shape in _SHAPES:
            outputs, targets = examples(kind, shape)
            each = metric.tally(outputs, targets, each=True)
            chex.assert_shape([each.sum, each.count], (_EXAMPLES,))
            merged, whole = metric.value(each.merged()), metric(outputs, targets)
            chex.assert_trees_all_close(merged, whole, rtol=1e-5)
            for i in (0, 7):
                alone = metric.tally(outputs[i : i + 1], targets[i : i + 1], each=True)
                here = jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], each)
                chex.assert_trees_all_close(alone, here, rtol=1e-5)


def an_entry_without_a_label_changes_nothing(metric: Metric) -> None:
    """Nor has its output a derivative."""
    if CLASSES not in metric.takes:
        return
    outputs, labels = examples(CLASSES)
    changed = jnp.where((labels == -1)[..., None], jnp.float32(100), outputs)
    chex.assert_trees_all_equal(metric(changed, labels), metric(outputs, labels))
    slope = np.asarray(jax.grad(lambda o: metric.tally(o, labels).sum)(jnp.asarray(outputs)))
    require(not np.any(slope[labels == -1]), "an output without a label has a derivative")
    chex.assert_tree_all_finite(metric(outputs, np.full_like(labels, -1)))


def a_share_lies_between_0_and_1(metric: Metric) -> None:
    """Where it says that it is one."""
    for kind in metric.takes if metric.is_share else ():
        whole = metric(*examples(kind))
        require(0 <= whole <= 1, f"is_share, and it is {whole}")


def it_is_the_same_inside_jit(metric: Metric) -> None:
    """Evaluation compiles it."""
    for kind in metric.takes:
        outputs, targets = examples(kind)
        compiled = jax.jit(lambda o, t: metric(o, t))(outputs, targets)
        chex.assert_trees_all_close(compiled, metric(outputs, targets), rtol=1e-5)


TRUTHS = (
    settings_are_values,
    it_speaks_of_a_kind_of_targets,
    parts_add_up_to_the_whole,
    every_example_counts_by_itself,
    an_entry_without_a_label_changes_nothing,
    a_share_lies_between_0_and_1,
    it_is_the_same_inside_jit,
)
check_metric = Check("metric", catalog.metrics.get, TRUTHS)
