"""In high dimension the kernels of a DEQ are their equivalents, and those of explicit networks."""

from dataclasses import replace

import numpy as np
import pytest

import activations
from deqzoo.experiments.equivalents import mixture
from deqzoo.theory import Equivalent, TheoryError, WideLimit, centred, equivalent, matching_net

SQUARE = 1.2
slow = pytest.mark.slow
NAMES = ["gelu", *(pytest.param(name, marks=slow) for name in ("relu", "tanh", "cos"))]


def limit_of(name, square=SQUARE):
    phi = activations.get(name)
    return centred(WideLimit(phi, s_w=0.6 / phi.lipschitz, s_u=1.1, s_a=1.3), square)


def at_pairs(kernel, pairs):
    """The kernel of two inputs of the plane for every (‖x‖²/d, ‖x'‖²/d, x·x'/d)."""
    t, other, r = 2 * np.array(pairs).T
    along = r / np.sqrt(t)
    first = np.stack([np.sqrt(t), 0 * t], axis=1)
    return np.diag(kernel(first, np.stack([along, np.sqrt(other - along**2)], axis=1)))


def differences(kernel, t=SQUARE, h=0.02):
    """α_1, α_2 and α_3 as they are defined, with errors of order h⁴."""
    products = at_pairs(kernel, [(t, t, k * h) for k in (-2, -1, 0, 1, 2)])
    ends = [(t + i * k * h, t + j * k * h, 0) for k in (1, 2) for i in (1, -1) for j in (1, -1)]
    near, far = at_pairs(kernel, ends).reshape(2, 4) @ [1, -1, -1, 1] / (4 * h * h)
    linear = products @ [1, -8, 0, 8, -1] / (12 * h)
    return linear, (4 * near - far / 4) / 3, products @ [-1, 16, -30, 16, -1] / (24 * h * h)


def numbers(of):
    return of.linear, of.norms, of.quadratic


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_are_the_derivatives_of_both_kernels(name):
    limit = limit_of(name)
    for kernel in ("gram", "ntk"):
        of, at = equivalent(limit, SQUARE, kernel), getattr(limit, kernel)
        np.testing.assert_allclose(differences(at), numbers(of), rtol=1e-5, atol=1e-7)
        alone = np.sqrt(SQUARE) * np.ones((1, 3))
        assert of.diagonal == pytest.approx(at(alone)[0, 0], rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_an_explicit_network_has_the_same_numbers(name):
    of = equivalent(limit_of(name), SQUARE)
    net = matching_net(of)
    assert len(net.layers) == (1 if name == "tanh" else 2)

    def gram(x, other):
        return net.gram(np.concatenate([x, other]))[: len(x), len(x) :]

    np.testing.assert_allclose(differences(gram), numbers(of), rtol=1e-4, atol=1e-7)
    alone = np.sqrt(SQUARE) * np.ones((1, 3))
    assert net.gram(alone)[0, 0] == pytest.approx(of.diagonal, rel=1e-12)


def test_the_kernel_of_an_explicit_network_is_the_mean_over_its_draws():
    net = matching_net(equivalent(limit_of("cos"), SQUARE))
    x = np.random.default_rng(0).standard_normal((2, 6))
    drawn = [net.features(x, 300, seed) for seed in range(60)]
    grams = np.array([z @ z.T / 300 for z in drawn])
    off = np.mean(grams, axis=0) - net.gram(x)
    assert np.all(np.abs(off) < 4 * np.std(grams, axis=0) / np.sqrt(60))
    assert np.all(np.abs(off) < 0.2 * np.max(net.gram(x)))


def distances(p, seed):
    """Of G̃, of G̃ without α_2 and without α_3, and of the explicit network."""
    x, labels = mixture(np.random.default_rng(seed), int(0.8 * p), p)
    square = float(np.mean(np.square(x)))
    limit = limit_of("gelu", square)
    exact, of = limit.gram(x), equivalent(limit, square)
    without = (replace(of, **{name: 0.0}) for name in ("norms", "quadratic"))
    others = *(each.matrix(x, labels) for each in (of, *without)), matching_net(of).gram(x)
    return [np.linalg.norm(exact - G, 2) / np.linalg.norm(exact, 2) for G in others]


def test_every_number_counts():
    whole, *parts, explicit = distances(192, 0)
    assert whole < 0.03
    assert min(parts) > 1.5 * whole
    assert explicit < 0.1


@slow
def test_the_distance_falls_with_the_dimension():
    low, high = (np.mean([distances(p, seed) for seed in range(2)], axis=0) for p in (64, 256))
    assert high[0] < 0.6 * low[0]
    assert high[-1] < low[-1]


def test_moments_are_the_means_over_pairs_of_two_classes():
    x, labels = np.random.default_rng(0).standard_normal((7, 5)), np.array([3, 0, 3, 0, 3, 8, 0])
    found = Equivalent(1.0, 0.0, 0.0, 0.0, 1.0).matrix(x, labels)
    r = np.square(x @ x.T / 5)
    for i, j in np.ndindex(7, 7):
        pairs = [
            r[k, m]
            for k, m in np.ndindex(7, 7)
            if k != m and (labels[k], labels[m]) == (labels[i], labels[j])
        ]
        assert found[i, j] == pytest.approx(np.mean(pairs) if pairs else 0)


def test_what_does_not_fit_is_said():
    limit = WideLimit(activations.get("relu"), s_w=0.4)
    with pytest.raises(TheoryError, match=r"no mean at the variance .* use centred\(limit, 1\)"):
        equivalent(limit, 1.0)
    with pytest.raises(TheoryError, match="one of gram, ntk; got 'nngp'"):
        equivalent(limit, 1.0, "nngp")
    for call in (centred, equivalent):
        with pytest.raises(TheoryError, match="positive and finite, got -1"):
            call(limit, -1.0)
    of = Equivalent(1.0, 1.0, 0.5, 0.1, 0.1)
    with pytest.raises(TheoryError, match=r"expected labels \(4,\) of whole numbers, got \(3,\)"):
        of.matrix(np.eye(4), np.array([0, 1, 2]))
    with pytest.raises(TheoryError, match="bends the norms so little"):
        matching_net(Equivalent(1.0, 1.0, 0.5, 0.01, 0.1))
    with pytest.raises(TheoryError, match="no cubic last layer"):
        matching_net(Equivalent(1.0, 0.3, 0.5, 0.1, 0.1))
