"""Models of sequences: nothing is seen ahead, and the theorems hold in their norms."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import deqzoo
from deqzoo import catalog
from deqzoo.data.ngram import ngram_bits
from deqzoo.data.spec import Spec
from deqzoo.models.attractor import Attractor
from deqzoo.models.causal import Causal
from deqzoo.models.implicit_rnn import ImplicitRNN
from deqzoo.nn.causal_cell import Attended
from deqzoo.nn.recurrent_cell import Gated
from deqzoo.training.promises.largest_bound import LargestBound

SPEC = Spec((6,), "int32", 5)
SMALL = {"width": 4, "embedding": 3, "solver": "picard"}


def build(member, seed=0, **settings):
    more = {} if member is ImplicitRNN else {"heads": 2}
    return member(SPEC, 5, rngs=nnx.Rngs(seed), **SMALL | more | settings)


def parameters(model):
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


@pytest.mark.quick("Causal", "ImplicitRNN")
@pytest.mark.parametrize("member", [Causal, Attractor, ImplicitRNN])
def test_outputs_are_those_of_the_tokens_up_to_their_position(member):
    model = build(member)
    apply = nnx.jit(lambda model, x: model(x)[0])
    x = np.random.default_rng(0).integers(0, 5, (1, 6)).astype(np.int32)
    changed = np.concatenate([x[:, :3], (x[:, 3:] + 1) % 5], axis=1)
    before, after = (np.asarray(apply(model, tokens)) for tokens in (x, changed))
    np.testing.assert_allclose(before[:, :3], after[:, :3], atol=1e-4)
    assert np.all(np.max(np.abs(before[:, 3:] - after[:, 3:]), axis=-1) > 1e-3)


@pytest.mark.quick("sin")
@pytest.mark.parametrize("activation", ["sin", "relu", "gelu"])
def test_attention_stretches_the_largest_position_by_the_bound_at_most(activation):
    rng, model = np.random.default_rng(1), build(Causal, activation=activation)
    (guarantee,) = model.guarantees()
    cell, drawn = model.deq.cell, parameters(model)
    norm = lambda z: np.max(np.linalg.norm(z, axis=-1))  # noqa: E731
    worst = 0.0
    for _ in range(20):
        W, V = rng.standard_normal((4, 4)), rng.standard_normal((2, 4, 2))
        drawn["deq"]["cell"] |= {"W": jnp.asarray(W, jnp.float32), "V": jnp.asarray(V, jnp.float32)}
        cell.W[...], cell.V[...] = drawn["deq"]["cell"]["W"], drawn["deq"]["cell"]["V"]
        z, w = jnp.asarray(rng.standard_normal((2, 1, 6, 4)) * 0.1, jnp.float32)
        scores = np.tril(rng.exponential(1, (1, 2, 6, 6)) ** 4)
        weights = jnp.asarray(scores / scores.sum(-1, keepdims=True), jnp.float32)
        x = Attended(jnp.zeros((1, 6, 4)), weights)
        moved = norm(np.asarray(cell(z, x) - cell(w, x))) / norm(z - w)
        bounds = guarantee.sharp_bound(drawn), float(guarantee.bound(drawn))
        assert moved <= bounds[0] <= bounds[1] <= 1.02 * bounds[0]
        worst = max(worst, moved / bounds[0])
    assert worst > 0.3


def test_no_smaller_bound_of_attention_holds():
    """Equal positions along the singular vectors that all matrices share."""
    model = build(Causal, activation="identity")
    (guarantee,) = model.guarantees()
    drawn = parameters(model)
    # Heads side by side: (0.3, 0, 0.4, 0), of norm 0.5; W turns the same vector there.
    V = jnp.zeros((2, 4, 2)).at[:, 0, 0].set(jnp.array([0.3, 0.4]))
    W = jnp.zeros((4, 4)).at[:, 0].set(jnp.array([0.3, 0.0, 0.4, 0.0]))
    cell = drawn["deq"]["cell"] = drawn["deq"]["cell"] | {"W": W, "V": V}
    model.deq.cell.W[...], model.deq.cell.V[...] = cell["W"], cell["V"]
    z = jnp.zeros((1, 6, 4)).at[..., 0].set(1.0)
    x = Attended(jnp.zeros_like(z), jnp.broadcast_to(jnp.eye(6), (1, 2, 6, 6)))
    moved = jnp.linalg.norm(model.deq.cell(z, x), axis=-1)
    np.testing.assert_allclose(moved, 1.0, rtol=1e-5)
    assert 1 <= guarantee.sharp_bound(drawn) < 1 + 1e-4


def test_a_sweep_contracts_in_a_weighted_norm_whatever_is_carried_on():
    rng, model = np.random.default_rng(2), build(ImplicitRNN, activation="sin")
    cell = model.deq.cell
    for _ in range(10):
        cell.V[...] = jnp.asarray(3 * rng.standard_normal((4, 4)), jnp.float32)
        W, V = (np.linalg.norm(np.asarray(each[...]), 2) for each in (cell.W, cell.V))
        a = 0.5 * (1 - W) / V
        assert (factor := W / (1 - a * V)) < 1
        weights = a ** np.arange(6)
        norm = lambda z, weights=weights: np.max(weights * np.linalg.norm(z, axis=-1))  # noqa: E731
        z, w = jnp.asarray(rng.standard_normal((2, 1, 6, 4)) * 0.1, jnp.float32)
        gates = jnp.asarray(np.tanh(3 * rng.standard_normal((1, 6, 4))), jnp.float32)
        x = Gated(jnp.zeros((1, 6, 4)), gates)
        assert norm(np.asarray(cell(z, x) - cell(w, x))) <= factor * norm(z - w) * (1 + 1e-5)


def test_the_equilibrium_of_a_recurrence_is_that_of_every_step():
    model, x = build(ImplicitRNN, solver="picard(rtol=1e-6)"), jnp.array([[0, 3, 1, 4, 2, 2]])
    cell, (u, s) = model.deq.cell, model.injection(x)
    before = jnp.zeros(4)
    z = np.asarray(model(x)[1].value)[0]
    for t in range(6):
        now = jnp.zeros(4)
        for _ in range(100):
            now = jnp.tanh(cell.W[...] @ now + s[0, t] * (cell.V[...] @ before) + u[0, t])
        np.testing.assert_allclose(z[t], now, atol=1e-5)
        before = now


@pytest.mark.slow
def test_the_bound_of_attention_holds_after_every_step():
    data = catalog.tasks.get("parity(length=8, examples=64)").load()
    model = Causal(data.spec, data.outputs, width=8, heads=2, rngs=nnx.Rngs(0))
    bounds = LargestBound(model)
    settings = {"steps": 30, "batch_size": 32, "learning_rate": 0.03, "eval_every": 30}
    deqzoo.fit(model, data, observers=[bounds], constraint="projection(margin=0.01)", **settings)
    assert 0.95 < bounds.largest < 1


@pytest.mark.slow
def test_parity_is_learned_on_short_sequences_and_kept_up_on_long_ones():
    data = catalog.tasks.get("parity(length=8, test_length=32, examples=512)").load()
    model = ImplicitRNN(data.spec, data.outputs, width=8, embedding=4, rngs=nnx.Rngs(0))
    settings = {"steps": 150, "batch_size": 64, "learning_rate": 0.02, "eval_every": 150}
    run = deqzoo.fit(model, data, **settings)
    assert run.summary["test_accuracy"] > 0.95
    assert run.summary["bound"] < 1


def test_what_is_no_row_of_tokens_is_refused():
    with pytest.raises(ValueError, match="takes rows of tokens.*choose a task of sequences"):
        Causal((8, 8, 1), 10, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="width must be a multiple of heads, got width=4 and head"):
        build(Causal, heads=3)


def test_tables_of_the_last_tokens_cost_what_counting_says():
    rng = np.random.default_rng(3)
    text = rng.integers(0, 2, 3000).tolist()
    doubled = [bit for bit in text for _ in range(2)]  # every other character is known
    parts = doubled[:4000], doubled[4000:5000], doubled[5000:]
    bits = [ngram_bits(*parts, 2, order) for order in (1, 5)]
    assert bits[0] == pytest.approx(1.0, abs=0.01)
    assert 0.5 < bits[1] < 0.75  # a half where the phase is known
    assert ngram_bits([0], [1], [1], 4, 0) == 2.0
