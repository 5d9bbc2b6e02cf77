"""An equilibrium of symmetric weights is the one minimiser of a strongly convex function."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_mondeq import ADMITTED, plug_in

import activations
from deqzoo.models.opteq import OptEq
from deqzoo.nn import DEQ, AveragedCell, SymmetricCell
from deqzoo.nn.guarantees.convex import Convex

WIDTH, HIDDEN, BATCH = 10, 7, 5
EXACT = "auto(rtol=1e-13, max_steps=3000)"


def cell(act, *, seed=0, dtype=jnp.float64, **arguments):
    return SymmetricCell(WIDTH, HIDDEN, act, rngs=nnx.Rngs(seed), dtype=dtype, **arguments)


def injected(columns=HIDDEN, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((BATCH, columns)))


def solved(found, u, z0=None, solver=EXACT):
    return found.output(DEQ(found, solver=solver)(u, z0).check().value, u)


# The function that is minimised.


@pytest.mark.quick("gelu-*", "relu-1")
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", ADMITTED)
def test_the_gradient_of_the_function_is_zero_at_the_equilibrium(x64, name, sign):
    act, u = activations.get(name), injected()
    found = cell(act, sign=sign)
    z = solved(found, u)
    assert float(jnp.max(jnp.abs(found.gradient(z, u)))) <= 1e-10
    if not act.kinks:
        slope = jax.grad(lambda z: jnp.sum(found.objective(z, u)))(z + 0.1)
        np.testing.assert_allclose(found.gradient(z + 0.1, u), slope, atol=1e-9)


@pytest.mark.parametrize("sign", [1, -1])
def test_nothing_lies_below_the_equilibrium(x64, sign):
    found, u = cell(activations.get("gelu"), sign=sign), injected()
    z = solved(found, u)
    least = np.asarray(found.objective(z, u))
    for seed in range(20):
        step = np.random.default_rng(seed).standard_normal(z.shape) * 10.0 ** (1 - seed % 4)
        assert np.all(found.objective(z + step, u) > least)


@pytest.mark.quick("0-*", "1-*")
@pytest.mark.parametrize("averaging", [None, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(8))
def test_a_bound_below_one_keeps_the_hessian_between_its_limits(x64, seed, averaging):
    # Random weights, random activations with slopes of both signs, both signs of s.
    rng, act = np.random.default_rng(seed), plug_in(seed)
    sign, weight = (
        (1, -1)[seed % 2],
        rng.standard_normal((HIDDEN, WIDTH)) * 10 ** rng.uniform(-2, 1),
    )
    guarantee = Convex(act, sign, ("W",), averaging)
    for limit in (None, 0.95, 0.5):
        parameters = {"W": jnp.asarray(weight)}
        if limit is not None:
            assert float(guarantee.bound(guarantee.rescale(parameters, limit))) <= limit
            parameters = guarantee.project(parameters, limit)
            assert guarantee.sharp_bound(parameters) <= limit * (1 + 1e-9)
        bound = float(guarantee.bound(parameters))
        sharp = guarantee.sharp_bound(parameters)
        assert sharp <= bound * (1 + 1e-12)
        W = np.asarray(parameters["W"])
        for scale in (0.1, 1.0, 10.0):
            slopes = act.slope_in_float64(scale * rng.standard_normal(HIDDEN))
            eigenvalues = np.linalg.eigvalsh(np.eye(WIDTH) - sign * W.T @ (slopes[:, None] * W))
            if sharp < 1:
                assert eigenvalues[0] >= 1 - sharp - 1e-12
            if sharp < 1 and averaging is not None:
                factor = np.max(np.abs(1 - averaging * eigenvalues))
                assert factor <= guarantee.rate(sharp) + 1e-12 < 1


@pytest.mark.parametrize("averaging", [None, 0.5])
def test_what_lies_within_the_limit_is_left_as_it_is(averaging):
    guarantee = Convex(activations.get("gelu"), 1, ("W",), averaging)
    parameters = {"W": 0.1 * jnp.eye(3)}
    np.testing.assert_array_equal(guarantee.project(parameters, 0.9)["W"], parameters["W"])


def test_weights_that_are_not_finite_have_no_bound():
    for sign in (1, -1):
        guarantee = Convex(activations.get("tanh"), sign, ("W",))
        assert math.isnan(float(guarantee.bound({"W": jnp.full((2, 2), jnp.nan)})))


# The sign -1 needs nothing of the weights.


@pytest.mark.quick("tanh")
@pytest.mark.parametrize("name", ["tanh", "relu", "sigmoid", "softplus", "erf", "arctan", "elu"])
def test_the_negative_sign_is_well_posed_whatever_the_weights(x64, name):
    act, u = activations.get(name), injected()
    found = cell(act, sign=-1)
    assert found.guarantee().by_construction
    assert str(found.guarantee().sharp_bound({"W": found.W[...]})) == "0.0"
    found.W[...] *= 10 / np.linalg.norm(found.W[...], 2)
    z = solved(found, u)
    assert float(jnp.max(jnp.abs(found.gradient(z, u)))) <= 1e-9
    np.testing.assert_allclose(solved(found, u, 100 * injected(seed=1)), z, atol=1e-8)


def test_the_gradient_is_that_of_a_dense_solve(x64):
    act, u = activations.get("gelu"), injected()
    found = cell(act)
    slope = jax.grad(lambda u: jnp.sum(jnp.sin(solved(found, u))))(u)
    z, W = np.asarray(solved(found, u)), np.asarray(found.W)
    D = act.slope_in_float64(z @ W.T + np.asarray(u))
    for i in range(BATCH):
        hessian = np.eye(WIDTH) - W.T @ (D[i][:, None] * W)
        expected = D[i] * (W @ np.linalg.solve(hessian, np.cos(z[i])))
        np.testing.assert_allclose(slope[i], expected, atol=1e-8)


# Several layers.


def test_averaged_layers_tend_to_the_minimiser_of_the_sum_linearly(x64):
    act, depth = activations.get("gelu"), 3
    u = injected(depth * HIDDEN)
    found = AveragedCell(WIDTH, HIDDEN, act, depth=depth, rngs=nnx.Rngs(0), dtype=jnp.float64)
    W = np.asarray(found.W)

    def descended(z):
        parts = [act.in_float64(z @ W[k].T + u[:, HIDDEN * k : HIDDEN * (k + 1)]) for k in range(3)]
        return sum(part @ W[k] for k, part in enumerate(parts)) / depth

    z = np.zeros((BATCH, WIDTH))
    for _ in range(2000):
        z = descended(z)
    errors = []
    for averaging in (0.02, 0.01):
        found.averaging = averaging
        reached = DEQ(found, solver="anderson(rtol=1e-12, max_steps=3000)")(u).check().value
        errors.append(np.linalg.norm(reached - z) / np.linalg.norm(z))
    assert errors[1] < 0.02
    assert 1.8 < errors[0] / errors[1] < 2.2


# A prior of the features.


def test_with_a_prior_the_equilibrium_minimises_the_sum(x64):
    # Zero lies in ∇Φ(z) + γ/α ∂|z|₁, and more entries are zero the larger γ.
    act, u, averaging, zeros = activations.get("gelu"), injected(), 0.4, []
    plain = cell(act)
    for threshold in (1e-6, 0.01, 0.05, 0.2):
        prior = activations.get(f"soft_threshold(threshold={threshold})")
        found = AveragedCell(
            WIDTH, HIDDEN, act, depth=1, averaging=averaging, prior=prior, rngs=nnx.Rngs(0),
            dtype=jnp.float64,
        )  # fmt: skip
        found.W[...] = plain.W[...][None]
        z = DEQ(found, solver="picard(rtol=1e-13, max_steps=5000)")(u).check().value
        slope, weight = np.asarray(plain.gradient(z, u)), threshold / averaging
        z = np.asarray(z)
        np.testing.assert_allclose(slope[z != 0], -weight * np.sign(z[z != 0]), atol=1e-10)
        assert np.all(np.abs(slope[z == 0]) <= weight + 1e-10)
        zeros.append(int(np.sum(z == 0)))
    assert zeros == sorted(zeros)
    assert zeros[0] < 5 < zeros[-1]


@pytest.mark.parametrize("prior", ["soft_threshold(threshold=0.1)", "hard_tanh", "relu"])
def test_what_is_proved_of_averaged_steps_holds_with_a_prior(x64, prior):
    rng = np.random.default_rng(0)
    found = AveragedCell(
        WIDTH, HIDDEN, plug_in(3), averaging=0.4, prior=activations.get(prior), rngs=nnx.Rngs(0),
        dtype=jnp.float64,
    )  # fmt: skip
    parameters, u = nnx.to_pure_dict(nnx.state(found, nnx.Param)), injected(2 * HIDDEN)
    near = found.guarantee().nearness(parameters)
    factor = found.guarantee().rate(found.guarantee().sharp_bound(parameters))
    z, v = (jnp.asarray(rng.standard_normal((BATCH, WIDTH))) for _ in range(2))
    apart = near.size(np.asarray(found(z, u) - found(v, u)))
    assert np.all(apart <= factor * near.size(np.asarray(z - v)))
    end = DEQ(found, solver="picard(rtol=1e-13, max_steps=5000)")(u).check().value
    assert np.all(
        near.size(np.asarray(z - end))
        <= near.per_residual * near.size(np.asarray(found(z, u) - z)) + 1e-11
    )


def test_a_prior_may_be_learned():
    model = OptEq((5,), 3, width=8, prior="prelu(init=0.5)", rngs=nnx.Rngs(0))
    slope = nnx.grad(lambda model: jnp.sum(model(jnp.ones((2, 5)))[0]))(model)
    assert float(slope["deq"]["cell"]["prior"]["learned"]["negative_slope"][...]) != 0


def test_a_model_with_a_prior_has_sparse_features():
    prior = "soft_threshold(threshold=0.05)"
    model = OptEq((5,), 3, width=16, averaging=0.5, prior=prior, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((20, 5)), jnp.float32)
    z = np.asarray(model(x)[1].check().value)
    assert 0.1 < np.mean(z == 0) < 0.9


# The model.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sign": 2}, "sign must be 1 or -1, got 2"),
        ({"depth": 0}, "depth must be a whole number >= 1, got 0"),
        ({"depth": 2, "averaging": 0.0}, r"averaging must be a number in \(0, 1\]"),
        ({"activation": "identity"}, "affine and has no sector"),
        ({"prior": "sin"}, "is no proximal operator of a convex function"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        OptEq((4,), 2, rngs=nnx.Rngs(0), **arguments)


def test_what_it_guarantees_is_said_in_full():
    said = " ".join(Convex(activations.get("tanh"), -1, ("deq", "W")).hypotheses)
    assert "Φ is convex whatever W" in said
    said = " ".join(Convex(activations.get("gelu"), 1, ("deq", "W"), 0.5).hypotheses)
    assert "q = α/(2 - α), α = 0.5" in said
