"""Windows that are cut out when they are asked for are those that are cut out at once."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import deqzoo
from deqzoo import catalog
from deqzoo.data.examples import Data, Split, TaskError
from deqzoo.data.rows import thinned
from deqzoo.data.task import Task
from deqzoo.data.windows import Windows
from deqzoo.nn import DEQ, Model
from deqzoo.nn.pure_model import PureModel
from deqzoo.training.evaluation import Chunks

Y = np.arange(46) % 2
TOKENS = np.random.default_rng(0).integers(0, 300, 50).astype(np.uint16)
CASES = [(1, 1), (4, 1), (4, 3), (7, 7), (49, 1), (3, 40)]


def eager(length, stride, shift):
    """Every window with one more token behind it."""
    starts = range(0, len(TOKENS) - length, stride)
    return np.stack([TOKENS[i + shift : i + shift + length] for i in starts])


@pytest.fixture(params=["memory", "disk"])
def tokens(request, tmp_path):
    if request.param == "memory":
        return TOKENS
    np.save(tmp_path / "tokens.npy", TOKENS)
    return np.load(tmp_path / "tokens.npy", mmap_mode="r")


@pytest.mark.parametrize(("length", "stride"), CASES)
@pytest.mark.parametrize("shift", [0, 1])
def test_every_row_is_that_of_the_eager_windows(tokens, length, stride, shift):
    lazy, whole = Windows(tokens, length, stride=stride, shift=shift), eager(length, stride, shift)
    assert (lazy.shape, lazy.dtype, len(lazy)) == (whole.shape, whole.dtype, len(whole))
    np.testing.assert_array_equal(lazy, whole)
    last = len(whole) - 1
    for index in (slice(None), slice(1, -1), slice(None, None, -2), np.array([last, 0, -1]), -1, 0):
        np.testing.assert_array_equal(lazy[index], whole[index])
    np.testing.assert_array_equal(thinned(lazy, 4), thinned(whole, 4))
    for beyond in (len(whole), np.array([0, -len(whole) - 1])):
        with pytest.raises(IndexError, match=f"there are {len(whole)} windows"):
            lazy[beyond]


def test_labels_are_the_tokens_that_follow():
    x, y = (Windows(TOKENS, 6, stride=2, shift=shift) for shift in (0, 1))
    assert len(x) == len(y)
    np.testing.assert_array_equal(x[:][:, 1:], y[:][:, :-1])


@pytest.mark.parametrize(
    ("tokens", "arguments"),
    [
        (TOKENS[:5], {"length": 5}),
        (TOKENS, {"length": 0}),
        (TOKENS, {"length": 5, "stride": 0}),
        (TOKENS, {"length": 5, "shift": 2}),
        (TOKENS[None], {"length": 1}),
        (TOKENS / 2, {"length": 5}),
    ],
)
def test_windows_that_cannot_be_cut_are_refused(tokens, arguments):
    with pytest.raises(ValueError, match=r"need at least .* whole numbers in a row, .* got tokens"):
        Windows(tokens, **arguments)


class Text(Task):
    """The tokens as a text, loaded."""

    size = 300

    def read(self):
        def split(tokens):
            return Split(Windows(tokens, 4, stride=4), Windows(tokens, 4, stride=4, shift=1))

        return Data(split(TOKENS[:30]), split(TOKENS[30:]), self.size, tokens=self.size)


def test_a_text_is_loaded_without_being_copied_and_in_whole_numbers():
    data = Text().load()
    assert isinstance(data.train.x, Windows)
    assert data.train.x.dtype == data.train.y.dtype == np.int32
    assert data.train.at(slice(0, 2)).x.dtype == np.int32
    assert np.shares_memory(data.train.x.tokens, TOKENS)
    assert (data.spec.shape, data.spec.size, data.outputs) == ((4,), 300, 300)
    assert data.fingerprint == Text().load().fingerprint


def test_the_fingerprint_sees_the_tokens_and_how_they_are_cut():
    def fingerprint(tokens=TOKENS, **cut):
        x = Windows(tokens, **{"length": 4, "stride": 4, **cut})
        return Data(Split(x, x), Split(x, x), 300, tokens=300).fingerprint

    changed = TOKENS.copy()
    changed[-3] += 1
    found = {fingerprint(), fingerprint(changed), fingerprint(length=5), fingerprint(stride=3)}
    assert len(found) == 4


def test_tokens_beyond_their_number_and_windows_of_no_tokens_are_refused(monkeypatch):
    monkeypatch.setattr(Text, "size", 200)
    with pytest.raises(TaskError, match=r"train inputs must be tokens, integers 0 ... 199; got"):
        Text().load()
    monkeypatch.setattr(Text, "size", 300)
    monkeypatch.setattr(Text, "read", lambda self: Data(*[Split(Windows(TOKENS, 4), Y)] * 2, 2))
    with pytest.raises(TaskError, match="say how many there are"):
        Text().load()


class Reader(Model):
    """z_t = φ(½ z_t + e(x_t)), logits of the next token."""

    def __init__(self, spec, outputs, *, rngs):
        self.activation = catalog.activations.get("tanh")
        self.table = nnx.Embed(spec.size, 8, rngs=rngs)
        self.deq = DEQ(_Half(self.activation), solver="picard")
        self.out = nnx.Linear(8, outputs, rngs=rngs)

    def stem(self, x):
        return self.table(x)

    def head(self, z, injected):
        return self.out(z)


class _Half(nnx.Module):
    def __init__(self, activation):
        self.activation = activation

    def __call__(self, z, x):
        return self.activation(0.5 * z + x)

    def start(self, x):
        return jnp.zeros_like(x)


def read_by(data, **settings):
    model = Reader(data.spec, data.outputs, rngs=nnx.Rngs(0))
    return deqzoo.fit(model, data, steps=3, batch_size=2, constraint="monitor", **settings)


def test_training_on_windows_is_training_on_the_same_arrays_bit_for_bit():
    lazy = Text().load()
    eager = jax.tree.map(np.asarray, (lazy.train, lazy.test))
    runs = read_by(lazy), read_by(Data(*eager, 300, tokens=300))
    one, other = (run.arrays("parameters") for run in runs)
    chex.assert_trees_all_equal(one, other)


@pytest.mark.slow
def test_outputs_over_a_large_vocabulary_never_come_to_the_host(monkeypatch):
    """What comes: a few numbers of every example, and the weights once."""
    sizes, fetch = [], jax.device_get
    data = Text().load()

    def spy(tree):
        sizes.extend(leaf.size for leaf in jax.tree.leaves(tree))
        return fetch(tree)

    run = read_by(data)
    monkeypatch.setattr(jax, "device_get", spy)
    found = deqzoo.evaluate(run, data, solvers=["anderson"], batch_size=2)
    assert found.metrics["loss"] > 0
    assert sizes
    assert max(sizes) <= 2  # examples in a chunk, not 2 * 4 * 300 logits
    sizes.clear()
    chunks = Chunks(PureModel(run.model), {"loss": catalog.losses.get("cross_entropy")}, 2)
    judged = chunks(PureModel(run.model).state, *data.test)
    assert max(sizes) <= 2
    assert judged.stats.steps.shape == (data.test.examples,)
