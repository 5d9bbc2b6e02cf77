"""What is proved of mini-batches and of cross-entropy holds on random problems."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

import activations
from deqzoo.theory import (
    Network,
    TheoryError,
    certify,
    certify_cross_entropy,
    certify_epochs,
    conditions,
)
from deqzoo.theory.network import adjoint, descend, equilibrium, preactivation_slope

QUICK = [*range(4)]
MANY = [*QUICK, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 100))]
ROUNDING = 1 + 1e-9


def drawn(seed, outputs):
    """A network and inputs of random activation, scales and size of the inputs."""
    rng = np.random.default_rng(seed)
    phi = activations.get(("tanh", "relu", "gelu", "sin")[seed % 4])
    s_w, s_u = rng.uniform(0.05, 0.3 / phi.lipschitz), rng.uniform(0.5, 2)
    network = Network.draw(phi, 64, 5, outputs, s_w=s_w, s_u=s_u, s_a=0.0, seed=rng)
    return rng, network, rng.uniform(1, 6) * rng.standard_normal((4, 5))


def travelled(start, now):
    """Of W and of a."""
    return [np.linalg.norm(np.asarray(b) - a) for a, b in ((start.W, now[0]), (start.a, now[2]))]


def smallest_eigenvalue(network, now, x):
    return np.linalg.eigvalsh(Network(network.activation, *now).gram(x))[0]


@pytest.mark.parametrize("seed", MANY)
def test_epochs_in_any_order_keep_their_bound(x64, seed):
    rng, network, x = drawn(seed, 1)
    batches = (2, 4)[seed // 4 % 2]
    y = rng.standard_normal((4, 1))
    measured = certify(network, x, y, predict_loss=False).measured
    y *= 0.99 * conditions.largest_label_scale(measured, conditions.epochs(batches))
    at = certify_epochs(network, x, y, batches=batches)
    assert at.certified, at
    now, bounds = (network.W, network.U, network.a), at.bound(range(16))
    for bound in bounds:
        Z, _ = equilibrium(network.activation, *now[:2], x)
        assert float(jnp.sum(jnp.square(Z @ now[2].T - y)) / 2) <= bound * ROUNDING
        for part in np.split(rng.permutation(4), batches):
            now, *_ = descend(network.activation, *now, x[part], y[part], at.descent.learning_rate)
            assert max(travelled(network, now)) <= at.descent.delta
    assert smallest_eigenvalue(network, now, x) >= at.descent.lambda_0 / 2


@pytest.mark.parametrize("seed", MANY)
def test_cross_entropy_falls_as_is_proved(x64, seed):
    rng, network, x = drawn(seed, 3)
    labels = rng.integers(0, 3, 4)
    hot, start = jnp.eye(3)[labels], 4 * np.log(3)
    tries = itertools.product((0.5, 0.9, 0.99, 0.999, 0.9999), (1, 3, 0.3))
    found = (
        (certify_cross_entropy(network, size * x, labels, until=share * start), size * x)
        for share, size in tries
    )
    at, x = next(each for each in found if each[0].certified)
    now = network.W, network.U, network.a
    for bound in at.bound(15):
        loss, now = cross_entropy_step(network.activation, now, x, hot, at.learning_rate)
        if loss <= at.until:
            break
        assert loss <= bound * ROUNDING
        assert max(travelled(network, now)) <= at.delta
    assert smallest_eigenvalue(network, now, x) >= at.lambda_0 / 2


@functools.partial(jax.jit, static_argnums=0)
def cross_entropy_step(phi, now, x, hot, learning_rate):
    W, U, a = now
    Z, _ = equilibrium(phi, W, U, x)
    outputs = Z @ a.T
    D = preactivation_slope(phi, W, U, Z, x)
    error = jax.nn.softmax(outputs) - hot
    gamma = D * adjoint(W, D, error @ a)
    moves = gamma.T @ Z, gamma.T @ x, error.T @ Z
    loss = -jnp.sum(jax.nn.log_softmax(outputs) * hot)
    return loss, tuple(p - learning_rate * move for p, move in zip(now, moves, strict=True))


def test_the_number_of_steps_is_the_integral_and_enough(x64):
    network = Network.draw(activations.get("relu"), 512, 3, 2, s_w=0.2, s_a=0.0)
    x = 30 * np.eye(3)
    at = certify_cross_entropy(network, x, np.array([0, 1, 1]), until=1.9)
    share = at.learning_rate * at.lambda_0 / (4 * 3)
    integral = quad(lambda loss: (1 - np.exp(-loss)) ** -2, 1.9, at.loss)[0] / share
    assert at.steps() - 1 == pytest.approx(integral, abs=1)
    assert at.bound(at.steps())[-1] == 1.9
    assert at.bound(at.steps() // 2)[-1] > 1.9
    now, hot = (network.W, network.U, network.a), jnp.eye(2)[jnp.array([0, 1, 1])]
    for _ in range(at.steps()):
        loss, now = cross_entropy_step(
            network.activation, now, 30 * np.eye(3), hot, at.learning_rate
        )
        if loss <= at.until:
            return
    raise AssertionError("the loss is not reached in the steps that are said to be enough")


def test_more_batches_want_smaller_steps_and_one_is_no_better_than_theorem_a(x64):
    _, network, x = drawn(0, 1)
    y = np.full(4, 1e-5)
    steps = [certify_epochs(network, x, y, batches=k).descent.learning_rate for k in (1, 4, 16)]
    assert steps[0] > 1.9 * steps[1] > 3.6 * steps[2]


@pytest.mark.parametrize(
    ("labels", "until", "said"),
    [
        (np.array([0, 1, 2, 3]), 1.0, r"labels must lie in 0 ... 2"),
        (np.array([0.0, 1.0, 0.0, 1.0]), 1.0, "whole numbers, got"),
        (np.array([0, 1, 2, 0]), 9.0, "until must lie between 0 and the loss 4.39445, got 9.0"),
        (np.array([0, 1, 2, 0]), -1.0, "until must lie between"),
    ],
)
def test_what_does_not_fit_is_said(x64, labels, until, said):
    _, network, x = drawn(0, 3)
    with pytest.raises(TheoryError, match=said):
        certify_cross_entropy(network, x, labels, until=until)


def test_without_a_certificate_there_is_no_bound(x64):
    _, network, x = drawn(0, 3)
    refused = certify_cross_entropy(network, x, np.array([0, 1, 2, 0]), until=1e-3)
    assert "NOT CERTIFIED: nothing is proved" in str(refused)
    with pytest.raises(TheoryError, match="nothing is certified"):
        refused.steps()
    epochs = certify_epochs(network, x, 1e3 * np.ones((4, 3)), batches=2)
    assert "NOT CERTIFIED: nothing is proved" in str(epochs)
    with pytest.raises(TheoryError, match="nothing is certified"):
        epochs.bound([1])
    kept = certify_epochs(network, x, 1e-6 * np.ones((4, 3)), batches=2)
    stated, further = str(kept).split("unique equilibrium (above)")
    assert "unique equilibrium: holds" in stated
    assert "unique equilibrium" not in further
    with pytest.raises(TheoryError, match="the certificate covers learning rates in"):
        kept.bound([1], 2 * kept.descent.learning_rate)
