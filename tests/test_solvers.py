"""Every solver: it solves, says truly how well, and treats every example by itself."""

import math
from dataclasses import dataclass, replace

import chex
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo import Split, Stats, Status, catalog
from deqzoo.catalog import CatalogError
from deqzoo.core import trees
from deqzoo.core.linear_solver import Answer, LinearSolver
from deqzoo.core.solver import Evaluation
from deqzoo.testing import check_solver, name_of, problems
from deqzoo.testing.problems import Problem, affine, matrix, numbers, rotation, wide

NEWTON = ("newton_krylov", "direct")  # which need no contraction
NAMES = catalog.solvers.names()
# What compiles for minutes: Newton's steps, and maps in two parts.
SLOW = {*NEWTON} | {name for name in NAMES if catalog.solvers.load(name).needs_split}
SUBLINEAR = {name for name in NAMES if catalog.solvers.load(name).is_sublinear}
QUICK = ("anderson", "picard")  # of the others the contract is for the slow tests
HARD = ("float32 tiny", "float32 huge", "float64 stiff")


def cases():
    for name in NAMES:
        for truth in check_solver.truths:
            slow = name not in QUICK or name_of(truth).endswith(HARD)
            slow |= name != "anderson" and "float64" in name_of(truth)
            marks = [pytest.mark.slow] * slow
            yield pytest.param(name, truth, id=f"{name}-{name_of(truth)}", marks=marks)


@pytest.mark.parametrize(("name", "truth"), [*cases()])
def test_every_solver_keeps_its_contract(name, truth):
    check_solver(name, only=truth)


def solve(problem, recipe, **settings):
    return problem.solve(replace(catalog.solvers.get(recipe), **settings))


def test_a_tolerance_below_the_rounding_is_warned_about():
    with pytest.warns(UserWarning, match="rtol=1e-12 is below the rounding 1.2e-07"):
        solve(wide().in_dtype("float32"), "picard", rtol=1e-12)


def test_settings_that_a_recipe_does_not_have_are_refused():
    with pytest.raises(CatalogError, match="max_iterations.*it takes .*max_steps"):
        catalog.solvers.get("picard(max_iterations=5)")


@pytest.mark.slow
@pytest.mark.parametrize("name", NEWTON)
def test_an_expanding_map_is_no_obstacle_for_newton(name):
    solve(problems.expanding().in_dtype("float32"), name).check()


@pytest.mark.parametrize("name", [n for n in NAMES if n not in {*SLOW, *SUBLINEAR, "reversible"}])
def test_the_steps_grow_with_the_rate_of_the_map(name):
    rates = np.array([[0.0], [0.5], [0.9]], np.float32)
    problem = Problem(lambda z, r: r * jnp.sin(z) + 1, np.zeros((3, 1), np.float32), rates)
    first, second, third = solve(problem, name).check().stats.steps.tolist()
    assert first == 2
    assert first < second < third


# Picard.


def test_picard_contracts_with_the_factor_of_the_map():
    problem = rotation(0.9).in_dtype("float32")
    steps = solve(problem, "picard").check().stats.steps
    assert np.max(np.abs(steps - (1 + math.log(1e-5) / math.log(0.9)))) <= 2


def test_damping_makes_an_oscillating_map_converge():
    problem = Problem(lambda z, _: 3 - 2 * z, np.zeros((1, 1), np.float32), None)
    assert solve(problem, "picard").stats.status[0] == Status.DIVERGED
    assert solve(problem, "picard(damping=0.5)").check().value[0, 0] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("damping", [0, -0.5, 1.1])
def test_picard_refuses_an_impossible_damping(damping):
    with pytest.raises(CatalogError, match=r"damping must be a number in \(0, 1\]"):
        catalog.solvers.get(f"picard(damping={damping})")


# Anderson.


@pytest.mark.parametrize("mixing", [1.0, 0.5])
def test_anderson_that_remembers_nothing_is_damped_picard(mixing):
    problem = wide().in_dtype("float32")
    picard = solve(problem, f"picard(damping={mixing}, predict=False)")
    anderson = solve(problem, f"anderson(history=1, mixing={mixing})")
    chex.assert_trees_all_equal(anderson.stats.steps, picard.stats.steps)
    np.testing.assert_allclose(anderson.value, picard.value, atol=1e-6)


def test_anderson_with_enough_history_solves_affine_maps_in_as_many_steps_as_unknowns(x64):
    # Walker and Ni 2011: it is GMRES in disguise; n unknowns, one start, one check.
    for n in (1, 2, 4):
        problem = affine(matrix(n, 3.0), numbers(3, n))
        solution = solve(problem, f"anderson(history={n + 1}, rtol=1e-8, restart=1e9)")
        assert np.max(solution.check().stats.steps) <= n + 2
        np.testing.assert_allclose(solution.value, problem.exact, rtol=1e-6)


def test_the_ridge_of_anderson_is_relative_to_the_mean_squared_residual_of_an_example(x64):
    rates, x = np.array([[0.2, 0.6], [-0.5, 0.9]]), np.array([[3.0, 1.0], [0.2, -7.0]])
    solution = deqzoo.fixed_point(
        lambda z, args: args[0] * z + args[1],
        jnp.zeros((2, 2)),
        (rates, x),
        solver="anderson(history=2, period=1, ridge=0.3, trajectory=(2,))",
    )
    points = np.stack([0 * x, x], axis=1)  # the second is the image of the first
    images = rates[:, None] * points + x[:, None]
    residuals = images - points
    gram = residuals @ residuals.swapaxes(1, 2)
    mean = np.trace(gram, axis1=1, axis2=2)[:, None, None] / 2
    alpha = np.linalg.solve(gram + 0.3 * mean * np.eye(2), np.ones((2, 2, 1)))
    expected = np.sum(alpha / alpha.sum(axis=1, keepdims=True) * images, axis=1)
    np.testing.assert_allclose(solution.trajectory[0], expected, rtol=1e-12)


def test_anderson_never_goes_back_to_the_best_point_twice_in_a_row():
    """After two good evaluations all are ten times worse, whatever it tries."""
    rule, of_all = catalog.solvers.get("anderson"), lambda number: jnp.full(1, number, jnp.float32)
    z, best, back = jnp.zeros((1, 5)), None, []
    memory = rule.init(lambda z: z, z)
    for step, norm in enumerate([1.0, 0.9, *[10.0] * 6]):
        residual = jnp.asarray(numbers(1, 5, seed=step), jnp.float32)
        residual = residual * float(norm / jnp.linalg.norm(residual))
        best = z + residual if step <= 1 else best
        sizes = map(of_all, (norm, 1e-5, min(norm, 0.9)))
        evaluation = Evaluation(lambda z: z, z, z + residual, residual, *sizes, jnp.int32(step))
        z, memory = rule.step(evaluation, memory)
        back.append(np.allclose(z, best, atol=1e-5))
    assert back[2:] == [True, False] * 3


def test_anderson_needs_fewer_steps_than_picard():
    q = np.linalg.qr(numbers(64, 64))[0]
    problem = affine(q * np.linspace(0, 0.95, 64) @ q.T, numbers(3, 64)).in_dtype("float32")
    picard, anderson = (solve(problem, name).check().stats.steps for name in ("picard", "anderson"))
    assert np.all(anderson < picard / 3)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("history=0", "history must be a whole number >= 1, got 0"),
        ("history=1.5", "history must be a whole number >= 1, got 1.5"),
        ("mixing=0", r"mixing must be a number in \(0, 1\], got 0"),
        ("mixing=2", "got 2"),
        ("ridge=0", "ridge must be a finite number > 0 or None, got 0"),
        ("restart=1", "restart must be a finite number > 1, got 1"),
    ],
)
def test_anderson_refuses_impossible_settings(setting, message):
    with pytest.raises(CatalogError, match=message):
        catalog.solvers.get(f"anderson({setting})")


# Peaceman-Rachford.


@dataclass(frozen=True)
class Useless(LinearSolver):
    """-5b, and the truth about it."""

    def solve(self, product, rhs, guess, *, goal=None, limit=None):
        value, norm = trees.scale(jnp.full(len(rhs), -5.0), rhs), trees.norm(rhs)
        residual = trees.norm(product(value) + rhs - value)
        relative, steps = residual / jnp.where(norm > 0, norm, 1), jnp.ones_like(norm, jnp.int32)
        stats = Stats(steps, residual, relative, steps * Status.STAGNATED, steps * jnp.inf)
        return Answer(value, stats, relative < 0.1)


def test_a_resolvent_that_was_not_found_is_replaced_by_a_step():
    weight, b = matrix(6, 0.5).astype(np.float32), numbers(3, 6).astype(np.float32)
    fn = Split("relu", lambda z, args: z @ args[0].T + args[1])
    rule = catalog.solvers.load("peaceman_rachford")(step_size=0.5, linear=Useless())
    found = deqzoo.fixed_point(fn, jnp.zeros_like(b), (weight, b), solver=rule).check().value
    z = np.zeros_like(b)
    for _ in range(60):
        z = np.maximum(z @ weight.T + b, 0)
    np.testing.assert_allclose(found, z, atol=1e-4)
