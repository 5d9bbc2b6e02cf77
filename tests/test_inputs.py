"""Inputs of any structure: tokens stay integers, arrays may be several, constants are shared."""

import contextlib
import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_training import assert_equal_bits, parameters_of

import activations
from deqzoo import catalog, load_run
from deqzoo.data.examples import Data, Split, TaskError
from deqzoo.data.spec import Spec, as_spec, described, from_plain, one_array, to_plain
from deqzoo.data.task import Task
from deqzoo.models.classifier import Classifier
from deqzoo.nn import DEQ, Model
from deqzoo.runs.build_artefact import build_artefact
from deqzoo.runs.evaluate import EvaluationError, evaluate
from deqzoo.runs.loader import ExportError, load_exported
from deqzoo.training import ConfigError, TrainConfig, Training, train

SIZE, LENGTH, NODES = 300, 5, 6
SMALL = {
    "width": 8,
    "batch_size": "8",
    "solver": "picard",
    "adjoint": "implicit(solver='picard')",
    "constraint": "monitor",
    "steps": 4,
    "log_every": 1,
    "eval_every": 2,
    "checkpoint_every": 2,
}


@dataclass(frozen=True)
class Letters(Task):
    """Tokens (n, 5) and their places; the label of each is whether it is even, some have none."""

    metrics = ("exact_match", "accuracy")

    def read(self):
        rng = np.random.default_rng(0)

        def split(n):
            ids = rng.integers(0, SIZE, (n, LENGTH))
            ids[0] = SIZE - 1
            place = np.broadcast_to(np.linspace(-1, 1, LENGTH), (n, LENGTH))
            labels = np.where(rng.random((n, LENGTH)) < 0.3, -1, ids % 2)
            return Split({"ids": ids.astype(np.uint16), "place": place + 0.0 * ids}, labels)

        return Data(split(24), split(9), classes=2, tokens={"ids": SIZE, "place": None})


class Speller(Model):
    """An embedding, an equilibrium for every place, two logits."""

    def __init__(
        self, spec, outputs, *, activation, width=8, solver, adjoint, rngs, dtype=jnp.float32
    ):
        self.activation = catalog.activations.get(activation)
        self.table = nnx.Embed(spec["ids"].size, width, param_dtype=dtype, rngs=rngs)
        self.deq = DEQ(_Spread(self.activation, 1.0), solver=solver, adjoint=adjoint)
        self.out = nnx.Linear(width, outputs, param_dtype=dtype, rngs=rngs)

    def stem(self, x):
        return self.table(x["ids"]) + x["place"][..., None]

    def head(self, z, injected):
        return self.out(z)


@dataclass(frozen=True)
class Ring(Task):
    """One graph, a ring: half of the nodes have a label in train, the others in test."""

    scaling: str = "none"

    def read(self):
        x = np.random.default_rng(0).standard_normal((1, NODES, 3))
        y = np.arange(NODES)[None] % 2
        near = np.eye(NODES, k=1) + np.eye(NODES, k=-1)
        near[0, -1] = near[-1, 0] = 1
        first = np.arange(NODES) < 3
        splits = (Split(x, np.where(mask, y, -1)) for mask in (first, ~first))
        return Data(*splits, classes=2, constants={"near": near / 2, "kinds": (np.arange(3),)})


class Neighbours(Model):
    """z = φ(½ Â z + Ux), one state a graph."""

    def __init__(
        self,
        spec,
        outputs,
        *,
        constants,
        activation,
        width=4,
        solver,
        adjoint,
        rngs,
        dtype=jnp.float32,
    ):
        self.activation = catalog.activations.get(activation)
        assert constants["kinds"][0].tolist() == [0, 1, 2]
        self.inputs = nnx.Linear(spec.shape[-1], width, param_dtype=dtype, rngs=rngs)
        cell = _Spread(self.activation, nnx.Variable(jnp.asarray(constants["near"], dtype)))
        self.deq = DEQ(cell, solver=solver, adjoint=adjoint)
        self.out = nnx.Linear(width, outputs, param_dtype=dtype, rngs=rngs)

    def stem(self, x):
        return self.inputs(x)

    def head(self, z, injected):
        return self.out(z)


class _Spread(nnx.Module):
    def __init__(self, activation, near):
        self.activation, self.near = activation, near

    def __call__(self, z, x):
        if isinstance(self.near, float):
            return self.activation(0.5 * self.near * z + x)
        return self.activation(0.5 * jnp.einsum("ij,bjk->bik", self.near[...], z) + x)

    def start(self, x):
        return jnp.zeros_like(x)


@pytest.fixture(autouse=True)
def members():
    """The tasks and models of this file have names."""
    pairs = [(catalog.tasks, m) for m in (Letters, Ring)]
    pairs += [(catalog.models, m) for m in (Speller, Neighbours)]
    for room, member in pairs:
        room.register(member)
    yield
    for room, member in pairs:
        room._registered.pop(catalog.snake_case(member.__name__))


PAIRS = {
    "letters": {"task": "letters", "model": "speller", "activation": "tanh"},
    "ring": {"task": "ring", "model": "neighbours", "activation": "tanh", "batch_size": "full"},
}
every = pytest.mark.parametrize("name", PAIRS)


def config(tmp_path, name, **settings):
    return TrainConfig(**{**SMALL, **PAIRS[name], "workdir": str(tmp_path / "run"), **settings})


@pytest.mark.quick("ring")
@every
def test_they_train_and_the_data_are_not_needed_to_load(name, tmp_path):
    *_, summary = train(config(tmp_path, name))
    assert 0 <= summary["test_accuracy"] <= 1
    assert ("test_exact_match" in summary) == (name == "letters")
    run = load_run(tmp_path / "run")
    data = catalog.tasks.get(PAIRS[name]["task"]).load()
    assert run.spec == data.spec
    [row] = evaluate(run, data, batch_size=4).results
    assert row.metrics["loss"] == pytest.approx(summary["test_loss"], rel=1e-4)
    assert row.metrics["accuracy"] == summary["test_accuracy"]


@pytest.mark.quick("ring")
@every
def test_they_resume_bit_for_bit(name, tmp_path):
    whole, parts = (config(tmp_path / part, name) for part in ("whole", "parts"))
    list(train(whole))
    with contextlib.closing(Training(parts)) as training:
        list(training.reports(lambda step: step == 3))
        training.save()
    list(train(parts))
    a, b = (parameters_of(each.workdir, 4) for each in (whole, parts))
    assert_equal_bits(a, b)


@pytest.mark.quick("ring")
@every
def test_they_are_exported(name, tmp_path):
    pytest.importorskip("flatbuffers")
    list(train(config(tmp_path, name, steps=1)))
    run = load_run(tmp_path / "run")
    path = tmp_path / "model"
    path.write_bytes(build_artefact(run).to_bytes())
    x = catalog.tasks.get(PAIRS[name]["task"]).load().test.x
    outputs, _ = load_exported(path)(x)
    np.testing.assert_allclose(outputs, run.model(x)[0], rtol=1e-3, atol=1e-4)
    wrong = jax.tree.map(lambda a: a.astype(np.float16), x)
    with pytest.raises(ExportError, match=r"takes .*\[n, .*, got .*float16\["):
        load_exported(path)(wrong)


def test_tokens_above_256_survive_bfloat16(tmp_path):
    training = Training(config(tmp_path, "letters", precision="bfloat16", batch_size="full"))
    with contextlib.closing(training):
        data = training.setup.data
        assert data.train.x["ids"].dtype == np.int32
        assert data.train.x["ids"].max() == SIZE - 1  # bfloat16 rounds 299 to 300 and 257 to 256
        batch = training._batches(0)
        np.testing.assert_array_equal(batch[0]["ids"], data.train.x["ids"])
        report = next(training.reports())
        assert np.isfinite(report["loss"])
        seen = []
        model = training.setup.model
        model.stem = lambda x: seen.append(x) or Speller.stem(model, x)
        ids = np.array([[257, 299, 0, 1, 2]], np.int32)
        model({"ids": ids, "place": np.zeros((1, 5), np.float32)})
        assert seen[0]["ids"].dtype == jnp.int32
        np.testing.assert_array_equal(seen[0]["ids"], ids)


def test_a_cell_gets_whole_numbers_as_they_are(tmp_path, monkeypatch):
    """In steps, evaluations and exports, rounded to bfloat16 or not."""
    seen = []

    def stem(self, x):
        return {"ids": x["ids"], "rows": self.table(x["ids"])}

    def call(self, z, x):
        seen.append(x["ids"].dtype)
        return self.activation(0.5 * z + x["rows"])

    monkeypatch.setattr(Speller, "stem", stem)
    monkeypatch.setattr(_Spread, "__call__", call)
    monkeypatch.setattr(_Spread, "start", lambda self, x: jnp.zeros_like(x["rows"]))
    list(train(config(tmp_path, "letters", precision="bfloat16", steps=1)))
    run = load_run(tmp_path / "run")
    evaluate(run)
    build_artefact(run)
    assert {*seen} == {jnp.dtype("int32")}


def test_every_array_is_scaled_by_itself_and_tokens_are_not():
    raw, data = Letters().read(), Letters(validation=0).load()
    place = raw.train.x["place"]
    expected = (place - place.mean()) / place.std()
    np.testing.assert_allclose(data.train.x["place"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(data.train.x["ids"], raw.train.x["ids"])
    assert data.spec == {
        "ids": Spec((LENGTH,), "int32", SIZE),
        "place": Spec((LENGTH,), "float32"),
    }


def test_the_fingerprint_sees_every_array_and_the_constants():
    def fingerprint(change=lambda data: None):
        data = Ring().read()
        change(data)
        return data.fingerprint

    def bump(array):
        array.flat[1] += 1

    changes = (
        lambda d: bump(d.train.x),
        lambda d: bump(d.test.y),
        lambda d: bump(d.constants["near"]),
        lambda d: bump(d.constants["kinds"][0]),
    )
    found = {fingerprint(), *map(fingerprint, changes)}
    assert len(found) == 1 + len(changes)


def two(**changes):
    x = {"ids": np.array([[0, 1], [2, 3]]), "more": [np.ones((2, 1))]}
    return Split({**x, **changes}, np.array([0, 1]))


@pytest.mark.parametrize(
    ("train", "tokens", "message"),
    [
        (
            two(ids=np.array([[0, 4], [1, 1]])),
            {"ids": 4, "more": [None]},
            r"0 ... 3; got .*\[0, 4\]",
        ),
        (two(ids=np.ones((2, 2))), {"ids": 4, "more": [None]}, r"inputs\['ids'\] must be tokens"),
        (two(), {"ids": 4}, "tokens must name their number, or None, for every input"),
        (two(ids=np.ones((3, 2), int)), None, r"got 3 inputs\['ids'\], 2 labels"),
        (two(more=[np.full((2, 1), np.nan)]), None, r"train inputs\['more'\]\[0\] hold 2 non-fin"),
        (Split({}, np.array([0, 1])), None, "inputs must be arrays, alone or in nested"),
        (Split(Split(np.ones((2, 2)), np.ones(2)), np.array([0, 1])), None, "got .*Split"),
    ],
)
def test_inputs_that_cannot_be_used_are_refused(train, tokens, message):
    class Fixed(Task):
        def read(self):
            return Data(train, train, 2, tokens=tokens)

    with pytest.raises(TaskError, match=message):
        Fixed(scaling="none").load()


def test_splits_of_another_structure_are_refused():
    class Fixed(Task):
        def read(self):
            return Data(two(), Split(np.ones((2, 2)), np.array([0, 1])), 2)

    with pytest.raises(TaskError, match="the test inputs are .*, the training inputs"):
        Fixed(scaling="none").load()


def test_labels_and_targets_of_any_rank_fit():
    rng = np.random.default_rng(0)
    for shape in itertools.accumulate([(3,), (4,), (2,)], lambda a, b: (*a, *b)):
        for y, classes in ((rng.integers(-1, 2, shape), 2), (rng.random((*shape, 5)), None)):

            class Fixed(Task):
                def read(self, y=y, classes=classes):
                    split = Split(rng.random((3, 2)), y if y.ndim > 1 or classes else y[:, None])
                    return Data(split, split, classes)

            data = Fixed().load()
            assert data.outputs == (2 if classes else 5)
            assert data.train.y.shape == y.shape


def test_a_spec_survives_json_and_a_shape_is_one():
    spec = {"a": Spec((2,)), "b": [Spec((), "int32", 7), (Spec((1, 2)),)]}
    assert from_plain(to_plain(spec)) == spec
    assert as_spec((8, 8, 1)) == one_array([8, 8, 1]) == Spec((8, 8, 1))
    assert (
        described(spec)
        == "['a'] float32[2], ['b'][0] int32[] of 7 tokens, ['b'][1][0] float32[1, 2]"
    )


def test_a_model_of_one_array_says_so():
    for spec in ({"a": Spec((2,))}, Spec((2,), "int32", 7)):
        with pytest.raises(ValueError, match="takes one array of numbers, and an example is"):
            Classifier(spec, 2, rngs=nnx.Rngs(0))
    model = Classifier(Spec((2,)), 3, activation=activations.get("tanh"), rngs=nnx.Rngs(0))
    assert model(jnp.ones((4, 2)))[0].shape == (4, 3)


def test_data_of_another_structure_do_not_fit_a_run(tmp_path):
    list(train(config(tmp_path, "letters", steps=1)))
    with pytest.raises(
        EvaluationError, match=r"takes inputs \['ids'\] int32\[5\] of 300 tokens, .*"
    ):
        evaluate(load_run(tmp_path / "run"), Ring().load())


def test_outputs_that_do_not_fit_the_labels_are_refused_before_anything_is_written(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", x=rng.random((9, 3)), y=rng.integers(0, 2, (9, 1)))
    own = {"task": f"npz:{tmp_path / 'mine.npz'}", "batch_size": "full"}
    settings = TrainConfig(workdir=str(tmp_path / "run"), **own)
    with pytest.raises(ConfigError, match=r"output of shape \(2,\) .* \(1,\) ask for \(1, 2\)"):
        Training(settings)
    assert not (tmp_path / "run").exists()
