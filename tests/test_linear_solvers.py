"""Linear solvers: one contract over everything in the room, then what each one promises."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deqzoo import Status, catalog
from deqzoo.catalog import CatalogError
from deqzoo.core import linear_solver, trees
from deqzoo.testing import check_linear_solver, name_of
from deqzoo.testing.linear_solvers.equations import MATRICES, B, N, measured, with_radius
from deqzoo.testing.linear_solvers.equations import run as solve
from deqzoo.testing.problems import numbers

NAMES = catalog.linear_solvers.names()
RTOL = {"float32": 1e-5, "float64": 1e-10}


def cases():
    for truth in check_linear_solver.truths:
        marks = [pytest.mark.slow] * name_of(truth).startswith("nested")
        yield pytest.param(truth, id=name_of(truth), marks=marks)


@pytest.mark.parametrize("truth", [*cases()])
@pytest.mark.parametrize("name", NAMES)
def test_every_linear_solver_keeps_its_contract(name, truth):
    check_linear_solver(name, only=truth)


def run(name, matrix, b, guess=None, dtype="float32", **settings):
    solver = replace(catalog.linear_solvers.get(name), **settings)
    return solve(solver, matrix, b, dtype, guess)


def test_settings_that_a_recipe_does_not_have_are_refused():
    with pytest.raises(CatalogError, match="max_iterations.*it takes .*max_steps"):
        catalog.linear_solvers.get("gmres(max_iterations=5)")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("auto", "bicgstab")])
def test_a_spectral_radius_above_one_is_no_obstacle(name):
    matrix, b = with_radius(3.0), numbers(B, N)
    answer = run(name, matrix, b)
    assert answer.stats.status.tolist() == [Status.CONVERGED] * B
    assert np.all(measured(matrix, b, answer.value) <= 1e-4 * np.linalg.norm(b, axis=1))


# The loop under ``auto`` starts from constants, which do not vary over devices.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "auto"])
def test_it_runs_inside_shard_map(name):
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("batch")
    matrix, b = MATRICES["slow"].astype(np.float32), numbers(B, N).astype(np.float32)
    solver = catalog.linear_solvers.get(name)
    plain = lambda b: linear_solver.solve(solver, lambda u: u @ matrix.T, b).value  # noqa: E731
    sharded = jax.shard_map(plain, mesh=mesh, in_specs=spec, out_specs=spec)
    chex.assert_trees_all_equal(jax.jit(sharded)(b), jax.jit(plain)(b))


# GMRES.


def test_gmres_needs_as_many_products_as_there_are_eigenvalues():
    # Three distinct eigenvalues: three products, and one that measures the residual.
    left = np.linalg.qr(numbers(N, N))[0]
    matrix = left * np.repeat([-2.0, 0.5, 4.0], 4) @ left.T
    answer = run("gmres", matrix, numbers(B, N))
    assert answer.stats.steps.tolist() == [4] * B
    assert answer.stats.status.tolist() == [Status.CONVERGED] * B


def test_restarts_do_not_spoil_gmres(x64):
    b = numbers(B, N)
    for history in (1, 2, 5, 12):
        answer = run("gmres", MATRICES["contracting"], b, dtype="float64", history=history)
        assert np.all(measured(MATRICES["contracting"], b, answer.value) <= 1e-9)


def test_gmres_names_stagnation():
    # A cyclic shift: no residual before the n-th product is smaller than b, but for its own steps.
    shift = np.eye(N) - np.roll(np.eye(N), 1, axis=0)
    answer = run("gmres", shift, np.eye(N)[:1], history=N - 1)
    assert answer.stats.status.tolist() == [Status.STAGNATED]
    assert not answer.sound[0]
    assert answer.stats.steps[0] == N
    whole = run("gmres", shift, np.eye(N)[:1], history=N)
    assert whole.stats.status.tolist() == [Status.CONVERGED]


def test_gmres_does_not_search_along_what_rounding_left():
    """With I - J = 3 the space of b is b; the next direction would be noise, and 29 after it."""
    answer = run("gmres", -2 * np.eye(N), numbers(B, N), rtol=0.0)
    np.testing.assert_allclose(answer.value, numbers(B, N) / 3, rtol=1e-6)
    assert np.all(answer.stats.steps < 30)  # a cycle takes two or three; rtol = 0 asks for more


# BiCGStab.


@pytest.mark.parametrize("nearly", [0.0, 3e-8])
def test_bicgstab_begins_anew_where_the_residual_is_across_its_shadow(nearly):
    """By hand: r₀ = e₁, s = -e₂, r₁ = (0, -½, ½), in exact numbers across e₁.

    Three unknowns take three steps from there and one product that measures; to go on with a
    quotient of roundings wastes a step of two.
    """
    matrix = np.eye(3) - np.array([[1, nearly, 0.5], [1, 1, 0], [0, 1, 1]])
    answer = run("bicgstab", matrix, np.eye(3)[:1])
    np.testing.assert_allclose(answer.value, [[2 / 3, -2 / 3, 2 / 3]], rtol=1e-5)
    assert answer.stats.steps[0] <= 2 * (1 + 3)


def test_gmres_spends_no_more_than_it_may():
    b = numbers(B, N)
    for limit in (1, 2, 5, 30):
        answer = run("gmres", MATRICES["slow"], b, max_steps=limit, history=4)
        assert np.all(answer.stats.steps <= limit)
        assert np.all(answer.stats.residual <= linear_norm(b))
    assert run("gmres", MATRICES["slow"], b, max_steps=2).stats.status[0] == Status.MAX_STEPS


def linear_norm(b):
    """What ``solve`` makes of the right-hand side."""
    return np.linalg.norm(b, axis=1) / trees.magnitude(jnp.asarray(b, "float32")) + 1e-6


@pytest.mark.parametrize("name", ["auto", "bicgstab"])
@pytest.mark.parametrize("limit", [9, 100])
def test_the_products_of_all_stages_are_counted(name, limit):
    made = []

    def product(u):
        jax.debug.callback(lambda: made.append(1))
        return u @ MATRICES["rotating"].T.astype(np.float32)

    rule = replace(catalog.linear_solvers.get(name), rtol=1e-4, max_steps=limit)
    steps = jax.jit(lambda b: linear_solver.solve(rule, product, b).stats.steps)(
        numbers(1, N).astype(np.float32)
    )
    jax.effects_barrier()
    assert 6 < steps[0] <= limit
    # The residual is measured where each stage ends; the step from zero of auto costs no product.
    assert len(made) == steps[0] + 1


def test_goals_and_limits_are_per_example():
    b, matrix = jnp.asarray(numbers(B, N), "float32"), MATRICES["slow"].astype(np.float32)
    solver, product = catalog.linear_solvers.get("gmres"), lambda u: u @ matrix.T
    goal = jnp.array([np.inf, 0.1, 1e-4]) * trees.norm(b)
    answer = solver.solve(product, b, None, goal=goal, limit=jnp.array([9, 9, 40]))
    steps = answer.stats.steps.tolist()
    assert steps[0] == 0
    assert 2 <= steps[1] <= 9 < steps[2]
    assert answer.stats.residual[2] <= goal[2]


def test_gmres_refuses_an_impossible_history():
    with pytest.raises(CatalogError, match="history must be a whole number >= 1, got 0"):
        catalog.linear_solvers.get("gmres(history=0)")


def turned(sine):
    """J with I - J a rotation: one direction leaves this part of b, and so does its Picard step."""
    cosine = np.sqrt(1 - sine**2)
    return np.eye(2) - np.array([[cosine, -sine], [sine, cosine]])


@pytest.mark.parametrize(("left", "sound"), [(0.3, False), (0.11, False), (0.09, True)])
@pytest.mark.parametrize("name", ["gmres", "picard"])
def test_a_solve_is_sound_that_leaves_less_than_a_tenth(name, left, sound):
    b = numbers(B, 2)
    if name == "gmres":  # one product to find, one to measure
        answer = run("gmres", turned(left), b, max_steps=2)
    else:  # u = b, Ju = ρb and ρ/(1 + ρ) is left of Ju + b
        answer = solve(catalog.solvers.get("picard(max_steps=2)"), left / (1 - left) * np.eye(2), b)
    np.testing.assert_allclose(answer.stats.relative_residual, left, rtol=1e-5)
    assert answer.sound.tolist() == [sound] * B


@pytest.mark.parametrize(("left", "taken"), [(0.6, False), (0.51, False), (0.49, True)])
def test_a_guess_that_leaves_more_than_half_of_the_right_hand_side_begins_at_zero(left, taken):
    b, guess = jnp.array([[3.0, 0.0]]), jnp.array([[np.sqrt(1 - left**2), left]], jnp.float32)
    fn = linear_solver.affine(lambda u: -u, b, 40 * guess)
    best = (b @ guess.T) * guess / 2  # I - J doubles
    np.testing.assert_allclose(fn.origin, best if taken else 0 * b, rtol=1e-6)
    np.testing.assert_allclose(fn.value, b - fn.origin, rtol=1e-6)


@pytest.mark.parametrize("name", ["gmres", "lu"])
def test_a_residual_that_is_the_rounding_of_a_long_solution_ends_at_the_floor(name):
    """The first row of I - J is 1e-5 long: u is as many times longer than b, and is rounded."""
    left, right = (np.linalg.qr(numbers(N, N, seed=seed))[0] for seed in (2, 3))
    matrix = np.eye(N) - left * np.array([1e-5, *np.linspace(0.5, 1, N - 1)]) @ right
    answer = run(name, matrix, numbers(B, N))
    assert np.all(np.linalg.norm(answer.value, axis=1) > 1e4)
    assert answer.stats.status.tolist() == [Status.FLOOR] * B


@pytest.mark.parametrize("limit", [4, 5, 6])
@pytest.mark.parametrize("name", ["gmres(history=3)", "bicgstab"])
def test_too_few_products_are_named_also_where_one_is_left(name, limit):
    solver = catalog.linear_solvers.get(name)
    answer = solve(replace(solver, max_steps=limit), MATRICES["slow"], numbers(B, N))
    assert np.all(answer.stats.steps <= limit)
    assert answer.stats.status.tolist() == [Status.MAX_STEPS] * B


# LU.


def test_lu_is_as_exact_as_the_dtype(x64):
    matrix, b = with_radius(3.0), numbers(B, N)
    for dtype in RTOL:
        answer = run("lu", matrix, b, dtype=dtype)
        exact = np.linalg.solve(np.eye(N) - matrix.astype(dtype), b.T.astype(dtype)).T
        bound = 10 * np.finfo(dtype).eps * np.linalg.cond(np.eye(N) - matrix)
        np.testing.assert_allclose(answer.value, exact, rtol=0, atol=bound * np.max(np.abs(exact)))
        assert answer.stats.steps.tolist() == [N + 2] * B


def test_lu_refuses_what_would_not_fit():
    # https://github.com/patrick-kidger/optimistix/issues/93: 77 TB.
    solver, b = catalog.linear_solvers.get("lu"), jax.ShapeDtypeStruct((64, 10_000), jnp.float32)
    with pytest.raises(ValueError, match=r"64 dense Jacobians of 10000 x 10000 .*23.8 GiB.*gmres"):
        jax.eval_shape(lambda b: solver.solve(lambda u: u, b, None), b)
    with pytest.raises(CatalogError, match="limit must be a whole number >= 1, got 0"):
        catalog.linear_solvers.get("lu(limit=0)")


@pytest.mark.parametrize("name", ["auto", "picard", "anderson"])
def test_iterations_begin_with_the_right_hand_side_for_nothing(name):
    rhs = jnp.asarray(np.random.default_rng(0).standard_normal((3, 6)), jnp.float32)
    seen = []

    def product(u):
        jax.debug.callback(lambda u: seen.append(np.array(u)), u)
        return 0.3 * jnp.roll(u, 1, axis=1)

    rule = (catalog.linear_solvers if name == "auto" else catalog.solvers).get(name)
    answer = jax.jit(lambda b: linear_solver.solve(rule, product, b))(rhs)
    jax.effects_barrier()
    assert not any(np.all(u == 0) for u in seen)
    size = np.asarray(trees.magnitude(rhs))[:, None]
    assert any(np.allclose(u * size, rhs, rtol=1e-5) for u in seen)
    np.testing.assert_allclose(answer.value, 0.3 * np.roll(answer.value, 1, 1) + rhs, atol=1e-4)


@pytest.mark.quick("-40.0-picard", "0.001-gmres", "1.0-bicgstab", "0.001-auto")
@pytest.mark.parametrize("name", ["auto", "bicgstab", "gmres", "picard", "anderson"])
@pytest.mark.parametrize("factor", [1.0, 1e-3, -40.0])
def test_a_guess_is_good_whatever_its_size_and_sign(name, factor):
    matrix, rhs = jnp.asarray(with_radius(0.6), jnp.float32), numbers(B, N).astype(np.float32)
    rule = (catalog.linear_solvers if name in NAMES else catalog.solvers).get(name)
    solve = jax.jit(lambda b, guess: linear_solver.solve(rule, lambda u: u @ matrix, b, guess))
    exact = np.linalg.solve((np.eye(N) - matrix).T, rhs.T).T.astype(np.float32)
    answer = solve(rhs, factor * exact)
    assert np.all(answer.stats.steps <= 2)
    np.testing.assert_allclose(answer.value, exact, rtol=1e-4, atol=1e-4)


@pytest.mark.quick("nan-picard", "1e+30-picard", "0.0-auto")
@pytest.mark.parametrize("name", ["auto", "picard", "anderson"])
@pytest.mark.parametrize("guess", [0.0, np.nan, np.inf, 1e30, "noise"])
def test_a_useless_guess_costs_one_product(name, guess):
    matrix, rhs = jnp.asarray(with_radius(0.6), jnp.float32), numbers(B, N).astype(np.float32)
    rule = (catalog.linear_solvers if name == "auto" else catalog.solvers).get(name)
    made = []

    def product(u):
        jax.debug.callback(lambda: made.append(1))
        return u @ matrix

    def spent(guess):
        made.clear()
        answer = jax.jit(lambda b: linear_solver.solve(rule, product, b, guess))(rhs)
        jax.effects_barrier()
        assert np.all(answer.stats.status == Status.CONVERGED)
        return len(made)

    stale = numbers(B, N, seed=7) if guess == "noise" else np.full((B, N), guess)
    assert spent(jnp.asarray(stale, jnp.float32)) <= spent(None) + 1
