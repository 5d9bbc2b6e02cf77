"""Evaluations equal what training measured, compare solvers, and refuse what does not fit."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import deqzoo
from deqzoo import catalog
from deqzoo.data.losses.cross_entropy import CrossEntropy
from deqzoo.data.losses.square import Square
from deqzoo.data.metrics.accuracy import Accuracy
from deqzoo.runs.evaluate import evaluate
from deqzoo.runs.fitting import EvaluationError
from deqzoo.runs.measures import metrics_of
from deqzoo.runs.variants import solvers
from deqzoo.storage import files
from deqzoo.training import TrainConfig, train
from launch._command import USAGE, UsageError
from launch.evaluate import EvaluateConfig, show

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "tanh"
    config = TrainConfig(
        activation="tanh",
        width=16,
        batch_size="64",
        solver="picard",
        adjoint="implicit(solver='picard')",
        steps=4,
        eval_every=2,
        checkpoint_every=2,
        workdir=str(path),
    )
    list(train(config))
    return deqzoo.load_run(path)


@pytest.fixture(scope="module")
def data(run):
    return catalog.tasks.get(run.config.task).load()


def npz(tmp_path, **arrays):
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)
    return f"npz:{path}"


@pytest.mark.quick("test-100")
@pytest.mark.parametrize(("split", "chunk"), [("test", 512), ("test", 100), ("train", 512)])
def test_the_own_solver_reaches_what_training_measured(split, chunk, run, data):
    [row] = evaluate(run, data, split=split, batch_size=chunk).results
    measured = {
        name: run.summary[f"{split}_{name}"]
        for name in row.metrics
        if f"{split}_{name}" in run.summary
    }
    assert {"loss", "accuracy"} <= set(measured)
    assert row.metrics == pytest.approx({**row.metrics, **measured}, rel=1e-5)
    assert (row.difference, row.failures) == (0, ())


def test_the_same_solver_differs_by_nothing_and_a_finer_one_by_its_tolerance(run, data):
    others = ["picard", "picard(rtol=1e-6)"]
    own, same, finer = evaluate(run, data, solvers=others).results
    assert same.metrics == own.metrics
    assert same.difference == 0 < finer.difference
    outputs, solution = run.model(data.test.x)
    # |A (z - z*)| <= ‖A‖ ‖z - z*‖ <= ‖A‖ residual / (1 - L‖W‖) for both
    gain = float(np.linalg.norm(run.model.outputs.kernel[...], 2))
    room = 1 - run.summary["bound"]
    assert finer.difference <= 2.1 * gain * float(solution.stats.residual.max()) / room
    assert finer.metrics["solver_steps"] > own.metrics["solver_steps"]


def test_changes_apply_to_every_recipe_or_to_the_own_solver(run):
    own = run.model.deq.solver
    assert solvers([], own, {"max_steps": 3}) == [dataclasses.replace(own, max_steps=3)]
    named = solvers(["picard", "anderson(history=2)"], own, {"rtol": 1e-3})
    assert [rule.rtol for rule in named] == [1e-3, 1e-3]
    assert solvers([], own, {}) == []
    with pytest.raises(ValueError, match=r"max_steps must be a whole number in \[1, 2\^31\)"):
        solvers([], own, {"max_steps": 0})


def test_examples_that_do_not_converge_are_counted_with_advice(run, data):
    _, short = evaluate(run, data, solvers=["picard(max_steps=2)"]).results
    [failure] = short.failures
    assert failure.status == "MAX_STEPS"
    assert failure.examples == len(data.test.x) * (1 - short.metrics["converged"])
    assert failure.residual == pytest.approx(short.metrics["residual"])
    assert failure.first == 0
    assert "raise max_steps" in failure.advice


def test_another_task_is_scaled_in_its_own_way(run, data, tmp_path):
    raw = catalog.tasks.get("digits").read()
    arrays = {"x": 3.0 * raw.train.x + 5, "y": raw.train.y}
    arrays |= {"x_test": 3.0 * raw.test.x + 5, "y_test": raw.test.y}
    task = npz(tmp_path, **arrays)
    [expected] = evaluate(run, data).results
    [shifted] = evaluate(run, task).results  # standard scaling undoes it
    assert shifted.metrics == pytest.approx(expected.metrics, rel=1e-4)
    [other] = evaluate(run, f"npz(path={task[4:]!r}, scaling='none')").results
    assert other.metrics["loss"] > expected.metrics["loss"] + 0.1


@pytest.mark.filterwarnings("ignore:no training example")
def test_data_with_fewer_classes_fit_and_others_do_not(run, tmp_path):
    x = np.random.default_rng(0).standard_normal((12, 8, 8, 1))
    y = np.arange(12) % 3
    [row] = evaluate(run, npz(tmp_path, x=x, y=y)).results
    assert 0 <= row.metrics["accuracy"] <= 1
    for changed, message in (
        ({"x": x[:, :7]}, r"inputs float32\[8, 8, 1\], the task has float32\[7, 8, 1\]"),
        ({"y": np.arange(12)}, "predicts 10 classes, the task has 12"),
        ({"y": x[:, 0, 0]}, "predicts classes, the task has real targets"),
    ):
        task = npz(tmp_path, **{"x": x, "y": y, **changed})
        with pytest.raises(EvaluationError, match=message):
            evaluate(run, task)


def test_a_solver_that_cannot_run_the_model_is_refused(run, data):
    with pytest.raises(EvaluationError, match="forward_backward cannot run this model"):
        evaluate(run, data, solvers=["forward_backward"])


def test_the_loss_is_the_resolved_one(run):
    assert run.resolved["loss"] == "cross_entropy"
    assert metrics_of(run) == {"loss": CrossEntropy(), "accuracy": Accuracy()}
    scaled = {**run.resolved, "loss": "square(target_scale=0.25)"}
    changed = metrics_of(dataclasses.replace(run, resolved=scaled))
    assert changed["loss"] == Square(target_scale=0.25)


def test_json_is_strict_and_writing_leaves_no_scraps(tmp_path):
    path = tmp_path / "new" / "numbers.json"
    text = files.to_json({"a": [math.inf, 1.5, {"b": math.nan}], "c": "φ"})
    files.write(path, text.encode())
    assert json.loads(path.read_text()) == {"a": [None, 1.5, {"b": None}], "c": "φ"}
    files.write(path, b"{}")
    assert [each.name for each in path.parent.iterdir()] == ["numbers.json"]


def test_the_command_prints_a_table_and_writes_it(run, tmp_path):
    arguments = (f"--workdir={run.path}", "--step=2", "--solver=picard(max_steps=1)", "--rtol=1e-3")
    done = subprocess.run(
        [sys.executable, "-m", "launch.evaluate", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads((run.path / "evaluation.json").read_text())
    assert (record["step"], record["examples"], record["task"]) == (2, 360, "digits")
    own, short = record["evaluations"]
    assert (own["solver"], short["solver"]) == ("picard", "picard(rtol=0.001, max_steps=1)")
    assert own["metrics"]["loss"] == pytest.approx(
        next(row["test_loss"] for row in run.metrics if row["step"] == 2), rel=1e-5
    )
    for shown in (
        "step 2 of",
        "360 of 360 examples ended MAX_STEPS",
        "raise max_steps",
        "written:",
    ):
        assert shown in done.stdout
    assert f"{own['metrics']['accuracy']:.4f}" in done.stdout


def test_nothing_but_an_earlier_evaluation_is_overwritten(run):
    metrics = run.path / "metrics.jsonl"
    before = metrics.read_bytes()
    for other in ("metrics.jsonl", "summary.json", "config.json"):
        with pytest.raises(UsageError, match="exists and is no evaluation"):
            show(EvaluateConfig(workdir=str(run.path), output=str(run.path / other)))
    assert metrics.read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workdir": ""}, "--workdir is needed"),
        ({"step": "last"}, "--step must be a whole number or 'best', got 'last'"),
        ({"split": "dev"}, "--split must be one of validation, test, train; got 'dev'"),
        ({"batch_size": 0}, "--batch_size must be >= 1, got 0"),
        ({"rtol": -1.0}, "rtol must be a finite number >= 0"),
        ({"precision": "float16"}, "precision must be one of bfloat16, float32 or None"),
        ({"solver": ("picrad",)}, "did you mean 'picard'"),
        ({"task": "sphere"}, r"the run takes inputs float32\[8, 8, 1\]"),
        ({"output": "/proc/none/evaluation.json"}, "cannot use /proc/none as --output"),
    ],
)
def test_wrong_settings_are_one_line(settings, message, run):
    with pytest.raises(ValueError, match=message) as caught:
        show(EvaluateConfig(**{"workdir": str(run.path), **settings}))
    assert "\n" not in str(caught.value)
    assert type(caught.value).__module__.split(".")[0] in ("deqzoo", "launch")


def test_a_missing_run_is_wrong_usage(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "launch.evaluate", "--workdir=nowhere"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr.count("\n")) == (USAGE, 1)
    assert "nowhere holds no config.json" in done.stderr
