"""Every task: finite, well shaped, scaled as promised, the same on every load, tested afresh."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from deqzoo import catalog
from deqzoo.data.augmentation import Augmentation
from deqzoo.data.examples import Split
from deqzoo.data.images import Images
from deqzoo.data.task import Task
from deqzoo.testing.check import Check, are_values, refuses, require

__all__ = ["check_task"]


def _settings_are_values(task: Task) -> None:
    are_values(task)


def _an_unknown_scaling_is_refused(task: Task) -> None:
    refuses(partial(replace, task, scaling="unit"), {"scaling": "unit"})


def _the_data_are_finite_and_well_shaped(task: Task) -> None:
    data = task.load()
    for name, split in data.splits.items():
        examples = len(split.y)
        for leaf in jax.tree.leaves(_arrays(split)):
            require(len(leaf) == examples, f"{name}: {len(leaf)} inputs, {examples} targets")
            require(np.all(np.isfinite(leaf)), f"{name}: an input is not finite")
        y, classes = np.asarray(split.y), data.classes
        if classes is None:
            require(y.dtype == np.float32, f"{name}: real targets are {y.dtype}, not float32")
            require(np.all(np.isfinite(y)), f"{name}: a target is not finite")
        else:
            low, high = y.min(), y.max()
            require(y.dtype == np.int32, f"{name}: labels are {y.dtype}, not int32")
            require(low >= -1 and high < classes, f"{name}: labels in [{low}, {high}]")


def _loading_again_gives_the_same_data(task: Task) -> None:
    first, second = task.load().fingerprint, task.load().fingerprint
    require(first == second, f"the fingerprints of two loads are {first} and {second}")


def _test_examples_are_fresh_or_the_training_examples_all(task: Task) -> None:
    found = {name: _rows(split) for name, split in task.load().splits.items()}
    for one, other in itertools.combinations(found, 2):
        common, size = len(found[one] & found[other]), len(found[one])
        shared = one == "train" and common == size
        held = f"{common} of {size} examples of the {one} split are in the {other} split"
        require(shared or common == 0, held)


def _inputs_are_scaled_as_declared(task: Task) -> None:
    for leaf in jax.tree.leaves(_arrays(task.load().train)):
        if task.scaling == "none" or not np.issubdtype(leaf.dtype, np.floating):
            continue
        if task.scaling == "sphere":
            norms = np.linalg.norm(leaf.reshape(len(leaf), -1).astype(np.float64), axis=1)
            np.testing.assert_allclose(norms, np.sqrt(leaf[0].size), rtol=1e-5)
        else:
            moments = leaf.mean(dtype=np.float64), leaf.std(dtype=np.float64)
            np.testing.assert_allclose(moments, (0, 1), atol=1e-5)


def _images_are_augmented_as_asked_in_training_alone(task: Task) -> None:
    if not isinstance(task, Images):
        return
    plain, asked = (replace(task, shift=shift, flip=shift > 0).load() for shift in (0, 1))
    require(plain.augmentation is None, f"nothing is asked for, got {plain.augmentation}")
    wanted = Augmentation(shift=1, flip=True)
    require(asked.augmentation == wanted, f"{wanted} is asked for, got {asked.augmentation}")
    require(asked.fingerprint != plain.fingerprint, "the fingerprint does not tell of it")
    for name, split in plain.splits.items():
        same = np.array_equal(_arrays(asked.splits[name]), _arrays(split))
        require(same, f"the {name} split is changed where it is measured")


def _arrays(split: Split) -> Any:
    return jax.tree.map(np.asarray, split.x)


def _rows(split: Split) -> set[Any]:
    """Every example, and of labels of several entries each one: a graph is in all splits."""
    leaves, y = jax.tree.leaves(_arrays(split)), np.asarray(split.y)
    rows = [b"".join(leaf[i].tobytes() for leaf in leaves) for i in range(len(y))]
    if y.ndim == 1 or not np.issubdtype(y.dtype, np.integer):
        return {*rows}
    return {(rows[at[0]], *map(int, at[1:])) for at in np.argwhere(y >= 0)}


check_task = Check(
    "task",
    catalog.tasks.get,
    (
        _settings_are_values,
        _an_unknown_scaling_is_refused,
        _the_data_are_finite_and_well_shaped,
        _loading_again_gives_the_same_data,
        _test_examples_are_fresh_or_the_training_examples_all,
        _inputs_are_scaled_as_declared,
        _images_are_augmented_as_asked_in_training_alone,
    ),
)
