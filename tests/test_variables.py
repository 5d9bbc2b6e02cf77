"""What a model holds besides its parameters goes where they go: steps, checkpoints, sweeps, files.

The model under test has BatchNorm and dropout in its stem, dropout and a mask in its cell.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deqzoo import catalog, load_exported, load_run
from deqzoo.nn import PureModel
from deqzoo.runs.build_artefact import build_artefact
from deqzoo.runs.verify import Comparison
from deqzoo.storage import files
from deqzoo.storage.checkpoint import CheckpointError, Checkpoints
from deqzoo.storage.workdir import Workdir
from deqzoo.sweeps import cell as sweep_cell
from deqzoo.training import ConfigError, TrainConfig, Training, train

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = """
import jax.numpy as jnp
import numpy as np
from flax import nnx

from deqzoo import catalog
from deqzoo.core.regularizer import Regularizer
from deqzoo.nn import DEQ, Model


class Cell(nnx.Module):
    def __init__(self, width, activation, rngs):
        self.linear = nnx.Linear(
            width, width, rngs=rngs, kernel_init=nnx.initializers.normal(0.3 / width**0.5)
        )
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.mask = np.arange(width) % 4 > 0
        self.gates = nnx.data([jnp.linspace(0.5, 1.0, width)])
        self.activation = activation

    def __call__(self, z, b):
        h = jnp.where(self.mask[None], self.dropout(self.linear(z)), 0)
        return self.activation(h * self.gates[0][None] + b)

    def start(self, b):
        return jnp.zeros_like(b)


@catalog.regularizers.register
class Distance(Regularizer):
    def penalty(self, fn, solution, key):
        return jnp.linalg.norm(fn(solution.value) - solution.value, axis=1)


@catalog.models.register
class Normed(Model):
    def __init__(
        self, spec, outputs, *, activation, width=12, solver, adjoint, rngs, dtype
    ):
        self.activation = catalog.activations.get(activation)
        self.inputs = nnx.Linear(
            np.prod(spec.shape), width, use_bias=False, param_dtype=dtype, rngs=rngs
        )
        self.norm = nnx.BatchNorm(width, momentum=0.5, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.deq = DEQ(Cell(width, self.activation, rngs), solver=solver, adjoint=adjoint)
        self.outputs = nnx.Linear(width, outputs, param_dtype=dtype, rngs=rngs)

    def stem(self, x):
        return self.dropout(self.norm(self.inputs(x.reshape(x.shape[0], -1))))

    def head(self, z, injected):
        return self.outputs(z)
"""
SETTINGS = {
    "model": "normed",
    "plugin": ("normed_plugin",),
    "optimizer": "gd(learning_rate=0.1)",  # a BatchNorm makes some gradients 0, which Adam blows up
    "batch_size": "32",
    "steps": 6,
    "log_every": 1,
    "eval_every": 3,
    "checkpoint_every": 3,
    "keep": 9,
    "solver": "picard(rtol=1e-5)",
    "adjoint": "implicit(solver='picard(rtol=1e-5)')",
}


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "normed_plugin.py").write_text(PLUGIN)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop("normed_plugin", None)  # a worker may come back to this module: register anew
    catalog.models._registered.pop("normed", None)
    catalog.regularizers._registered.pop("distance", None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run."""
    config = settings(tmp_path_factory.mktemp("whole"))
    list(train(config))
    return config


def settings(folder, **changes):
    return TrainConfig(**{**SETTINGS, "workdir": str(folder), **changes})


def saved(folder, step=6):
    reader = Checkpoints(Workdir(folder).checkpoints, writable=False)
    try:
        return reader.read(step)
    finally:
        reader.close()


def assert_same(found, expected, **tolerance):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        if tolerance:
            np.testing.assert_allclose(a, b, **tolerance)
        else:
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def digits(count=5):
    return catalog.tasks.get("digits").load().test.x[:count].astype(np.float32)


def test_a_checkpoint_holds_statistics_streams_and_constants(whole):
    variables = saved(whole.workdir)["variables"]
    assert variables["norm"]["mean"].shape == (12,)
    assert variables["dropout"]["rngs"]["count"] == 6
    assert variables["deq"]["cell"]["dropout"]["rngs"]["count"] == 6  # once a solve
    np.testing.assert_array_equal(variables["deq"]["cell"]["mask"], np.arange(12) % 4 > 0)
    gates = variables["deq"]["cell"]["gates"]["0"]
    np.testing.assert_allclose(gates, np.linspace(0.5, 1, 12), rtol=1e-6)


def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(whole, tmp_path):
    training = Training(settings(tmp_path))
    list(training.reports(stop=lambda step: step == 4))
    training.save()
    training.close()
    list(train(settings(tmp_path)))
    assert_same(saved(tmp_path), saved(whole.workdir))


def test_running_statistics_are_those_of_the_batches_seen(tmp_path):
    training = Training(settings(tmp_path))
    mean, variance = np.zeros(12), np.ones(12)
    for step in range(6):
        kernel = np.asarray(training.state.parameters["inputs"]["kernel"], np.float64)
        x = np.asarray(training._batches(step)[0], np.float64)
        rows = x.reshape(len(x), -1) @ kernel
        mean = 0.5 * mean + 0.5 * rows.mean(axis=0)
        variance = 0.5 * variance + 0.5 * rows.var(axis=0)
        training.take_step(step + 1)
        found = training.state.variables["norm"]
        np.testing.assert_allclose(found["mean"], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["var"], variance, rtol=1e-4, atol=1e-5)
    training.close()


@pytest.mark.slow
def test_a_regularizer_neither_counts_twice_nor_draws_another_mask(whole, tmp_path):
    weak = "distance(weight=1e-20)"
    *_, last, _ = train(settings(tmp_path, regularizer=weak, steps=3))
    assert last["penalty"] < 1e-20 * 1e-3  # what was solved is what it looks at
    plain, penalised = saved(whole.workdir, 3), saved(tmp_path, 3)
    assert_same(penalised["variables"], plain["variables"], rtol=1e-4, atol=1e-5)


def test_a_step_that_is_not_finite_changes_no_variable(tmp_path):
    training = Training(settings(tmp_path))
    x, y = training._batches(0)
    before = jax.tree.map(np.asarray, training.state.model)
    state, _ = training._step(training.state, np.full_like(x, np.nan), y)
    assert_same(jax.tree.map(np.asarray, state.model), before)
    training.close()


@pytest.mark.slow
def test_every_step_draws_masks_of_its_own(tmp_path):
    training = Training(settings(tmp_path))
    pure, x = training.setup.pure, jnp.asarray(digits())
    outputs = lambda state: pure.in_training(state, lambda model: model(x)[0])  # noqa: E731
    first, changes = outputs(training.state.model)
    again, _ = outputs(training.state.model)
    second, _ = outputs(training.state.model.updated(changes))
    np.testing.assert_array_equal(first, again)
    assert np.mean(np.abs(second - first) > 1e-3) > 0.5
    training.close()


def test_a_loaded_run_is_in_eval_mode_and_gives_what_evaluation_gave(whole):
    run = load_run(whole.workdir)
    x = digits()
    outputs, _ = run.model(x)
    np.testing.assert_array_equal(run.model(x)[0], outputs)
    np.testing.assert_allclose(run.model(x[:2])[0], outputs[:2], atol=1e-4)
    assert_same(PureModel(run.model).state.variables, saved(whole.workdir)["variables"])
    earlier = run.restore(3).model
    assert_same(PureModel(earlier).state.variables, saved(whole.workdir, 3)["variables"])
    training = Training(whole)
    evaluated = training.setup.pure(training.state.model, jnp.asarray(x))[0]
    np.testing.assert_allclose(outputs, evaluated, atol=1e-5)
    training.close()


def test_a_run_that_begins_from_another_takes_its_statistics_but_not_its_streams(whole, tmp_path):
    training = Training(settings(tmp_path, init_from=whole.workdir, seed=1))
    there, here = saved(whole.workdir)["variables"], training.state.variables
    assert_same(jax.tree.map(np.asarray, here["norm"]), there["norm"])
    own, others = (each["dropout"]["rngs"] for each in (here, there))
    assert own["count"] == 0
    assert not np.array_equal(own["key"], others["key"])
    training.close()


def test_a_run_without_the_variables_of_the_model_cannot_be_begun_from(tmp_path):
    list(train(settings(tmp_path / "plain", model="classifier", width=12, steps=3)))
    with pytest.raises(ConfigError, match="--init_from=.*plain: .*holds no 'variables'"):
        Training(settings(tmp_path / "normed", init_from=str(tmp_path / "plain")))


def test_a_damaged_statistic_is_found_by_its_checksum(whole, tmp_path, monkeypatch):
    reader = Checkpoints(Workdir(whole.workdir).checkpoints, writable=False)
    state = reader.read(6)
    reader.close()
    other = Checkpoints(tmp_path, writable=True)
    other.save(6, state, 0.0)
    other.wait()
    record = other._record(6)
    assert "variables/norm/mean" in record["crc32"]
    record["crc32"]["variables/norm/mean"] = "00000000"
    monkeypatch.setattr(other, "_record", lambda step: record)
    with pytest.raises(CheckpointError, match="checksum of variables/norm/mean differs"):
        other.read(6)
    other.close()


@pytest.mark.slow
@pytest.mark.parametrize("vmap", [True, False])
def test_the_seeds_of_a_sweep_are_the_runs_alone(vmap, whole, tmp_path):
    list(sweep_cell.train(whole, [0, 1], tmp_path, vmap=vmap))
    alone = settings(tmp_path / "alone", seed=1)
    list(train(alone))
    for seed, expected in ((0, whole.workdir), (1, alone.workdir)):
        found = saved(tmp_path / f"seed-{seed}")["variables"]
        assert_same(found, saved(expected)["variables"], rtol=1e-4, atol=1e-4)


def test_an_export_is_its_model_with_statistics_and_constants_as_members(whole, tmp_path):
    run = load_run(whole.workdir)
    artefact = build_artefact(run)
    assert {"variables/norm/mean", "variables/deq/cell/mask"} <= {*artefact.arrays}
    place = tmp_path / "normed.stablehlo"
    files.write(place, artefact.to_bytes())
    difference, rounding = Comparison(run.model, load_exported(place), (8, 8, 1)).difference(5)
    assert difference <= rounding


@pytest.mark.slow
def test_bfloat16_rounds_weights_and_constants_but_no_statistic(tmp_path):
    training = Training(settings(tmp_path, precision="bfloat16", solver="picard"))
    pure, seen = training.setup.pure, {}

    def look(model):
        seen["mean"], seen["gate"] = model.norm.mean[...].dtype, model.deq.cell.gates[0].dtype
        seen["mask"], seen["count"] = model.deq.cell.mask.dtype, model.dropout.rngs.count[...].dtype
        return model(jnp.asarray(digits()))[0]

    pure.in_training(training.state.model, look)
    assert seen == {"mean": "float32", "gate": "bfloat16", "mask": "bool", "count": "uint32"}
    list(training.reports(stop=lambda step: step == 2))
    kinds = jax.tree.map(lambda leaf: str(leaf.dtype), training.state.variables)
    assert kinds == jax.tree.map(lambda leaf: str(leaf.dtype), training.setup.state.variables)
    training.close()


@pytest.mark.slow
def test_on_two_devices_statistics_are_averaged_and_masks_differ(whole, plugin, tmp_path):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    places = os.pathsep.join([str(ROOT), str(plugin)])
    environment = {**os.environ, "PYTHONPATH": places, "XLA_FLAGS": flags.strip()}
    given = json.dumps({**SETTINGS, "plugin": ["normed_plugin"]})
    code = ON_TWO_DEVICES.format(given=given, folder=tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    found, expected = saved(tmp_path / "two")["variables"], saved(whole.workdir)["variables"]
    assert_same(found["dropout"], expected["dropout"])
    with np.load(tmp_path / "first.npz") as first:
        halves, mean, variance = first["rows"].reshape(2, -1, 12), first["mean"], first["var"]
        masks, loss, expected_loss = first["masks"], first["loss"], first["expected"]
    np.testing.assert_allclose(mean, 0.5 * halves.mean(axis=(0, 1)), atol=1e-5)
    within = halves.var(axis=1).mean(axis=0)  # without the variance between the devices
    np.testing.assert_allclose(variance, 0.5 + 0.5 * within, rtol=1e-4, atol=1e-5)
    assert not np.array_equal(*masks)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)


ON_TWO_DEVICES = """
import json
import jax, jax.numpy as jnp, numpy as np
from deqzoo.training import RunOptions, TrainConfig, Training
given = json.loads('''{given}''')
given["plugin"] = tuple(given["plugin"])
config = TrainConfig(workdir="{folder}/two", **given)
training = Training(config, RunOptions(mesh="data:2"))
x, y = training._batches(0)
kernel = np.asarray(training.state.parameters["inputs"]["kernel"])
rows = np.asarray(x).reshape(len(x), -1) @ kernel
pure, state = training.setup.pure, training.setup.state
drop = lambda model: model.dropout(jnp.ones((4, 12)))
masks = [pure.in_training(pure.with_streams(state, number), drop)[0] for number in (0, 1)]
losses = []
for number, half in enumerate((slice(0, 16), slice(16, 32))):
    use = lambda model: training.setup.loss(model(jnp.asarray(x[half]))[0], jnp.asarray(y[half]))
    losses.append(float(pure.in_training(pure.with_streams(state, number), use)[0]))
loss = training._packed.read(training.take_step(1))["loss"]
norm = training.state.variables["norm"]
found = dict(rows=rows, mean=norm["mean"], var=norm["var"], masks=masks, loss=loss)
np.savez("{folder}/first.npz", **found, expected=np.mean(losses))
list(training.reports())
training.close()
"""
