"""The front door of Python: objects in, a run out, nothing else changed."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import deqzoo
from deqzoo import catalog
from deqzoo.data.losses.square import Square
from deqzoo.models.classifier import Classifier
from deqzoo.nn.pure_model import PureModel
from deqzoo.storage.checkpoint import CheckpointError
from deqzoo.storage.workdir import WorkdirError
from deqzoo.training import ConfigError, TrainConfig, TrainingError
from deqzoo.training.observer import Complaint, Observer

X = np.random.default_rng(0).standard_normal((60, 4))
Y = (X[:, 0] > 0).astype(int)
SETTINGS = {"steps": 6, "batch_size": 10, "log_every": 1, "checkpoint_every": 3}


def build(seed=0):
    return Classifier((4,), 2, activation="tanh", width=8, solver="picard", rngs=nnx.Rngs(seed))


def arrays(model):
    return jax.tree.leaves(PureModel(model).state)


def test_a_fit_is_the_run_of_the_command_with_the_same_settings(tmp_path):
    """Two ways in, one trainer: the weights are equal bit for bit."""
    from deqzoo.training import train

    np.savez(tmp_path / "mine.npz", x=X, y=Y)
    recipe = f"npz(path={str(tmp_path / 'mine.npz')!r}, scaling='none')"
    config = TrainConfig(
        activation="tanh",
        solver="picard",
        task=recipe,
        width=8,
        workdir=str(tmp_path / "a"),
        **SETTINGS,
    )
    list(train(config))
    theirs = deqzoo.load_run(tmp_path / "a").model
    started = config.build_model((4,), 2)
    ours = deqzoo.fit(started, (X, Y), workdir=tmp_path / "b", **SETTINGS).model
    for one, other in zip(arrays(theirs), arrays(ours), strict=True):
        np.testing.assert_array_equal(one, other)


def test_few_examples_are_one_batch():
    run = deqzoo.fit(build(), (X, Y), steps=1)
    assert run.config.batch_size == str(len(X) - 12 - 4)  # without what is held out


def test_the_given_model_stays_as_it_is_and_the_folder_goes_with_the_run():
    model = build()
    before = [np.array(leaf) for leaf in arrays(model)]
    run = deqzoo.fit(model, (X, Y), **SETTINGS)
    for one, other in zip(before, arrays(model), strict=True):
        np.testing.assert_array_equal(one, other)
    assert any(np.any(a != b) for a, b in zip(before, arrays(run.model), strict=True))
    folder, earlier = run.path, run.restore(3)
    del run
    assert earlier.step == 3
    assert earlier.metrics[-1]["step"] == 6
    assert folder.is_dir()
    del earlier
    assert not folder.exists()


def test_an_interrupted_fit_goes_on_bit_for_bit(tmp_path):
    class Stop(Observer):
        def at_report(self, report):
            if report["step"] == 5:
                raise Complaint("enough")
            return {}

    whole = deqzoo.fit(build(), (X, Y), **SETTINGS)
    with pytest.raises(TrainingError, match="enough"):
        deqzoo.fit(build(), (X, Y), workdir=tmp_path, observers=[Stop()], **SETTINGS)
    resumed = deqzoo.fit(build(), (X, Y), workdir=tmp_path, **SETTINGS)
    for one, other in zip(arrays(whole.model), arrays(resumed.model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_run_of_an_object_is_loaded_with_one_like_it(tmp_path):
    run = deqzoo.fit(build(), (X, Y), workdir=tmp_path, **SETTINGS)
    with pytest.raises(WorkdirError, match=r"load_run\(..., model=model\)"):
        deqzoo.load_run(tmp_path)
    again = deqzoo.load_run(tmp_path, model=build(seed=1))
    np.testing.assert_array_equal(again.model(X)[0], run.model(X)[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step": 3}, "did you mean 'steps'"),
        ({"task": "digits"}, "task is no setting of fit: the model and the data decide it"),
        ({"optimizer": 3}, "--optimizer must be text"),
        ({"precision": "float64"}, "build it with dtype= that fits"),
        ({"batch_size": True}, "--batch_size"),
        ({"batch_size": 61}, "exceeds the 44 training examples"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_is_one_sentence(settings, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        deqzoo.fit(build(), (X, Y), **settings)


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8, np.asarray, jnp.asarray])
def test_whole_numbers_of_every_library_are_what_their_text_says(kind):
    config = TrainConfig(batch_size=kind(64), steps=kind(7), width=kind(16), seed=kind(3))
    assert config == TrainConfig(batch_size="64", steps=7, width=16, seed=3)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("kind", [float, np.float64, np.float32, np.asarray, jnp.float32])
def test_numbers_of_every_library_are_what_their_text_says(kind):
    assert TrainConfig(learning_rate=kind(0.125)) == TrainConfig(learning_rate="0.125")
    assert TrainConfig(learning_rate=kind(1)).build_optimizer(Square()).learning_rate == 1


class Own:
    """No plug-in: nothing could read its name back."""


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("activation", jnp.tanh),
        ("activation", Own()),
        ("optimizer", optax.adam(1e-3)),
        ("solver", lambda z: z),
        ("task", (X, Y)),
        ("model", build),
        ("learning_rate", optax.constant_schedule(0.1)),
        ("learning_rate", np.ones(3)),
        ("batch_size", 2.5),
        ("steps", 2.5),
        ("steps", "7"),
        ("seed", True),
        ("workdir", Path("runs")),
    ],
)
def test_an_instance_that_cannot_be_written_down_is_refused_by_its_flag(setting, value):
    with pytest.raises(ConfigError, match=f"--{setting} must be ") as caught:
        TrainConfig(**{setting: value})
    assert "\n" not in str(caught.value)


def test_a_plug_in_is_what_its_recipe_says():
    config = TrainConfig(
        activation=catalog.activations.get("leaky_relu(negative_slope=0.2)"),
        optimizer=catalog.optimizers.get("momentum(beta=0.5)"),
    )
    assert config.activation == "leaky_relu(negative_slope=0.2)"
    assert catalog.optimizers.get(config.optimizer) == catalog.optimizers.get("momentum(beta=0.5)")
    assert TrainConfig.from_dict(config.to_dict()) == config


def test_a_saved_model_is_restored_bit_for_bit(tmp_path):
    folder = deqzoo.save(build(), tmp_path / "model")
    restored = deqzoo.restore(build(seed=1), folder)
    for one, other in zip(arrays(build()), arrays(restored), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(CheckpointError, match="not an empty folder"):
        deqzoo.save(build(), folder)
    with pytest.raises(CheckpointError, match="the model expects"):
        deqzoo.restore(Classifier((5,), 2, width=8, rngs=nnx.Rngs(0)), folder)
    with pytest.raises(CheckpointError, match="holds no model"):
        deqzoo.restore(build(), tmp_path)
