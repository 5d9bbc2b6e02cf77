"""The trace of the Hessian: estimates, closed forms, and its least value for linear DEQs."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_training import small

import deqzoo
from deqzoo import catalog
from deqzoo.analysis.flatness import flatness as analysed
from deqzoo.core import flatness
from deqzoo.models.wide import Wide
from deqzoo.theory.linear_flatness import least_trace
from deqzoo.training import Training


@pytest.fixture(autouse=True)
def _x64():
    with jax.enable_x64(True):
        yield


def weights(hidden, inputs, outputs, seed=0):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((hidden, hidden))
    return {
        "A": jnp.asarray(0.6 * A / np.linalg.norm(A, 2)),
        "B": jnp.asarray(rng.standard_normal((hidden, inputs))),
        "C": jnp.asarray(rng.standard_normal((outputs, hidden))),
    }


def deq(activation, x):
    """θ -> C z* with z* = φ(Az* + Bx)."""
    fn = lambda z, p: activation(z @ p["A"].T + x @ p["B"].T)  # noqa: E731

    def outputs(p):
        z0 = jnp.zeros((len(x), len(p["A"])))
        exact = "picard(rtol=1e-13, max_steps=500)"
        adjoint = f"implicit(solver='{exact}')"
        return deqzoo.fixed_point(fn, z0, p, solver=exact, adjoint=adjoint).value @ p["C"].T

    return outputs


def linear_trace(p):
    A, B, C = p["A"], p["B"], p["C"]
    R = jnp.linalg.inv(jnp.eye(len(A)) - A)
    left, right = jnp.sum((C @ R) ** 2), jnp.sum((R @ B) ** 2)
    return 2 * (left * right + B.shape[1] * left + len(C) * right)


def test_the_trace_is_that_of_the_hessian_at_interpolation_and_the_formula_of_linear_deqs():
    p, x = weights(4, 3, 2), jnp.sqrt(3) * jnp.eye(3)  # E xxᵀ = I
    outputs = deq(lambda z: z, x)
    y = outputs(p)
    flat, rebuild = jax.flatten_util.ravel_pytree(p)
    loss = lambda flat: jnp.sum((outputs(rebuild(flat)) - y) ** 2) / len(x)  # noqa: E731
    hessian = jax.jit(jax.hessian(loss))(flat)  # the implicit gradient differentiated
    found = jax.jit(lambda p: flatness.trace(outputs, p))(p)
    np.testing.assert_allclose(found, jnp.trace(hessian), rtol=1e-9)
    np.testing.assert_allclose(found, linear_trace(p), rtol=1e-9)


def test_hutchinson_comes_within_five_percent_with_one_backward_solve_a_probe():
    p, x = weights(6, 4, 2), np.random.default_rng(1).standard_normal((10, 4))
    outputs, key = deq(jnp.tanh, x), jax.random.key(0)
    estimate = lambda p: flatness.trace_estimate(outputs, p, key, 1500)  # noqa: E731
    exact = jax.jit(lambda p: flatness.trace(outputs, p))(p)
    np.testing.assert_allclose(jax.jit(estimate)(p), exact, rtol=0.05)
    assert solves(jax.make_jaxpr(estimate)(p).jaxpr) == 1500


def solves(jaxpr, times=1):
    """How many linear solves a program runs."""
    found = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "custom_linear_solve":
            found += times
            continue
        more = times * equation.params.get("length", 1)
        for inner in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(inner, "jaxpr", inner)
            found += solves(inner, more) if hasattr(inner, "eqns") else 0
    return found


def test_the_estimate_has_the_gradient_of_differences():
    p, x = weights(3, 2, 2), np.random.default_rng(1).standard_normal((4, 2))
    outputs, key = deq(jnp.tanh, x), jax.random.key(3)
    value = jax.jit(lambda p: flatness.trace_estimate(outputs, p, key, 2))
    slope = jax.jit(jax.grad(lambda p: value(p)))(p)
    move = weights(3, 2, 2, seed=5)
    near = [value(jax.tree.map(lambda a, b, s=s: a + s * b, p, move)) for s in (1e-5, -1e-5)]
    along = sum(jnp.sum(a * b) for a, b in zip(*map(jax.tree.leaves, (slope, move)), strict=True))
    np.testing.assert_allclose(along, (near[0] - near[1]) / 2e-5, rtol=1e-6)


def test_no_linear_deq_is_flatter_than_the_theorem_allows_and_one_is_as_flat():
    kappa = 0.6
    for seed in range(50):
        p = weights(5, 4, 3, seed)
        M = np.asarray(p["C"] @ np.linalg.inv(np.eye(5) - p["A"]) @ p["B"])
        assert linear_trace(p) >= least_trace(M, kappa) * (1 - 1e-12)
    left, sizes, right = np.linalg.svd(M, full_matrices=False)
    root, share = np.sqrt(sizes) * (1 + kappa) ** 0.5, (len(M) / M.shape[1]) ** 0.25
    C, B = left * root * share, (root[:, None] * right) / share
    flat = {"A": -kappa * np.eye(len(sizes)), "B": B, "C": C}
    np.testing.assert_allclose(C @ B / (1 + kappa), M, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(linear_trace(flat), least_trace(M, kappa), rtol=1e-10)


@pytest.mark.slow
def test_the_analysis_finds_trace_and_nuclear_norm_of_a_linear_model():
    model = Wide((3,), 2, activation="identity", width=12, rngs=nnx.Rngs(0), dtype=jnp.float64)
    x = np.sqrt(3) * np.eye(3)
    found = analysed(model, x)
    W, U, a = (np.asarray(each) for each in (model.deq.cell.W[...], *model.ends()))
    p = {"A": W, "B": U, "C": a}
    trace, error, _ = found.facts.values()
    assert abs(trace - linear_trace(p)) < 4 * error < 0.5 * trace
    M = a @ np.linalg.inv(np.eye(12) - W) @ U
    np.testing.assert_allclose(found.singular, [np.linalg.svd(M)[1]] * 3, rtol=1e-4)


def test_label_noise_adds_the_gradient_of_noisy_targets():
    p, x, key = (
        weights(3, 2, 2),
        np.random.default_rng(1).standard_normal((4, 2)),
        jax.random.key(0),
    )
    outputs, rule = deq(jnp.tanh, x), catalog.regularizers.get("label_noise(delta=0.3)")
    solution = deqzoo.fixed_point(lambda z, _: 0 * z, jnp.zeros((4, 1)), None)
    penalty = lambda p: rule.of_outputs(outputs, p)(None, solution, key)  # noqa: E731
    noise = 0.3 * jax.random.rademacher(key, (4, 2), float)
    square = lambda p, y: jnp.mean(jnp.sum((outputs(p) - y) ** 2, axis=1))  # noqa: E731
    y = jnp.ones((4, 2))
    noisy, plain, added = (
        jax.jit(jax.grad(f))(p)
        for f in (lambda p: square(p, y + noise), lambda p: square(p, y), penalty)
    )
    jax.tree.map(
        lambda a, b, c: np.testing.assert_allclose(a, b + c, rtol=1e-8), noisy, plain, added
    )


@pytest.mark.slow
def test_training_and_a_multiplier_are_told_the_trace_of_their_batch(tmp_path):
    settings = {"model": "wide", "activation": "tanh", "loss": "square", "learning_rate": "1e-3"}
    settings |= {"batch_size": "full", "precision": "float64", "steps": 1}
    settings["task"] = "sphere(examples=12, dimension=4)"
    exact = "flatness(exact=True, weight=0.5)"
    config = small(
        tmp_path, regularizer=exact, constraint="multiplier(of='flatness(exact=True)')", **settings
    )
    training = Training(config)
    pure, state, x = training.setup.pure, training.setup.state, training.setup.train.x
    outputs = lambda p: pure(state._replace(parameters=p), x)[0]  # noqa: E731
    expected = float(flatness.trace(outputs, state.parameters))
    line, _ = training.reports()
    training.close()
    assert line["penalty"] == pytest.approx(expected / 2, rel=1e-3)
    assert line["violation"] == pytest.approx(expected - 0.95, rel=1e-3)
