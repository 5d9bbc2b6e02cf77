"""A finished run can be loaded, compared with what was measured, and taken apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo import catalog
from deqzoo.analysis import plots
from deqzoo.storage.checkpoint import CheckpointError, Checkpoints
from deqzoo.storage.workdir import Workdir, WorkdirError
from deqzoo.training import TrainConfig, train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "tanh"
    config = TrainConfig(
        activation="tanh",
        width=24,
        steps=20,
        log_every=2,
        eval_every=5,
        checkpoint_every=5,
        workdir=str(path),
    )
    list(train(config))
    return path


def test_the_loaded_model_reproduces_the_measured_accuracy(folder):
    run = deqzoo.load_run(folder)
    test = catalog.tasks.get(run.config.task).load().test
    outputs, solution = run.model(jnp.asarray(test.x))
    assert run.step == 20
    assert np.mean(np.argmax(outputs, axis=1) == test.y) == pytest.approx(
        run.summary["test_accuracy"]
    )
    assert float(solution.stats.fraction_converged) == 1
    assert all(
        leaf.devices() == {jax.local_devices(backend="cpu")[0]} for leaf in jax.tree.leaves(outputs)
    )


def test_config_metrics_and_steps(folder):
    run = deqzoo.load_run(folder)
    assert (run.config.activation, run.config.width, run.config.workdir) == (
        "tanh",
        24,
        str(folder),
    )
    assert [row["step"] for row in run.metrics] == [2, 4, 5, 6, 8, 10, 12, 14, 15, 16, 18, 20]
    assert run.versions["jax"] == jax.__version__
    assert {15, 20} <= set(run.steps)
    assert run.resolved["outputs"] == 10


def test_other_steps_can_be_restored(folder):
    run = deqzoo.load_run(folder)
    earlier = run.restore(15)
    x = jnp.ones((2, 8, 8, 1))
    assert (run.step, earlier.step) == (20, 15)
    assert not np.array_equal(run.model(x)[0], earlier.model(x)[0])
    losses = [row for row in run.metrics if "validation_loss" in row]
    scores = {row["step"]: row["validation_loss"] for row in losses}
    assert deqzoo.load_run(folder, step="best").step == min(scores, key=scores.get)
    with pytest.raises(CheckpointError, match="no checkpoint of step 7"):
        run.restore(7)
    with pytest.raises(ValueError, match="must be a whole number, 'best' or None"):
        run.restore("last")


def test_part_of_a_checkpoint_comes_as_numpy(folder):
    run = deqzoo.load_run(folder)
    part = run.arrays("parameters/deq/cell/W")
    weight = part["parameters"]["deq"]["cell"]["W"]
    assert type(weight) is np.ndarray
    assert weight.tobytes() == np.asarray(run.model.deq.cell.W[...]).tobytes()
    assert list(part) == ["parameters"]
    assert list(part["parameters"]) == ["deq"]
    with pytest.raises(CheckpointError, match="holds no 'parameters/deq/V'"):
        run.arrays("parameters/deq/V")


def test_loading_changes_nothing_on_disk(folder):
    listing = lambda: {p: p.stat().st_mtime_ns for p in sorted(folder.rglob("*"))}  # noqa: E731
    before = listing()
    deqzoo.load_run(folder).arrays("optimizer")
    assert listing() == before


@pytest.mark.slow
def test_a_damaged_latest_checkpoint_is_passed_over_with_a_warning(tmp_path):
    config = TrainConfig(width=64, steps=4, checkpoint_every=2, workdir=str(tmp_path / "run"))
    list(train(config))
    latest = Workdir(config.workdir).checkpoints / "4"
    largest = max(
        (file for file in latest.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size
    )
    data = bytearray(largest.read_bytes())
    for place in range(
        0, len(data), len(data) // 64
    ):  # the parameters share the file with the optimizer's state
        data[place] ^= 16
    largest.write_bytes(bytes(data))
    with pytest.warns(UserWarning, match="checkpoint 4 of .* was passed over: step 4 is damaged"):
        run = deqzoo.load_run(config.workdir)
    assert run.step == 2


@pytest.mark.slow
def test_a_float64_run_is_loaded_in_float32_with_a_warning(tmp_path):
    with jax.enable_x64(True):
        config = TrainConfig(width=8, steps=1, precision="float64", workdir=str(tmp_path / "run"))
        list(train(config))
        exact = deqzoo.load_run(config.workdir).model(jnp.ones((1, 8, 8, 1)))[0]
    assert exact.dtype == jnp.float64
    with pytest.warns(UserWarning, match="trained in float64 and is loaded in float32"):
        run = deqzoo.load_run(config.workdir)
    rounded = run.model(jnp.ones((1, 8, 8, 1)))[0]
    assert rounded.dtype == jnp.float32
    np.testing.assert_allclose(rounded, exact, rtol=1e-4)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(WorkdirError, match="holds no config.json"):
        deqzoo.load_run(tmp_path)


def test_a_run_of_a_missing_plugin_says_which(tmp_path, monkeypatch):
    homemade = {"homemade": catalog.activations.load("tanh")}
    with monkeypatch.context() as patch:
        patch.setattr(catalog.activations, "_registered", homemade)
        list(train(TrainConfig(activation="homemade", width=4, steps=1, workdir=str(tmp_path))))
    with pytest.raises(ValueError, match="no activation is called 'homemade'"):
        deqzoo.load_run(tmp_path)


def test_a_run_without_checkpoints_says_so(folder, tmp_path):
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(WorkdirError, match="holds no checkpoint yet"):
        deqzoo.load_run(tmp_path)


def test_checkpoints_hold_plain_dictionaries(folder):
    reader = Checkpoints(Workdir(folder).checkpoints, writable=False)
    state = reader.read(20)
    reader.close()
    assert set(state) == {"parameters", "optimizer", "step"}
    assert state["step"] == 20
    assert {"outputs", "inputs", "deq"} == set(state["parameters"])


def test_pictures_are_drawn(folder, tmp_path):
    metrics = Workdir(folder).read_metrics()
    for path in (
        plots.training(metrics, tmp_path / "plots" / "training.png", "tanh"),
        plots.training(
            [{k: v for k, v in r.items() if "accuracy" not in k} for r in metrics],
            tmp_path / "b.png",
            "t",
        ),
        plots.activation(catalog.activations.get("relu"), tmp_path / "relu.png"),
    ):
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
