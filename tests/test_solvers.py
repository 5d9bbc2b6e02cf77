"""Every solver: it solves, says truly how well, and treats every example by itself."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo import Status, catalog
from deqzoo.catalog import CatalogError
from deqzoo.core import trees
from deqzoo.core.solver import Solver

SOLVERS = tuple(
    name for name in catalog.solvers.names() if not catalog.solvers.load(name).needs_split
)
NEWTON = ("newton_krylov", "direct")  # whose steps also count products with the Jacobian
RTOL = {"bfloat16": 2e-2, "float32": 1e-5, "float64": 1e-10}  # the promised defaults


class Problem(NamedTuple):
    """A map z -> fn(z, args), a start, and the fixed point where it is known."""

    fn: Any
    z0: Any
    args: Any
    exact: Any = None


def run(problem, solver, **settings):
    """Solve inside ``jit``."""
    if settings:
        solver = dataclasses.replace(catalog.solvers.get(solver), **settings)
    solve = jax.jit(lambda z0, args: deqzoo.fixed_point(problem.fn, z0, args, solver=solver))
    return solve(problem.z0, problem.args)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def matrix(n, norm, seed=1):
    weight = numbers(n, n, seed=seed)
    return norm * weight / np.linalg.norm(weight, 2)


def affine(weight, b):
    """z -> Wz + b."""
    exact = np.linalg.solve(np.eye(len(weight)) - weight, b.T).T
    return Problem(lambda z, args: z @ args[0].T + args[1], np.zeros_like(b), (weight, b), exact)


def linear():
    return affine(matrix(6, 0.8), numbers(3, 6))


def rotation(radius=0.9):
    c, s = radius * math.cos(1), radius * math.sin(1)
    return affine(np.array([[c, -s], [s, c]]), numbers(3, 2))


def cosine():
    exact = np.full((2, 1), 0.7390851332151607)
    return Problem(lambda z, _: jnp.cos(z), np.zeros((2, 1)), None, exact)


def wide(norm=0.8, width=16):
    """The papers' cell, relu."""
    x, weight = numbers(4, width), matrix(width, norm)
    fn = lambda z, args: jax.nn.relu(z @ args[0].T + args[1])  # noqa: E731
    return Problem(fn, np.zeros_like(x), (weight, x))


def coupled():
    """Three leaves of rank 1, 2 and 3 that act on each other."""

    def fn(z, x):
        mean = jnp.mean(z["image"], axis=(1, 2))
        return {
            "number": 0.4 * jnp.sin(mean) + 0.5,
            "row": 0.3 * jnp.tanh(z["row"] + z["number"][:, None]) + x,
            "image": 0.5 * jnp.cos(z["image"]) + 0.2 * z["row"][:, :, None],
        }

    z0 = {"number": np.zeros(3), "row": np.zeros((3, 2)), "image": np.zeros((3, 2, 4))}
    return Problem(fn, z0, numbers(3, 2))


def stiff():
    """Fast and slow directions of both signs, and loads of very different size."""
    q = np.linalg.qr(numbers(6, 6))[0]
    speeds = [0.8, 0.5, 1e-4, 0.0, -0.3, -0.8]
    return affine(q @ np.diag(speeds) @ q.T, np.logspace(-3, 3, 3)[:, None] * numbers(3, 6))


PROBLEMS = {
    "linear": linear,
    "cosine": cosine,
    "rotation": rotation,
    "wide": wide,
    "coupled": coupled,
    "stiff": stiff,
    "tiny": lambda: affine(matrix(6, 0.8), 1e-6 * numbers(3, 6)),
    "huge": lambda: affine(matrix(6, 0.8), 1e6 * numbers(3, 6)),
}


def cast(problem, dtype):
    z0, args = jax.tree.map(lambda a: np.asarray(a).astype(jnp.dtype(dtype)), problem[1:3])
    return problem._replace(z0=z0, args=args)


def expected_residual(problem, value):
    """The residual by hand, and what rounding may change in it."""
    value = jax.tree.map(jnp.asarray, value)
    image = problem.fn(value, problem.args)
    rounding = 8 * trees.coarsest_eps(value) * trees.norm(image)
    return np.asarray(trees.norm(trees.subtract(image, value))), np.asarray(rounding)


def assert_equal(a, b):
    """Bit for bit."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture(
    params=[pytest.param(n, marks=pytest.mark.slow) if n in NEWTON else n for n in SOLVERS]
)
def solver(request):
    return request.param


# It solves.


@pytest.mark.parametrize(
    ("name", "climate"),
    [
        ("linear", "float32"),
        ("cosine", "float32"),
        ("rotation", "float64"),
        ("wide", "float32"),
        ("coupled", "float64"),
        ("coupled", "float32 under x64"),
        pytest.param("stiff", "float64", marks=pytest.mark.slow),
        pytest.param("tiny", "float32", marks=pytest.mark.slow),
        pytest.param("huge", "float32", marks=pytest.mark.slow),
    ],
)
def test_problems_are_solved_and_the_statistics_are_true(solver, name, climate):
    dtype = climate.split()[0]
    with jax.enable_x64(climate != "float32"):
        problem = cast(PROBLEMS[name](), dtype)
        solution = run(problem, solver, max_steps=400)
        stats = solution.check().stats
        for leaf, start in zip(
            jax.tree.leaves(solution.value), jax.tree.leaves(problem.z0), strict=True
        ):
            assert (leaf.shape, leaf.dtype) == (start.shape, start.dtype)
        assert {stats.residual.dtype, stats.relative_residual.dtype} == {jnp.dtype(dtype)}
        assert stats.steps.dtype == stats.status.dtype == jnp.int32
        assert np.all(stats.relative_residual <= RTOL[dtype])
        residual, rounding = expected_residual(problem, solution.value)
        assert np.all(np.abs(residual - stats.residual) <= rounding)
        if problem.exact is not None:  # |z - z*| <= residual / (1 - 0.9) in the worst problem
            error = np.max(np.abs(solution.value - problem.exact), axis=1)
            assert np.all(error <= 10 * RTOL[dtype] * np.linalg.norm(problem.exact, axis=1))


def test_half_precision_states_are_solved_and_judged_in_float32(solver):
    problem = cast(wide(), jnp.bfloat16)
    solution = run(problem, solver)
    assert solution.value.dtype == jnp.bfloat16
    assert solution.stats.residual.dtype == jnp.float32
    assert np.all(solution.check().stats.relative_residual <= RTOL["bfloat16"])


def test_starting_at_the_solution_takes_one_evaluation(solver):
    # z -> z/2 + 1/2 keeps 1 exactly, z -> z/2 keeps 0.
    b = np.repeat([[0.5], [0.0]], 3, axis=1).astype(np.float32)
    problem = Problem(lambda z, b: 0.5 * z + b, 2 * b, b)
    solution = run(problem, solver)
    assert solution.stats.steps.tolist() == [1, 1]
    assert solution.stats.status.tolist() == [Status.CONVERGED] * 2
    assert solution.stats.residual.tolist() == [0, 0]
    assert_equal(solution.value, problem.z0)


def test_a_zero_solution_needs_an_absolute_tolerance(solver):
    problem = cast(Problem(lambda z, w: z @ w.T, np.ones((2, 6)), matrix(6, 0.8)), "float32")
    solution = run(problem, solver, atol=1e-6)
    assert np.all(solution.check().stats.residual <= 1e-6)
    assert np.max(np.abs(solution.value)) <= 5e-6
    without = run(problem, solver)
    assert np.all(np.isfinite(without.value))
    assert np.all(without.stats.residual <= solution.stats.residual)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_path_does_not_depend_on_the_scale_of_the_problem(x64, solver, dtype):
    problem = cast(linear(), dtype)
    solve = jax.jit(
        lambda scale: deqzoo.fixed_point(
            problem.fn, problem.z0, (problem.args[0], scale * problem.args[1]), solver=solver
        )
    )
    plain = solve(np.ones((), dtype))
    for scale in (2.0**-20, 2.0**20):  # exact arithmetic: the same path bit for bit
        scaled = solve(np.asarray(scale, dtype))
        assert_equal(scaled.stats.steps, plain.stats.steps)
        assert_equal(scaled.value, scale * plain.value)
    for scale in (1e-6, 1e6):
        scaled = solve(np.asarray(scale, dtype))
        assert np.max(np.abs(scaled.stats.steps - plain.stats.steps)) <= 1
        np.testing.assert_allclose(scaled.value, scale * plain.value, rtol=30 * RTOL[dtype])


# It fails honestly.


def test_too_few_steps_end_as_max_steps(solver):
    problem = cast(rotation(0.99), "float32")
    solution = run(problem, solver, max_steps=3)
    assert solution.stats.status.tolist() == [Status.MAX_STEPS] * 3
    assert solution.stats.steps.tolist() == [3] * 3
    residual, rounding = expected_residual(problem, solution.value)
    np.testing.assert_allclose(solution.stats.residual, residual, atol=np.max(rounding))


def test_one_step_judges_the_start(solver):
    problem = cast(linear(), "float32")
    solution = run(problem, solver, max_steps=1)
    assert_equal(solution.value, problem.z0)
    np.testing.assert_allclose(
        solution.stats.residual, np.linalg.norm(problem.args[1], axis=1), rtol=1e-6
    )
    assert solution.stats.status.tolist() == [Status.MAX_STEPS] * 3


def test_two_steps_are_better_than_one(solver):
    problem = cast(linear(), "float32")
    one, two = (run(problem, solver, max_steps=steps) for steps in (1, 2))
    assert np.all(two.stats.residual < one.stats.residual)
    assert two.stats.steps.tolist() == [2] * 3


def test_the_rounding_floor_is_named_long_before_max_steps(solver):
    problem = cast(wide(width=64), "float32")
    with pytest.warns(UserWarning, match="rtol=1e-12 is below the rounding 1.2e-07"):
        solution = run(problem, solver, rtol=1e-12, max_steps=10_000)
    status = np.asarray(solution.stats.status)
    assert {*status.tolist()} <= {Status.FLOOR, Status.CONVERGED}
    assert np.any(status == Status.FLOOR)
    assert solver in NEWTON or np.max(solution.stats.steps) < 200
    assert np.all(solution.stats.relative_residual < 1e-6)
    relative = np.asarray(solution.stats.relative_residual)
    assert np.all(relative[status == Status.CONVERGED] <= 1e-12)


def expanding():
    """z -> 3Qz + b with Q orthogonal: no short history of residuals spans the space."""
    q = np.linalg.qr(numbers(32, 32))[0]
    return affine(3 * q, numbers(3, 32))


def test_an_expanding_map_fails_and_still_returns_the_best_iterate(solver):
    problem = cast(expanding(), "float32")
    solution = run(problem, solver)
    if solver in NEWTON:  # which need no contraction
        solution.check()
        return
    assert {*solution.stats.status.tolist()} <= {Status.STAGNATED, Status.DIVERGED}
    residual, rounding = expected_residual(problem, solution.value)
    assert np.all(np.abs(solution.stats.residual - residual) <= rounding + 1e-6)
    start, _ = expected_residual(problem, problem.z0)
    assert np.all(solution.stats.residual <= start)


def test_a_map_without_fixed_point_ends_as_stagnated_without_nan(solver):
    # All residuals are equal: Anderson's Gram matrix has rank one.
    problem = Problem(lambda z, _: z + 1, np.zeros((2, 3), np.float32), None)
    solution = run(problem, solver, rtol=1e-3)
    assert solution.stats.status.tolist() == [Status.STAGNATED] * 2
    assert np.all(np.isfinite(solution.value))
    assert np.max(np.abs(solution.stats.residual - math.sqrt(3))) < 1e-3


def test_a_map_that_is_nan_at_the_start_gives_nan(solver):
    problem = Problem(lambda z, x: 0.5 * z + x, np.zeros((1, 2), np.float32), np.float32("nan"))
    solution = run(problem, solver)
    assert solution.stats.status.tolist() == [Status.NONFINITE]
    assert solution.stats.steps.tolist() == [1]
    assert np.all(np.isnan(solution.value))
    assert np.all(np.isnan(solution.stats.residual))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_map_that_fails_later_gives_the_best_iterate(solver, bad):
    fn = lambda z, bad: jnp.where(z < 3.5, z + 1, bad)  # noqa: E731
    solution = run(Problem(fn, np.zeros((1, 1), np.float32), np.float32(bad)), solver)
    assert solution.stats.status.tolist() == [Status.NONFINITE]
    assert 0 <= solution.value[0, 0] < 3.5
    assert solution.stats.residual[0] == pytest.approx(1, abs=1e-5)


def test_more_steps_never_make_the_answer_worse(solver):
    # Gains from a contraction to an expansion, in one batch.
    gains = np.array([0.5, 0.99, 1.0, 1.5, 4.0])[:, None]
    q = np.linalg.qr(numbers(32, 32))[0]
    fn = lambda z, args: jnp.tanh(z @ args[0].T) * args[1] + args[2]  # noqa: E731
    problem = cast(Problem(fn, np.zeros((5, 32)), (q, gains, numbers(5, 32))), "float32")
    previous = np.inf
    for steps in (1, 4, 60):
        stats = run(problem, solver, max_steps=steps).stats
        assert np.all(stats.residual <= previous)
        assert np.all(stats.steps <= steps)
        previous = stats.residual


# It treats every example by itself.


def test_batch_mates_change_nothing(solver):
    problem = cast(wide(norm=0.95), "float32")
    weight, x = problem.args
    solve = jax.jit(
        lambda x: deqzoo.fixed_point(problem.fn, problem.z0, (weight, x), solver=solver)
    )
    alone = solve(x)
    for mates in (0 * x, 1e4 * numbers(*x.shape, seed=5), np.full_like(x, np.nan)):
        changed = solve(np.concatenate([x[:2], mates[2:]]).astype(np.float32))
        for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(changed), strict=True):
            np.testing.assert_array_equal(a[:2], b[:2])
    assert changed.stats.status[2:].tolist() == [Status.NONFINITE] * 2


def test_an_example_finishes_at_its_own_pace(solver):
    rates = np.array([[0.0], [0.5], [0.9]], np.float32)
    fn = lambda z, r: r * jnp.sin(z) + 1  # noqa: E731
    solution = run(Problem(fn, np.zeros((3, 1), np.float32), rates), solver)
    steps = solution.check().stats.steps.tolist()
    if solver in (*NEWTON, "reversible"):  # whose pace is not that of the map
        assert len(set(steps)) > 1
        return
    assert steps == sorted(steps)
    assert steps[0] == 2
    assert steps[1] < steps[2]


# Settings.


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rtol=-1e-3", "rtol must be >= 0, got -0.001"),
        ("atol=-1.0", "atol must be >= 0, got -1.0"),
        ("max_steps=0", "max_steps must be a whole number >= 1, got 0"),
        ("max_steps=2.5", "max_steps must be a whole number >= 1, got 2.5"),
        ("max_iterations=5", "max_iterations.*it takes .*max_steps"),
    ],
)
def test_impossible_settings_are_refused(solver, setting, message):
    with pytest.raises(CatalogError, match=message):
        catalog.solvers.get(f"{solver}({setting})")


def test_nan_tolerances_are_refused(solver):
    for setting in ("rtol", "atol"):
        with pytest.raises(ValueError, match=f"{setting} must be >= 0, got nan"):
            catalog.solvers.load(solver)(**{setting: math.nan})


def test_settings_are_values(solver):
    member = catalog.solvers.load(solver)
    assert issubclass(member, Solver)
    assert member() == member()
    assert hash(member(max_steps=7)) == hash(member(max_steps=7))
    assert member() != member(max_steps=7)


# Picard.


def test_picard_contracts_with_the_factor_of_the_map():
    problem = cast(rotation(0.9), "float32")
    steps = run(problem, "picard").check().stats.steps
    assert np.max(np.abs(steps - (1 + math.log(1e-5) / math.log(0.9)))) <= 2


def test_damping_makes_an_oscillating_map_converge():
    problem = Problem(lambda z, _: 3 - 2 * z, np.zeros((1, 1), np.float32), None)
    assert run(problem, "picard").stats.status[0] == Status.DIVERGED
    assert run(problem, "picard(damping=0.5)").check().value[0, 0] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("damping", [0, -0.5, 1.1])
def test_picard_refuses_an_impossible_damping(damping):
    with pytest.raises(CatalogError, match=r"damping must lie in \(0, 1\]"):
        catalog.solvers.get(f"picard(damping={damping})")


# Anderson.


@pytest.mark.parametrize("mixing", [1.0, 0.5])
def test_anderson_that_remembers_nothing_is_damped_picard(mixing):
    problem = cast(wide(), "float32")
    picard = run(problem, f"picard(damping={mixing}, predict=False)")
    anderson = run(problem, f"anderson(history=1, mixing={mixing})")
    assert_equal(anderson.stats.steps, picard.stats.steps)
    np.testing.assert_allclose(anderson.value, picard.value, atol=1e-6)


def test_anderson_with_enough_history_solves_affine_maps_in_as_many_steps_as_unknowns(x64):
    # Walker and Ni 2011: it is GMRES in disguise; n unknowns, one start, one check.
    for n in (1, 2, 4):
        problem = affine(matrix(n, 3.0), numbers(3, n))
        solution = run(problem, f"anderson(history={n + 1}, rtol=1e-8, restart=1e9)")
        assert np.max(solution.check().stats.steps) <= n + 2
        np.testing.assert_allclose(solution.value, problem.exact, rtol=1e-6)


def test_anderson_needs_fewer_steps_than_picard():
    q = np.linalg.qr(numbers(64, 64))[0]
    problem = cast(affine(q * np.linspace(0, 0.95, 64) @ q.T, numbers(3, 64)), "float32")
    picard, anderson = (run(problem, name).check().stats.steps for name in ("picard", "anderson"))
    assert np.all(anderson < picard / 3)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("history=0", "history must be a whole number >= 1, got 0"),
        ("history=1.5", "history must be a whole number >= 1, got 1.5"),
        ("mixing=0", r"mixing must lie in \(0, 1\], got 0"),
        ("mixing=2", "got 2"),
        ("ridge=0", "ridge must be positive, got 0"),
        ("restart=1", "restart must exceed 1, got 1"),
    ],
)
def test_anderson_refuses_impossible_settings(setting, message):
    with pytest.raises(CatalogError, match=message):
        catalog.solvers.get(f"anderson({setting})")
