"""Objects in, results out: ``evaluate`` and ``export`` of a model that no run has trained."""

import jax
import numpy as np
import pytest
from flax import nnx

import deqzoo
from deqzoo import catalog
from deqzoo.data.metrics.accuracy import Accuracy
from deqzoo.models.classifier import Classifier
from deqzoo.nn.model import Model
from deqzoo.nn.pure_model import PureModel
from deqzoo.nn.wide_cell import WideCell

X = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)
SETTINGS = {"steps": 6, "batch_size": 10, "log_every": 1, "checkpoint_every": 3}


def build(seed=0, spec=(4,), outputs=2, **settings):
    given = {"activation": "tanh", "width": 8, "solver": "picard", **settings}
    return Classifier(spec, outputs, **given, rngs=nnx.Rngs(seed))


class Normed(Model):
    """Statistics and a random stream in the stem."""

    def __init__(self, rngs):
        self.activation = catalog.activations.get("tanh")
        self.inputs = nnx.Linear(4, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.deq = deqzoo.DEQ(WideCell(8, self.activation, rngs=rngs), solver="picard")
        self.outputs = nnx.Linear(8, 2, rngs=rngs)

    def stem(self, x):
        return self.dropout(self.norm(self.inputs(x)))

    def head(self, z):
        return self.outputs(z)


def right(outputs):
    return np.mean(np.argmax(np.asarray(outputs), axis=1) == Y)


def everything(model):
    """Structure, modes and arrays."""
    modes = [getattr(part, "use_running_average", None) for _, part in nnx.iter_graph(model)]
    return modes, [np.asarray(leaf) for leaf in jax.tree.leaves(PureModel(model).state)]


def test_a_model_is_judged_by_the_outputs_it_gives():
    """The mean of -log softmax and the share of right answers, by hand."""
    model = build()
    outputs, solution = model(X)
    found = deqzoo.evaluate(model, (X, Y), batch_size=7)
    log_odds = np.asarray(jax.nn.log_softmax(outputs))[np.arange(60), Y]
    assert found.metrics["loss"] == pytest.approx(-np.mean(log_odds), rel=1e-6)
    assert found.metrics["accuracy"] == pytest.approx(right(outputs))
    assert found.metrics["solver_steps"] == pytest.approx(np.mean(solution.stats.steps))
    assert (found.examples, found.metrics["converged"]) == (60, 1.0)


def test_a_run_and_its_model_are_judged_alike():
    run = deqzoo.fit(build(), (X, Y), **SETTINGS)
    of_run, of_model = (deqzoo.evaluate(each, (X, Y)) for each in (run, run.model))
    assert of_run.metrics == of_model.metrics


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_model_stays_as_it_is_and_is_judged_in_eval_mode(mode):
    model = Normed(nnx.Rngs(0))
    getattr(model, mode)()
    modes, before = everything(model)
    first, second = (deqzoo.evaluate(model, (X, Y)).metrics for _ in range(2))
    after_modes, after = everything(model)
    assert first == second
    assert after_modes == modes
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    model.eval()
    outputs = model(X)[0]
    assert first["accuracy"] == pytest.approx(right(outputs))


def test_a_task_its_recipe_and_its_data_are_the_same():
    model = build(spec=(8, 8, 1), outputs=10)
    task = catalog.tasks.get("digits")
    every = ("digits", task, task.load())
    one, *others = [deqzoo.evaluate(model, data, split="train").metrics for data in every]
    assert all(other == one for other in others)


def test_other_solvers_and_other_metrics():
    tight = catalog.solvers.get("picard(rtol=1e-6)")
    found = deqzoo.evaluate(build(), (X, Y), solvers=["anderson", tight], metrics=[Accuracy()])
    assert [each.solver for each in found.results] == ["picard", "anderson", "picard(rtol=1e-06)"]
    assert list(found.metrics)[:2] == ["loss", "accuracy"]
    assert "accuracy" not in deqzoo.evaluate(build(), (X, Y), metrics=()).metrics
    assert found.results[0].difference == 0 < found.results[2].difference


def fit(model, data):
    return deqzoo.fit(model, data, **SETTINGS)


LARGER = np.arange(60) % 3
MISTAKES = [
    (lambda: deqzoo.evaluate(build(), (X[:, :3], Y)), r"cannot take examples of float32\[3\]"),
    (lambda: fit(build(), (X[:, :3], Y)), r"cannot take examples of float32\[3\]"),
    (lambda: deqzoo.evaluate(build(), (X, LARGER)), r"in 3 classes ask for \(3,\)"),
    (lambda: fit(build(), (X, LARGER)), r"ask for \(3,\): build it with outputs=3"),
    (lambda: fit(build(outputs=3), (X, Y)), "build it with outputs=2"),
    (lambda: deqzoo.evaluate(build(), (X, Y[:, None])), r"ask for \(1, 2\): reshape"),
    (lambda: fit(build(), (X, Y[:, None])), r"ask for \(1, 2\): reshape y"),
    (lambda: deqzoo.evaluate(build(), (X, X[:, :3])), "class labels are stored as integers"),
    (lambda: fit(build(), (X, X[:, :3])), r"ask for \(3,\): build it with outputs=3"),
    (lambda: fit(build(), (X, Y[:50])), "the same length"),
    (lambda: fit(build(), (X, [*map(str, Y)])), r"y of \(x, y\) must hold numbers, got the text '"),
    (lambda: fit(build(), ([["a"]] * 60, Y)), r"x of \(x, y\) must hold numbers, got the text"),
    (lambda: fit(build(), ("digits", "labels")), r"x of \(x, y\) must hold numbers, got the text"),
    (lambda: fit(build(), ({"a": X}, Y)), r"x of \(x, y\) must be an array of numbers, got dict"),
    (lambda: fit(build(), X), r"must be a pair \(x, y\) of arrays"),
    (lambda: fit(build(), "digts"), "did you mean 'digits'"),
    (lambda: fit("classifier", (X, Y)), "expected a model"),
    (lambda: fit(Classifier, (X, Y)), "expected a model"),
    (lambda: deqzoo.evaluate("runs/tanh", (X, Y)), "expected a model .* or a run"),
    (lambda: deqzoo.evaluate(build()), r"give evaluate\(model, data\)"),
    (lambda: deqzoo.evaluate(build(), (X, Y), split="tset"), "split"),
    (lambda: deqzoo.evaluate(build(), (X, Y), batch_size=0), "batch_size must be"),
    (lambda: deqzoo.evaluate(build(), (X, Y), solvers=["picrad"]), "did you mean 'picard'"),
    (lambda: deqzoo.evaluate(build(), (X, Y), solvers="picard"), "must be a list"),
    (lambda: deqzoo.evaluate(build(), (X, Y), metrics=["acuracy"]), "did you mean 'accuracy'"),
    (lambda: deqzoo.evaluate(build(), (X, Y), metrics=["psnr"]), "psnr needs real targets"),
]


@pytest.mark.parametrize(("call", "message"), MISTAKES, ids=[m for _, m in MISTAKES])
def test_a_mistake_is_one_sentence(call, message):
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert type(caught.value) is TypeError or type(caught.value).__module__.startswith("deqzoo.")
    assert len(str(caught.value)) < 400
