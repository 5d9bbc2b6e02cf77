"""DEQs and read-outs found from what they did: convex, exact on clean data, bounded on other."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

import activations
import deqzoo
from deqzoo import catalog
from deqzoo.analysis.chow_gap import chow_gap
from deqzoo.data.losses.matching import Matching
from deqzoo.identification import Identified, branch, identify, improper, regress
from deqzoo.identification.features import Features

KAPPA = 0.9


def network(recipe, rng, gain=0.8, h=8, d=4):
    act = activations.get(recipe)
    A = rng.standard_normal((h, h))
    A *= gain / act.lipschitz / np.linalg.norm(A, 2)
    return Identified(
        act, A, rng.standard_normal((h, d)), 0.1 * rng.standard_normal(h), 0, 0.0, True
    )


@pytest.mark.quick("relu", "tanh", "gelu")
@pytest.mark.parametrize("recipe", ["relu", "tanh", "softplus", "gelu", "silu", "snake", "sigmoid"])
def test_clean_states_give_the_equilibria_of_new_inputs(recipe):
    rng = np.random.default_rng(0)
    true = network(recipe, rng)
    X, new = rng.standard_normal((2, 400, 4)) @ np.diag([1, 3, 0.1, 1]) + 1
    found = deqzoo.identify(true(X), X, recipe, KAPPA / true.activation.lipschitz)
    assert found.converged
    assert np.linalg.norm(found(new) - true(new)) <= 5e-4 * np.linalg.norm(true(new))


def test_the_norm_is_kept_and_the_distance_holds_whatever_the_states():
    rng = np.random.default_rng(1)
    Z, X = np.abs(rng.standard_normal((200, 8))), rng.standard_normal((200, 4))
    found = identify(Z + 0.3 * Z[:, ::-1], X, "relu", 0.5, rtol=1e-4)  # Z tells Z: pulled to A = I
    assert 0.5 - 1e-6 < np.linalg.norm(found.A, 2) <= 0.5 * (1 + 1e-12)
    for states in (Z, found(X), 100 * Z):
        apart = np.linalg.norm(states - found(X), axis=1)
        assert np.all(apart <= found.distance(states, X) + 1e-9)
    assert np.max(found.distance(found(X), X)) < 1e-9


def test_features_say_what_the_weights_say():
    rng = np.random.default_rng(2)
    Z, X = rng.standard_normal((50, 5)), rng.standard_normal((50, 3)) @ np.ones((3, 4))
    features = Features.of(Z, X)  # X has rank 1
    P = rng.standard_normal((5, features.F.shape[1]))
    A, B, b = features.weights(P)
    np.testing.assert_allclose(features.F @ P.T, Z @ A.T + X @ B.T + b, atol=1e-12)
    np.testing.assert_allclose(A, P[:, :5] / features.scale)
    assert np.linalg.norm(features.F, 2) ** 2 / 50 == pytest.approx(1)


@pytest.mark.quick("softplus")
@pytest.mark.parametrize("recipe", ["softplus", "tanh", "relu"])
def test_regression_minimises_the_loss_of_the_primitive(recipe):
    rng, act = np.random.default_rng(3), activations.get(recipe)
    x = rng.standard_normal((300, 3)) @ np.diag([1, 5, 0.2])
    y = act.in_float64(x @ [1.0, 0.1, -1.0]) + 0.3 * rng.standard_normal(300)
    w = regress(recipe, x, y)
    with jax.enable_x64(True):
        loss = jax.value_and_grad(lambda w: jnp.mean(act.primitive(x @ w) - y * (x @ w)))
        loss = jax.jit(loss)
        other = scipy.optimize.minimize(loss, np.zeros(3), jac=True, tol=1e-14)
        assert float(loss(w)[0]) <= float(other.fun) + 1e-12
    np.testing.assert_allclose(w, other.x, rtol=1e-4)
    assert chow_gap(x, act.in_float64(x @ w), y).gap < 1e-16


@pytest.mark.quick("tanh")
@pytest.mark.parametrize("recipe", ["softplus", "sigmoid", "tanh", "leaky_relu", "arctan"])
def test_a_tenth_of_turned_signs_hardly_turns_the_weights(recipe):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((5000, 6)), np.eye(6)[0]
    y = activations.get(recipe).in_float64(x @ w)
    found = regress(recipe, x, np.where(rng.random(5000) < 0.1, -y, y))
    assert found @ w / np.linalg.norm(found) >= 0.996


def test_the_chow_gap_is_bounded_by_the_loss():
    rng = np.random.default_rng(4)
    for scale in (0.1, 1.0, 10.0):
        x, w = scale * rng.standard_normal((40, 3)), rng.standard_normal((3, 2))
        found = chow_gap(x, np.zeros((40, 2)), x @ w)
        assert found.gap <= found.bound * (1 + 1e-12)
        direction = np.linalg.svd(x)[0][:, 0]  # attained
        found = chow_gap(x, np.zeros(40), direction)
        assert found.gap == pytest.approx(found.bound)


@pytest.mark.parametrize(
    ("recipe", "low"), [("relu", 0), ("gelu", 0), ("silu", 0), ("tanh", -1), ("hard_silu", 0)]
)
def test_a_branch_is_risen_through_once(recipe, low):
    found, act = branch(activations.get(recipe)), activations.get(recipe)
    assert found.low == pytest.approx(low, abs=1e-9)
    values = act.in_float64(np.linspace(-50, 50, 10_001))
    assert np.all(np.diff(np.maximum(values, found.low)) >= -1e-15)


@pytest.mark.parametrize("recipe", ["sin", "absolute", "gaussian", "prelu"])
def test_what_has_no_rising_end_is_refused(recipe):
    with pytest.raises(ValueError, match=r"takes no value once|learnable"):
        branch(activations.get(recipe))


def test_the_matching_loss_of_sigmoid_is_the_cross_entropy_of_every_class():
    rng = np.random.default_rng(5)
    outputs, labels = rng.standard_normal((6, 4)).astype(np.float32), np.array([0, 3, 1, -1, 2, 2])
    kept = labels >= 0
    one_hot = np.eye(4)[labels[kept]]
    expected = optax.losses.sigmoid_binary_cross_entropy(outputs[kept], one_hot).mean() - np.log(2)
    assert Matching()(jnp.asarray(outputs), labels) == pytest.approx(float(expected), rel=1e-5)
    with pytest.raises(ValueError, match="activation must not fall"):
        catalog.losses.get("matching(activation='gelu')")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kappa": 1.0}, "kappa must be"),
        ({"X": np.ones((3, 2))}, "expected states"),
        ({"Z": np.full((4, 2), np.nan)}, "NaN"),
        ({"activation": "cos"}, "takes no value once"),
    ],
)
def test_what_cannot_be_identified_is_refused(changes, words):
    given = {"Z": np.ones((4, 2)), "X": np.ones((4, 2)), "activation": "tanh", **changes}
    with pytest.raises(ValueError, match=words):
        identify(**given)
    with pytest.raises(ValueError, match="monomials"):
        improper(np.ones((3, 50)), np.ones(3), degree=4)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["gelu", "relu"])
def test_a_trained_model_is_translated_and_keeps_its_accuracy(recipe):
    model = deqzoo.load("classifier-digits-tanh").model
    data = catalog.tasks.get("digits").load()
    found = deqzoo.translate(model, data.train.x, recipe)
    right = [
        np.mean(np.argmax(each(data.test.x)[0], axis=1) == data.test.y)
        for each in (model, found.model)
    ]
    assert right[1] >= right[0] - 0.01
    assert activations.get(recipe).lipschitz * np.linalg.norm(found.identified.A, 2) < 1
