"""Objects in, results out: ``evaluate`` and ``export`` of a model that no run has trained."""

import dataclasses

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
from deqzoo.runs import export as runs_export
from deqzoo.runs.build_artefact import build_artefact
from deqzoo.runs.fitting import EvaluationError
from deqzoo.runs.loader import ExportError
from deqzoo.training.observer import Observer

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

    def head(self, z, injected):
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


def test_a_run_of_objects_records_what_they_are():
    """So that its config.json tells the truth, and the run of a task can be judged without data."""
    task = catalog.tasks.get("sphere(examples=30, dimension=4)")
    model = build(outputs=1, adjoint="implicit(solver='picard')")
    run = deqzoo.fit(model, task, **SETTINGS)
    assert run.config.task == "sphere(examples=30, dimension=4)"
    assert (run.config.solver, run.config.adjoint) == ("picard", "implicit(solver='picard')")
    assert deqzoo.evaluate(run).metrics["loss"] == pytest.approx(run.summary["test_loss"])
    arrays = deqzoo.fit(build(), (X, Y), **SETTINGS)
    with pytest.raises(EvaluationError, match=r"object:builtins.tuple: give its data"):
        deqzoo.evaluate(arrays)


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


def test_an_export_is_the_model_in_eval_mode(tmp_path):
    pytest.importorskip("flatbuffers")
    model = Normed(nnx.Rngs(0))
    modes, before = everything(model)
    path = deqzoo.export(model, tmp_path / "m.stablehlo", spec=(4,))
    loaded = deqzoo.load_exported(path)
    after_modes, after = everything(model)
    assert after_modes == modes
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    model.eval()
    outputs, solution = model(X)
    found, info = loaded(X)
    np.testing.assert_allclose(found, outputs, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(info["steps"], solution.stats.steps)
    about = loaded.description
    assert about["model"].endswith("Normed")
    assert (about["outputs"], about["classes"], about["input"]["scaling"]) == (2, None, None)
    assert about["verified"]["difference"] < 1e-5
    assert [each.name for each in tmp_path.iterdir()] == ["m.stablehlo"]


def test_the_run_of_a_fit_is_exported_and_replaces_an_earlier_file(tmp_path):
    pytest.importorskip("flatbuffers")
    run = deqzoo.fit(build(), (X, Y), **SETTINGS)
    for _ in range(2):
        path = deqzoo.export(run, tmp_path / "m.stablehlo", batch_size=60)
    loaded = deqzoo.load_exported(path)
    assert (loaded.description["step"], loaded.description["classes"]) == (6, 2)
    np.testing.assert_allclose(loaded(X)[0], run.model(X)[0], rtol=1e-5, atol=1e-6)


def test_a_file_for_another_machine_is_written_unverified(tmp_path):
    pytest.importorskip("flatbuffers")
    with pytest.warns(UserWarning, match="not verified: made for tpu, this machine has cpu"):
        deqzoo.export(build(), tmp_path / "m", spec=(4,), platforms=("tpu",))
    assert (tmp_path / "m").is_file()


def test_a_wrong_program_is_not_written(tmp_path, monkeypatch):
    pytest.importorskip("flatbuffers")

    def wrong(*arguments, **settings):
        made = build_artefact(*arguments, **settings)
        name = "parameters/outputs/bias"
        return dataclasses.replace(made, arrays={**made.arrays, name: made.arrays[name] + 1})

    monkeypatch.setattr(runs_export, "build_artefact", wrong)
    with pytest.raises(ExportError, match="differs from the model by 1 where rounding explains"):
        deqzoo.export(build(), tmp_path / "m", spec=(4,))
    assert not list(tmp_path.iterdir())


def fit(model, data, **others):
    return deqzoo.fit(model, data, **SETTINGS, **others)


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
    (lambda: fit(build(), (X, Y.astype(float))), r"real targets \(class labels are integers\)"),
    (lambda: fit(build(), (X, Y + 1)), "class labels 0 ... 2 .* build it with outputs=3"),
    (lambda: fit(build(), (X, Y), lr=0.1), "no setting 'lr'; did you mean 'learning_rate'"),
    (lambda: fit(build(), (X, Y), epochs=3), "no setting 'epochs'; did you mean 'steps'"),
    (lambda: fit(build(), (X, Y), callbacks=[]), "'callbacks'; did you mean 'observers'"),
    (lambda: fit(build(), (X, Y), observers=[print]), "must be a list of .*Observer, got"),
    (lambda: fit(build(), (X, Y), observers=Observer()), "must be a list of .*Observer, got"),
    (lambda: fit(build(), (X, Y), options={"mesh": "data:2"}), "options must be .*RunOptions"),
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
    (lambda: deqzoo.export(build(), "m"), r"give spec=.* such as the shape \(8,\)"),
    (lambda: deqzoo.export(build(), "m", spec=4), "give spec=.* got 4"),
    (lambda: deqzoo.export(build(), "m", spec=(5,)), r"cannot take examples of float32\[5\]"),
    (lambda: deqzoo.export(build(), "m", spec=(4,), platforms=("gpu",)), "no platform is called"),
    (lambda: deqzoo.export(build(), __file__, spec=(4,)), "exists and is no exported model"),
    (lambda: deqzoo.export("runs/tanh", "m", spec=(4,)), "expected a model"),
    (lambda: deqzoo.save("runs/tanh", "m"), "expected a model"),
]


@pytest.mark.filterwarnings("ignore:.*real targets", "ignore:no training example")
@pytest.mark.parametrize(("call", "message"), MISTAKES, ids=[m for _, m in MISTAKES])
def test_a_mistake_is_one_sentence(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert type(caught.value) is TypeError or type(caught.value).__module__.startswith("deqzoo.")
    assert len(str(caught.value)) < 400
