"""The default solver ends where the infinitely deep network does, of 100 maps on at least 99."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo import Status
from deqzoo.core import stopping

SLOPES = {"tanh": (jnp.tanh, np.tanh), "relu": (jax.nn.relu, lambda x: np.maximum(x, 0))}
SLOPES["sin"] = (jnp.sin, np.sin)


def weight(kind, n, rng):
    g = rng.standard_normal((n, n))
    if kind == "definite":
        return g @ g.T
    if kind == "orthogonal":
        return np.linalg.qr(g)[0]
    if kind == "symmetric":
        return g + g.T
    return g[:, : n // 4] @ rng.standard_normal((n // 4, n)) if kind == "low rank" else g


def maps(n, count, seed):
    """Matrices of norm up to 3, offsets of 0.01 to 2, and starts, zero or random."""
    rng = np.random.default_rng(seed)
    kinds = ("definite", "orthogonal", "symmetric", "low rank", "gaussian")
    w = np.stack([weight(kinds[i % 5], n, rng) for i in range(count)])
    w *= rng.uniform(0.5, 3, (count, 1, 1)) / np.linalg.norm(w, 2, axis=(1, 2), keepdims=True)
    b = rng.standard_normal((count, n)) * 10 ** rng.uniform(-2, 0.3, (count, 1))
    z0 = rng.standard_normal((count, n)) * rng.integers(0, 2, (count, 1))
    return [array.astype(np.float32) for array in (w, b, z0)]


def deep(phi, problem, layers=3000):
    """The state of a network of so many layers; NaN where it has no limit."""
    w, b, z = (array.astype(np.float64) for array in problem)
    for _ in range(layers):
        before, z = z, np.clip(phi(np.einsum("bij,bj->bi", w, z) + b), -1e9, 1e9)
    still = np.linalg.norm(z - before, axis=1) < 1e-7 * np.linalg.norm(z, axis=1)
    return np.where(still[:, None] & (np.abs(z) < 1e6), z, np.nan)


def solve(phi, problem, solver):
    fn = lambda z, a: phi(jnp.einsum("bij,bj->bi", a[0], z) + a[1])  # noqa: E731
    return jax.jit(lambda w, b, z0: deqzoo.fixed_point(fn, z0, (w, b), solver=solver))(*problem)


@pytest.mark.quick("4-tanh")
@pytest.mark.parametrize("name", SLOPES)
@pytest.mark.parametrize("n", [4, 24])
def test_the_default_solver_reaches_the_limit_of_picard(name, n):
    ours, theirs = SLOPES[name]
    problem = maps(n, 500, seed=n)
    limit = deep(theirs, problem)

    def reaches(solver):
        solution = solve(ours, problem, solver)
        near = np.linalg.norm(solution.value - limit, axis=1) < 1e-2 * np.linalg.norm(limit, axis=1)
        return near & (np.asarray(solution.stats.status) == Status.CONVERGED)

    picard, auto = reaches("picard(max_steps=2000)"), reaches("auto(max_steps=2000)")
    assert np.sum(picard) > 200
    assert np.mean(auto[picard]) >= 0.99


@pytest.mark.parametrize(("slope", "offset", "start"), [(2, 0.05, 0), (3, 0.01, 0), (2, 0, 0.1)])
def test_growth_at_first_is_not_slowness(slope, offset, start):
    fn = lambda z, _: jnp.tanh(slope * z + offset)  # noqa: E731
    solution = deqzoo.fixed_point(fn, jnp.full((1, 1), float(start))).check()
    limit = start
    for _ in range(500):
        limit = np.tanh(slope * limit + offset)
    np.testing.assert_allclose(solution.value, limit, rtol=1e-4)
    assert solution.stats.steps[0] <= 16


def test_sixteen_steps_without_growth_that_come_nearer_end_where_they_are_drawn_to():
    """The second one grew later, the third goes away, the fourth is farther than it began."""
    stands = SimpleNamespace(
        step=jnp.array(20),
        rose=jnp.array([4, 5, 4, 4]),
        z=jnp.array([[0.5], [0.5], [0.5], [1.5]]),
    )
    following, far = jnp.array([[0.4], [0.4], [0.6], [1.4]]), jnp.ones(4)
    drawn = stopping.is_drawn(stands, following, jnp.zeros((4, 1)), far)
    assert drawn.tolist() == [True, False, False, False]
    assert not jnp.any(stopping.is_drawn(stands, following, jnp.zeros((4, 1)), 0 * far))


def test_where_the_deep_network_has_no_limit_the_equilibrium_that_repels_is_found():
    # z -> -2 tanh z turns around 0 for ever.
    solution = deqzoo.fixed_point(lambda z, _: 0.1 - 2 * jnp.tanh(z), jnp.ones((1, 1))).check()
    z = float(solution.value[0, 0])
    assert abs(0.1 - 2 * np.tanh(z) - z) < 1e-5


def test_a_contraction_is_left_for_anderson_as_early_as_ever_and_never_taken_up_again():
    rng = np.random.default_rng(0)
    rates = np.linspace(-0.5, 0.99, 64, dtype=np.float32)[None]
    x = rng.standard_normal((128, 64)).astype(np.float32)
    affine = lambda z, x: rates * z + x  # noqa: E731
    both = [
        jax.jit(lambda x, s=s: deqzoo.fixed_point(affine, jnp.zeros_like(x), x, solver=s))(x)
        for s in ("auto", "anderson")
    ]
    auto, anderson = (np.mean(solution.check().stats.steps) for solution in both)
    assert auto <= anderson + 6


@pytest.mark.quick("8-auto")
@pytest.mark.parametrize("solver", ["picard", "auto"])
@pytest.mark.parametrize("every", [2, 3, 4, 8])
def test_a_forecast_holds_however_seldom_the_residual_is_looked_at(solver, every):
    rng = np.random.default_rng(0)
    w = rng.standard_normal((128, 128))
    w = (0.9 * w / np.linalg.norm(w, 2)).astype(np.float32)
    b = rng.standard_normal((64, 128)).astype(np.float32)
    solution = jax.jit(
        lambda w: deqzoo.fixed_point(
            lambda z, w: jax.nn.relu(z @ w + b),
            jnp.zeros_like(b),
            w,
            solver=f"{solver}(check_every={every}, rtol=1e-5)",
        )
    )(w).check()
    z = np.asarray(solution.value, np.float64)
    image = np.maximum(z @ w + b, 0)
    assert np.all(np.linalg.norm(image - z, axis=1) <= 1.1e-5 * np.linalg.norm(image, axis=1))


def test_a_forecast_follows_contractions_that_rise():
    """A slow part, small at first, is all that is left in the end; without the trend 3.1 % miss."""
    rng = np.random.default_rng(0)
    rates = rng.uniform(0.05, 0.4, (2000, 1)) * np.sqrt(rng.uniform(0, 1, (2000, 256)))
    start = rng.standard_normal((2000, 256))
    rates[:, -1] = rng.uniform(0.5, 0.95, 2000)
    start[:, -1] *= 16 * 10 ** rng.uniform(-4, 0, 2000)
    rates, b = (jnp.asarray(a, jnp.float32) for a in (rates, (1 - rates) * start))
    solve = jax.jit(
        lambda b: deqzoo.fixed_point(lambda z, _: rates * z + b, 0 * b, solver="picard(rtol=1e-3)")
    )
    missed = np.asarray(solve(b).stats.status) == Status.MISSED.value
    assert np.mean(missed) < 0.02
