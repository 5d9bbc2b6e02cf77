"""Linear solvers: one contract over everything in the room, then what each one promises."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deqzoo import Status, catalog
from deqzoo.catalog import CatalogError
from deqzoo.core import linear_solver, trees
from deqzoo.core.linear_solver import LinearSolver

NAMES = catalog.linear_solvers.names()
RTOL = {"float32": 1e-5, "float64": 1e-10}
N, B = 12, 3


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def with_radius(radius, n=N, seed=1):
    """A random non-symmetric matrix with complex eigenvalues."""
    matrix = numbers(n, n, seed=seed)
    return radius * matrix / np.max(np.abs(np.linalg.eigvals(matrix)))


def rotations(radius=0.95):
    """All eigenvalues on a circle, none of them real."""
    blocks = np.zeros((N, N))
    for k in range(N // 2):
        angle = 0.5 + k / 3
        c, s = radius * np.cos(angle), radius * np.sin(angle)
        blocks[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = [[c, -s], [s, c]]
    return blocks


def nearly_singular(gap=1e-3):
    """I - J has singular values from ``gap`` to 1."""
    left, right = (np.linalg.qr(numbers(N, N, seed=seed))[0] for seed in (2, 3))
    return np.eye(N) - left * np.geomspace(gap, 1, N) @ right


PROBLEMS = {
    "contracting": with_radius(0.5),
    "slow": with_radius(0.95),
    "rotating": rotations(),
    "nilpotent": np.diag(np.ones(N - 1), 1),
    "zero": np.zeros((N, N)),
    "normal": np.diag(np.linspace(-0.9, 0.9, N)),
}


@functools.partial(jax.jit, static_argnums=0)
def solve(solver, matrices, b, guess=None):
    """Every example has its own matrix."""
    product = lambda u: jnp.einsum("bij,bj->bi", matrices, u)  # noqa: E731
    return linear_solver.solve(solver, product, b, guess)


def run(name, matrix, b, guess=None, dtype="float32", **settings):
    solver = dataclasses.replace(catalog.linear_solvers.get(name), **settings)
    matrices = np.broadcast_to(matrix, (len(b), *np.shape(matrix)[-2:])).astype(dtype)
    return solve(solver, matrices, np.asarray(b, dtype), guess)


def measured(matrix, b, value):
    """||Ju + b - u|| in float64."""
    value = np.asarray(value, np.float64)
    return np.linalg.norm(value @ np.asarray(matrix, np.float64).T + b - value, axis=1)


def assert_equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


# It solves.


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_problems_are_solved_and_the_residual_is_the_measured_one(x64, name, problem, dtype):
    matrix, b = PROBLEMS[problem], numbers(B, N)
    answer = run(name, matrix, b, dtype=dtype)
    assert answer.value.dtype == dtype
    assert np.all(answer.sound)
    assert answer.stats.status.tolist() == [Status.CONVERGED] * B
    assert np.all(answer.stats.steps <= 200)
    exact = np.linalg.solve(np.eye(N) - matrix, b.T).T
    condition = np.linalg.cond(np.eye(N) - matrix)
    error = np.linalg.norm(answer.value - exact, axis=1) / np.linalg.norm(exact, axis=1)
    # Fixed-point iterations stop relative to u, Krylov methods relative to b.
    assert np.all(error <= 3 * condition * RTOL[dtype])
    size = trees.magnitude(jnp.asarray(b, dtype))  # ``solve`` scales every example
    rounding = (
        30 * np.finfo(dtype).eps * (np.linalg.norm(exact, axis=1) + np.linalg.norm(b, axis=1))
    )
    gap = np.abs(answer.stats.residual * size - measured(matrix, b, answer.value))
    assert np.all(gap <= rounding)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_does_not_matter(name, scale):
    # https://github.com/jax-ml/jax/issues/40254: tiny cotangents gave NaN.
    matrix, b = PROBLEMS["slow"], numbers(B, N)
    plain, scaled = run(name, matrix, b), run(name, matrix, scale * b)
    np.testing.assert_allclose(scaled.value / np.float32(scale), plain.value, rtol=1e-3)
    assert np.all(scaled.sound)


def test_a_zero_right_hand_side_gives_zero_at_no_cost(name):
    b = numbers(B, N)
    b[1] = 0
    answer = run(name, PROBLEMS["slow"], b)
    assert_equal(answer.value[1], np.zeros(N))
    assert answer.stats.status.tolist() == [Status.CONVERGED] * B
    assert answer.stats.residual[1] == 0
    assert answer.stats.steps[1] <= 1


def test_a_nearly_singular_equation_is_solved_in_double_precision(x64, name):
    matrix, b = nearly_singular(), numbers(B, N)
    answer = run(name, matrix, b, dtype="float64", max_steps=1000)
    assert np.all(answer.sound)
    assert np.all(measured(matrix, b, answer.value) <= 1e-9 * np.linalg.norm(b, axis=1))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("auto", "bicgstab")])
def test_a_spectral_radius_above_one_is_no_obstacle(name):
    matrix, b = with_radius(3.0), numbers(B, N)
    answer = run(name, matrix, b)
    assert answer.stats.status.tolist() == [Status.CONVERGED] * B
    assert np.all(measured(matrix, b, answer.value) <= 1e-4 * np.linalg.norm(b, axis=1))


def test_a_good_guess_is_not_lost(name):
    matrix, b = PROBLEMS["slow"], numbers(B, N)
    exact = np.linalg.solve(np.eye(N) - matrix, b.T).T.astype(np.float32)
    answer = run(name, matrix, b, guess=exact)
    assert answer.stats.status.tolist() == [Status.CONVERGED] * B
    if name != "lu":
        assert np.all(answer.stats.steps <= 2)


# It fails honestly.


def test_a_singular_equation_is_not_called_solved(name):
    # I - J annihilates the first axis, and b has a part along it.
    matrix = np.diag([1.0, *np.linspace(0, 0.5, N - 1)])
    answer = run(name, matrix, np.eye(N)[:B] + 0.01)
    assert not answer.sound[0]
    assert answer.stats.status[0] != Status.CONVERGED
    assert np.all(np.isfinite(answer.value))


@pytest.mark.parametrize("where", ["matrix", "b"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_non_finite_example_fails_alone(name, where, bad):
    matrices, b = np.broadcast_to(PROBLEMS["slow"], (B, N, N)).copy(), numbers(B, N)
    plain = run(name, matrices, b)
    (matrices if where == "matrix" else b)[1] = bad
    answer = run(name, matrices, b)
    assert answer.sound.tolist() == [True, False, True]
    assert_equal(*(jax.tree.map(lambda leaf: leaf[::2], a) for a in (answer, plain)))


def test_batch_mates_change_nothing(name):
    matrices, b = np.broadcast_to(PROBLEMS["slow"], (B, N, N)).copy(), numbers(B, N)
    plain = run(name, matrices, b)
    for mate, factor in ((with_radius(0.3), 1e-6), (with_radius(3.0), 1e6), (np.eye(N), 0)):
        matrices[2], b[2] = mate, factor * b[1]
        changed = run(name, matrices, b)
        assert_equal(*(jax.tree.map(lambda leaf: leaf[:2], a) for a in (changed, plain)))


# It takes any state and every transformation.


def test_a_pytree_is_solved_like_its_rows(x64, name):
    matrix, b = PROBLEMS["slow"], numbers(B, N)
    split = lambda rows: {"a": rows[:, :4].reshape(-1, 2, 2), "b": rows[:, 4:]}  # noqa: E731
    join = lambda tree: jnp.concatenate([tree["a"].reshape(-1, 4), tree["b"]], axis=1)  # noqa: E731
    product = lambda tree: split(join(tree) @ matrix.T)  # noqa: E731
    solver = catalog.linear_solvers.get(name)
    answer = jax.jit(lambda b: linear_solver.solve(solver, product, b))(split(b))
    assert jax.tree.map(jnp.shape, answer.value) == {"a": (B, 2, 2), "b": (B, 8)}
    assert np.all(measured(matrix, b, join(answer.value)) <= 1e-8)


def root(solver, weight, b):
    """u = tanh(W) u + b, differentiable: the use inside an adjoint."""

    def matvec(u):
        return u - u @ jnp.tanh(weight).T

    def forward(_, rhs):
        return linear_solver.solve(solver, lambda u: u @ jnp.tanh(weight).T, rhs).value

    def backward(_, rhs):
        return linear_solver.solve(solver, lambda u: u @ jnp.tanh(weight), rhs).value

    return jax.lax.custom_linear_solve(matvec, b, forward, backward)


@pytest.mark.slow
def test_nested_differentiation_and_vmap(x64, name):
    # https://github.com/jax-ml/jax/issues/5552, 5309, 16441.
    solver = dataclasses.replace(catalog.linear_solvers.get(name), rtol=1e-13)
    weight, b = with_radius(0.6, 4), numbers(2, 4)
    direct = lambda weight: jnp.sum(  # noqa: E731
        jnp.linalg.solve(jnp.eye(4) - jnp.tanh(weight), b.T) ** 3
    )
    ours = lambda weight: jnp.sum(root(solver, weight, b) ** 3)  # noqa: E731
    twice = lambda f: jax.grad(lambda w: jnp.sum(jnp.sin(jax.grad(f)(w))))  # noqa: E731
    weights = np.stack([weight, 0.1 * weight])
    expected = jax.jit(jax.vmap(twice(direct)))(weights)
    actual = jax.jit(jax.vmap(twice(ours)))(weights)
    np.testing.assert_allclose(actual, expected, atol=1e-8 * np.max(np.abs(expected)))


# The loop under ``auto`` starts from constants, which do not vary over devices.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "auto"])
def test_it_runs_inside_shard_map(name):
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("batch")
    matrix, b = PROBLEMS["slow"].astype(np.float32), numbers(B, N).astype(np.float32)
    solver = catalog.linear_solvers.get(name)
    plain = lambda b: linear_solver.solve(solver, lambda u: u @ matrix.T, b).value  # noqa: E731
    sharded = jax.shard_map(plain, mesh=mesh, in_specs=spec, out_specs=spec)
    assert_equal(jax.jit(sharded)(b), jax.jit(plain)(b))


# Settings.


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rtol=-1.0", "rtol must be >= 0, got -1.0"),
        ("max_steps=0", "max_steps must be a whole number >= 1, got 0"),
        ("max_iterations=5", "max_iterations.*it takes .*max_steps"),
    ],
)
def test_impossible_settings_are_refused(name, setting, message):
    with pytest.raises(CatalogError, match=message):
        catalog.linear_solvers.get(f"{name}({setting})")


def test_settings_are_values(name):
    member = catalog.linear_solvers.load(name)
    assert issubclass(member, LinearSolver)
    assert member() == member()
    assert hash(member(max_steps=7)) == hash(member(max_steps=7))
    assert member() != member(max_steps=7)


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
        answer = run("gmres", PROBLEMS["contracting"], b, dtype="float64", history=history)
        assert np.all(measured(PROBLEMS["contracting"], b, answer.value) <= 1e-9)


def test_gmres_names_stagnation():
    # A cyclic shift: no residual before the n-th product is smaller than b, but for its own steps.
    shift = np.eye(N) - np.roll(np.eye(N), 1, axis=0)
    answer = run("gmres", shift, np.eye(N)[:1], history=N - 1)
    assert answer.stats.status.tolist() == [Status.STAGNATED]
    assert not answer.sound[0]
    assert answer.stats.steps[0] == N
    whole = run("gmres", shift, np.eye(N)[:1], history=N)
    assert whole.stats.status.tolist() == [Status.CONVERGED]


def test_gmres_spends_no_more_than_it_may():
    b = numbers(B, N)
    for limit in (1, 2, 5, 30):
        answer = run("gmres", PROBLEMS["slow"], b, max_steps=limit, history=4)
        assert np.all(answer.stats.steps <= limit)
        assert np.all(answer.stats.residual <= linear_norm(b))
    assert run("gmres", PROBLEMS["slow"], b, max_steps=2).stats.status[0] == Status.MAX_STEPS


def linear_norm(b):
    """What ``solve`` makes of the right-hand side."""
    return np.linalg.norm(b, axis=1) / trees.magnitude(jnp.asarray(b, "float32")) + 1e-6


@pytest.mark.parametrize("name", ["auto", "bicgstab"])
@pytest.mark.parametrize("limit", [9, 100])
def test_the_products_of_all_stages_are_counted(name, limit):
    made = []

    def product(u):
        jax.debug.callback(lambda: made.append(1))
        return u @ PROBLEMS["rotating"].T.astype(np.float32)

    rule = dataclasses.replace(catalog.linear_solvers.get(name), rtol=1e-4, max_steps=limit)
    steps = jax.jit(lambda b: linear_solver.solve(rule, product, b).stats.steps)(
        numbers(1, N).astype(np.float32)
    )
    jax.effects_barrier()
    assert 6 < steps[0] <= limit
    # The residual is measured where each stage ends; the step from zero of auto costs no product.
    assert len(made) == steps[0] + 1


def test_goals_and_limits_are_per_example():
    b, matrix = jnp.asarray(numbers(B, N), "float32"), PROBLEMS["slow"].astype(np.float32)
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
