"""Broyden's method: what theory promises, a fixed window, and the inverse it leaves behind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo import Status, catalog
from deqzoo.catalog import CatalogError
from deqzoo.core import loop
from deqzoo.core.map.program import Program


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def affine(z, args):
    return z @ args[0].T + args[1]


def solve(fn, z0, args, recipe):
    run = lambda z0, args: deqzoo.fixed_point(fn, z0, args, solver=recipe)  # noqa: E731
    return jax.jit(run)(z0, args)


def slow(n=64, rate=0.95, dtype=np.float32):
    """An affine map with eigenvalues in [0, rate]."""
    q = np.linalg.qr(numbers(n, n))[0]
    return (q * np.linspace(0, rate, n) @ q.T).astype(dtype), numbers(3, n).astype(dtype)


# Promises.


@pytest.mark.parametrize("n", [1, 2, 5])
def test_an_affine_problem_of_n_unknowns_takes_at_most_2n_evaluations_and_one_check(x64, n):
    # Gay 1979, also where the map expands.
    weight = 3 * numbers(n, n, seed=1) / np.linalg.norm(numbers(n, n, seed=1), 2)
    args = weight, numbers(4, n)
    recipe = f"broyden(history={2 * n + 1}, restart=1e6, rtol=1e-8)"
    solution = solve(affine, np.zeros((4, n)), args, recipe).check()
    assert np.max(solution.stats.steps) <= 2 * n + 1
    exact = np.linalg.solve(np.eye(n) - weight, args[1].T).T
    np.testing.assert_allclose(solution.value, exact, rtol=1e-6)


def test_the_first_step_is_picard():
    args = slow()
    ours, picard = (
        solve(affine, np.zeros((3, 64), np.float32), args, f"{name}(max_steps=2)")
        for name in ("broyden", "picard")
    )
    np.testing.assert_array_equal(ours.value, picard.value)


def test_a_slow_map_takes_fewer_steps_than_picard():
    ours, picard = (
        solve(affine, np.zeros((3, 64), np.float32), slow(), name).check().stats.steps
        for name in ("broyden", "picard")
    )
    assert np.all(ours < picard / 3)


def test_a_map_that_picard_runs_away_from_is_solved():
    fn = lambda z, x: jnp.tanh(-3 * z) + x  # noqa: E731
    x = numbers(8, 4).astype(np.float32)
    assert np.all(solve(fn, 0 * x, x, "picard").stats.status != Status.CONVERGED)
    solve(fn, 0 * x, x, "broyden").check()


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_no_nan_however_small_the_steps_become(dtype):
    # jaxopt PR 416: vanishing denominators; here the steps reach the rounding and go on.
    weight, b = (a.astype(dtype) for a in slow(8, 0.5))
    solution = solve(affine, np.zeros((3, 8), dtype), (weight, b), "broyden(rtol=0.0)")
    assert np.all(np.isfinite(np.asarray(solution.value, np.float32)))
    assert {*np.asarray(solution.stats.status).tolist()} <= {Status.CONVERGED, Status.FLOOR}


def test_a_rejected_point_leaves_the_best_one():
    # tanh with gain 4 from far away: the estimate of one side is wrong on the other.
    fn = lambda z, x: 4 * jnp.tanh(z) * jnp.cos(3 * z) + x  # noqa: E731
    x = numbers(16, 6).astype(np.float32)
    few, many = (solve(fn, 0 * x, x, f"broyden(max_steps={n})").stats for n in (5, 150))
    assert np.all(many.residual <= few.residual)
    assert np.all(np.isfinite(many.residual))


# The window.


def temporary_bytes(**settings):
    solver = catalog.solvers.load("broyden")(**settings)
    z0 = jnp.zeros((16, 256), jnp.float32)
    run = lambda w, z: deqzoo.fixed_point(affine, z, (w, z), solver=solver).value  # noqa: E731
    compiled = jax.jit(run).lower(jnp.zeros((256, 256)), z0).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_memory_is_linear_in_the_history_and_flat_in_the_steps():
    assert temporary_bytes(max_steps=10) == temporary_bytes(max_steps=5000)
    state = 4 * 16 * 256
    small, middle, large = (temporary_bytes(history=h) for h in (4, 8, 12))
    assert (
        2 * 4 * state <= middle - small <= 4 * 4.1 * state
    )  # a pair each, and a product with both
    assert large - middle == pytest.approx(middle - small, rel=0.1)


def test_a_longer_window_takes_fewer_steps():
    z0 = np.zeros((3, 64), np.float32)
    short, long = (
        solve(affine, z0, slow(rate=0.99), f"broyden(history={h})").check().stats.steps
        for h in (3, 10)
    )
    assert np.all(long < short)


# The inverse.


def memory_of(args, steps):
    broyden = catalog.solvers.load("broyden")(history=40, rtol=1e-12, restart=1e6, max_steps=steps)
    program = Program.trace(lambda z: affine(z, args), jnp.zeros_like(args[1]))
    return broyden, loop.run(broyden, program, jnp.zeros_like(args[1])).memory


@pytest.mark.slow
def test_the_estimate_is_exact_along_the_last_step_and_tends_to_the_inverse(x64):
    # A full set of 2n updates makes it the inverse on all of the space that the steps have seen.
    n = 4
    weight = numbers(n, n, seed=1)
    weight *= 0.8 / np.linalg.norm(weight, 2)
    broyden, memory = memory_of((weight, numbers(3, n)), 2 * n)
    rhs = jnp.asarray(numbers(3, n, seed=7))
    estimate, exact = broyden.inverse(memory, rhs), np.linalg.solve(np.eye(n) - weight, rhs.T).T
    assert np.max(np.abs(estimate - exact)) < np.max(np.abs(rhs - exact))


def test_the_transposed_estimate_is_the_transpose(x64):
    def state(seed):
        leaves = {"a": numbers(3, 2, seed=seed), "b": numbers(3, 2, 2, seed=seed + 1)}
        return jax.tree.map(jnp.asarray, leaves)

    broyden = catalog.solvers.load("broyden")()
    fn = lambda z: {"a": jnp.cos(z["a"] + z["b"][:, 0]), "b": 0.5 * z["b"] + 1}  # noqa: E731
    program = Program.trace(fn, state(0))
    memory = loop.run(broyden, program, state(0)).memory
    left, right = state(4), state(8)
    through, back = broyden.inverse(memory, right), broyden.inverse_transposed(memory, left)
    dot = lambda a, b: sum(jnp.sum(a[k] * b[k]) for k in a)  # noqa: E731
    assert float(dot(left, through)) == pytest.approx(float(dot(back, right)), rel=1e-10)
    assert float(dot(left, through)) != pytest.approx(float(dot(left, right)), rel=1e-3)


@pytest.mark.parametrize(("cosine", "learned"), [(1e-4, False), (1e-2, True)])
def test_a_change_of_the_residual_across_the_step_teaches_nothing(cosine, learned, x64):
    """I - J turns by nearly a right angle: the update would blow the estimate up."""
    sine = np.sqrt(1 - cosine**2)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    broyden, memory = memory_of((np.eye(2) - turn, numbers(3, 2)), 2)
    s = jnp.asarray(numbers(3, 2))  # the step from zero is b
    found = broyden.inverse(memory, s @ turn.T)
    np.testing.assert_allclose(found, s if learned else s @ turn.T, rtol=1e-9)


# Settings.


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("history=0", "history must be a whole number >= 1, got 0"),
        ("history=1.5", "history must be a whole number >= 1, got 1.5"),
        ("restart=1", "restart must be a finite number > 1, got 1"),
    ],
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(CatalogError, match=message):
        catalog.solvers.get(f"broyden({setting})")
