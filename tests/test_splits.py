"""The validation split: the same on every load, and the only one that a choice looks at."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx

import deqzoo
from deqzoo import catalog
from deqzoo.catalog import CatalogError
from deqzoo.data.arrays import data_of_arrays
from deqzoo.data.carving import carved
from deqzoo.data.examples import Data, Split, TaskError
from deqzoo.data.rows import Rows
from deqzoo.data.task import Task
from deqzoo.data.windows import Windows
from deqzoo.models.classifier import Classifier
from deqzoo.runs.evaluate import EvaluationError
from deqzoo.training import ConfigError

X = np.random.default_rng(0).standard_normal((40, 4))
Y = (X[:, 0] > 0).astype(int)
EVERY, FLIPPED = (X, Y), (X, 1 - Y)
SETTINGS = {
    "steps": 8,
    "batch_size": "full",
    "learning_rate": 0.05,
    "keep": 1,
    "log_every": 2,
    "eval_every": 2,
    "checkpoint_every": 2,
}


def pairs(split):
    """The examples as a set of bytes."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(split)]
    return {b"".join(leaf[i].tobytes() for leaf in leaves) for i in range(split.examples)}


def numbered(n):
    return Split({"a": np.arange(n * 2.0).reshape(n, 2), "b": [np.arange(n)]}, np.arange(n) % 2)


# What is held out.


def test_a_share_of_the_training_examples_is_held_out_and_nothing_is_lost():
    every = numbered(50)
    data = Data(every, numbered(5), 2, tokens={"a": None, "b": [50]})
    found = carved(data, 0.25)
    train, validation = pairs(found.train), pairs(found.validation)
    assert (len(train), len(validation)) == (38, 12)
    assert train | validation == pairs(every)
    assert found.test is data.test
    assert found.chooser == "validation"
    assert found.fingerprint == carved(data, 0.25).fingerprint != data.fingerprint


def test_what_is_on_disk_stays_there(tmp_path):
    np.save(tmp_path / "x.npy", X)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    lazy, eager = (carved(Data(Split(x, Y), EVERY, 2), 0.1) for x in (x, X))
    for name in ("train", "validation"):
        on_disk, memory = (found.splits[name].x for found in (lazy, eager))
        assert isinstance(on_disk, Rows)
        np.testing.assert_array_equal(on_disk, memory)
        for index in (slice(1, 3), np.array([2, 0, 2]), -1):
            np.testing.assert_array_equal(on_disk[index], memory[index])
        np.testing.assert_array_equal(on_disk.every(2)[:], memory[::2])


def test_nothing_is_held_out_where_it_would_be_wrong():
    once = numbered(30)
    tokens = np.arange(40) % 7
    text = Split(Windows(tokens, 3), Windows(tokens, 3, shift=1))
    own = Data(once, numbered(5), 2, validation=numbered(4))
    for data, share in (
        (own, 0.5),
        (Data(once, once, 2), 0.5),
        (Data(text, text.at(slice(3)), 7, tokens=7), 0.5),
        (Data(once, numbered(5), 2), 0.0),
        (Data(once, numbered(5), 2), 0.03),
    ):
        assert carved(data, share) is data
    assert Data(once, once, 2).chooser == "train"


def test_a_validation_split_without_a_label_is_refused():
    masked = Split(X, np.where(np.arange(40) < 1, 1, -1))
    with pytest.raises(TaskError, match="the validation split has no label"):
        carved(Data(masked, EVERY, 2), 0.1)


@pytest.mark.parametrize("share", [1, -0.1, "tenth"])
def test_an_impossible_share_is_refused(share):
    says = r"validation must be a number in \[0, 1\), got"
    with pytest.raises(CatalogError, match=says):
        catalog.tasks.get(f"digits(validation={share!r})")
    with pytest.raises(ValueError, match=says):
        data_of_arrays(EVERY, validation=share)


def test_arrays_come_with_a_validation_split_of_ones_own_or_with_none():
    sizes = lambda **given: {  # noqa: E731
        name: split.examples for name, split in data_of_arrays(EVERY, **given).splits.items()
    }
    assert sizes() == {"train": 29, "test": 8, "validation": 3}
    assert sizes(validation=0) == {"train": 32, "test": 8}
    assert sizes(test=EVERY, validation=FLIPPED) == {"train": 40, "test": 40, "validation": 40}
    with pytest.raises(TaskError, match="validation must be a pair"):
        data_of_arrays(EVERY, validation=(X,))
    with pytest.raises(TaskError, match="integers .* or all be floats .* int64, int64, float64"):
        data_of_arrays(EVERY, validation=(X, Y / 2))


def test_the_training_share_alone_decides_the_scaling():
    class Shifted(Task):
        def read(self):
            return Data(Split(X, Y), Split(X, Y), 2, validation=Split(X + 100, Y))

    data = Shifted().load()
    assert data.train.x.mean() == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(data.validation.x, (X + 100 - X.mean()) / X.std(), rtol=1e-5)


# What looks at it.


def run_on(data, **settings):
    model = Classifier((4,), 2, activation="tanh", width=8, solver="picard", rngs=nnx.Rngs(0))
    return deqzoo.fit(model, data, **{**SETTINGS, **settings})


def scores(run, name):
    return {row["step"]: row[name] for row in run.metrics if name in row}


def test_the_best_checkpoint_is_that_of_the_validation_split_and_not_of_the_test_split():
    """Labels of one of the two are flipped: the longer the training, the worse it does on them."""
    for validation, test, best in ((EVERY, FLIPPED, max), (FLIPPED, EVERY, min)):
        run = run_on(data_of_arrays(EVERY, test, validation=validation))
        found = scores(run, "validation_loss")
        assert min(found, key=found.get) == best(found) == run.summary["best_step"]
        assert set(run.steps) == {best(found), 8}


def test_the_best_by_a_metric_is_the_highest_where_higher_is_better():
    data = replace(data_of_arrays(EVERY, EVERY, validation=FLIPPED), metrics=("accuracy",))
    run = run_on(data, keep_best_by="accuracy")
    found = scores(run, "validation_accuracy")
    assert found[2] > found[8]
    assert found[run.summary["best_step"]] == max(found.values())
    assert run.config.keep_best_by == "accuracy"
    lower = run_on(replace(data, metrics=("perplexity",)), keep_best_by="perplexity")
    assert lower.summary["best_step"] == 2


def test_a_metric_that_is_not_measured_is_refused_with_those_that_are():
    with pytest.raises(ConfigError, match="--keep_best_by must be one of loss, accuracy; got 'f1'"):
        run_on(data_of_arrays(EVERY), keep_best_by="f1")


def test_without_a_validation_split_the_training_split_decides():
    run = run_on(data_of_arrays(EVERY, FLIPPED, validation=0))
    found = scores(run, "train_loss")
    assert run.summary["best_step"] == min(found, key=found.get) == 8
    assert not any(name.startswith("validation") for name in run.summary)


def test_every_number_names_its_split():
    run = run_on(data_of_arrays(EVERY, FLIPPED))
    assert {"validation_accuracy", "test_accuracy"} <= run.metrics[-1].keys()
    assert "train_accuracy" not in run.metrics[-1]
    for split in ("train", "validation", "test"):
        assert {f"{split}_loss", f"{split}_accuracy", f"{split}_converged"} <= run.summary.keys()
    sizes = {"train": 36, "test": 40, "validation": 4}
    assert run.resolved["examples"] == sizes


def test_a_run_is_evaluated_on_it():
    data = data_of_arrays(EVERY, FLIPPED)
    run = run_on(data)
    found = deqzoo.evaluate(run, data, split="validation")
    assert found.metrics["loss"] == pytest.approx(run.summary["validation_loss"], rel=1e-5)
    with pytest.raises(EvaluationError, match="one of train, test; got 'validation'"):
        deqzoo.evaluate(run, replace(data, validation=None), split="validation")
