"""Rows of small sums make a contraction in a maximum norm."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_mondeq import plug_in

import activations
from deqzoo.core import row_sums
from deqzoo.models.implicit import Implicit
from deqzoo.nn.guarantees.max_norm import MaxNorm
from deqzoo.nn.guarantees.perron import Perron

BOTH = pytest.mark.parametrize("kind", [MaxNorm, Perron])


def matrix(size, seed):
    """Gaussian, sparse with rows of very different sizes, or of a circle."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((size, size)) * 10 ** rng.uniform(-2, 2)
    if seed % 3 == 1:
        weight *= (rng.random((size, size)) < 0.3) * 10 ** rng.uniform(-3, 3, (size, 1))
    if seed % 3 == 2:
        weight = np.roll(np.diag(10 ** rng.uniform(-2, 2, size)), 1, axis=0)
    return weight


@pytest.mark.quick("5-float32-*", "60-float64-*")
@BOTH
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("size", [1, 5, 60])
def test_the_bound_is_that_of_the_matrix_and_is_met(x64, kind, size, dtype):
    for seed in range(6):
        act = plug_in(seed)
        guarantee, lipschitz = kind(act, ("W",)), act.lipschitz
        parameters = {"W": jnp.asarray(matrix(size, seed), dtype)}
        for limit in (None, 0.95, 0.3):
            for change in (guarantee.project, guarantee.rescale):
                found = parameters if limit is None else change(parameters, limit)
                W = np.abs(np.asarray(found["W"], np.float64))
                bound = float(guarantee.bound(found))
                truth = max(np.abs(np.linalg.eigvals(W)))
                if kind is MaxNorm:
                    truth = np.max(np.sum(W, axis=1))
                    assert bound <= lipschitz * truth * (1 + 1e-4)
                assert lipschitz * truth <= bound * (1 + 1e-12)
                assert limit is None or bound <= limit


@BOTH
def test_every_step_comes_closer_by_the_bound(x64, kind):
    for seed in range(8):
        rng, act = np.random.default_rng(seed), plug_in(seed)
        guarantee = kind(act, ("W",))
        W = guarantee.project({"W": jnp.asarray(matrix(9, seed))}, 0.9)["W"]
        v = np.asarray(guarantee.weights(W))
        W = np.asarray(W)
        for scale in (0.01, 1, 100):
            y, z, b = scale * rng.standard_normal((3, 9))
            apart = np.max(np.abs(act.in_float64(W @ y + b) - act.in_float64(W @ z + b)) / v)
            assert apart <= 0.9 * np.max(np.abs(y - z) / v) * (1 + 1e-12)


def test_the_projection_is_the_nearest_point(x64):
    # By the Karush-Kuhn-Tucker conditions: what is taken away is one multiple of v along the
    # support of a row, and less elsewhere.
    for seed in range(5):
        W = matrix(12, 3 * seed)
        v = 10 ** np.random.default_rng(seed).uniform(-1, 1, 12)
        limit = 0.5 * np.max(np.abs(W) @ v / v)
        P = np.asarray(row_sums.project_rows(jnp.asarray(W), jnp.asarray(v), limit))
        for w, p, aim in zip(W, P, limit * v, strict=True):
            if np.abs(w) @ v <= aim * (1 - 1e-12):
                np.testing.assert_allclose(p, w, rtol=1e-12)
                continue
            np.testing.assert_allclose(np.abs(p) @ v, aim, rtol=1e-10)
            taken = np.abs(w - p) / v
            kept = p != 0
            np.testing.assert_allclose(taken[kept], taken[kept][0], rtol=1e-8)
            assert np.all(taken[~kept] <= taken[kept][0] * (1 + 1e-8))
            assert np.all(np.sign(p[kept]) == np.sign(w[kept]))


def test_a_perron_vector_admits_what_the_largest_row_does_not():
    weight = {"W": jnp.asarray(np.roll(np.diag([8.0, 0.1, 0.5]), 1, axis=0))}
    tanh = activations.get("tanh")
    assert float(MaxNorm(tanh, ("W",)).bound(weight)) > 8
    assert float(Perron(tanh, ("W",)).bound(weight)) < 0.75


@BOTH
def test_weights_that_are_not_finite_have_no_bound_below_one(kind):
    bound = kind(activations.get("tanh"), ("W",)).bound({"W": jnp.full((2, 2), jnp.nan)})
    assert not bound < 1


@pytest.mark.parametrize("norm", ["max", "perron"])
def test_it_begins_at_its_gain_for_every_activation(norm):
    for name in ("relu", "gelu", "soft_threshold", "sin"):
        model = Implicit((5,), 2, activation=name, norm=norm, gain=0.7, rngs=nnx.Rngs(0))
        parameters = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        bound = float(model.guarantees()[0].bound(parameters))
        assert 0.69 < bound <= 0.7


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="norm must be one of max, perron, got 'spectral'"):
        Implicit((5,), 2, norm="spectral", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"gain must be a number in \(0, 1\)"):
        Implicit((5,), 2, gain=1.0, rngs=nnx.Rngs(0))
