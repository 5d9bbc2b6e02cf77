"""Newton's method: what it solves that iterations of the map do not, and what it costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo import Status, catalog
from deqzoo.catalog import CatalogError
from deqzoo.core import trees
from deqzoo.core.map.program import Program
from deqzoo.core.solver import Evaluation

pytestmark = pytest.mark.slow  # compiles for minutes

SOLVERS = ("newton_krylov", "direct")
NO_LIMIT = "max_steps=10000"


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def solve(fn, z0, args, recipe, **settings):
    run = lambda z0, args: deqzoo.fixed_point(fn, z0, args, solver=recipe, **settings)  # noqa: E731
    return jax.jit(run)(jnp.asarray(z0), args)


def orthogonal(n):
    return np.linalg.qr(numbers(n, n))[0].astype(np.float32)


def affine(z, args):
    return z @ args[0].T + args[1]


def residual_of(fn, solution, args):
    return trees.norm(fn(solution.value, args) - solution.value)


@pytest.fixture(params=SOLVERS)
def solver(request):
    return request.param


# It solves what does not contract.


def test_an_expanding_affine_map_takes_one_newton_step(solver):
    solution = solve(lambda z, _: 3 - 2 * z, np.zeros((1, 1), np.float32), None, solver).check()
    np.testing.assert_allclose(solution.value, 1, rtol=1e-6)
    assert solution.stats.steps[0] <= 5


def test_expanding_orthogonal_maps_are_solved(solver):
    args = 3 * orthogonal(32), numbers(3, 32)
    solution = solve(affine, np.zeros((3, 32), np.float32), args, solver).check()
    exact = np.linalg.solve(np.eye(32) - args[0], args[1].T).T
    np.testing.assert_allclose(solution.value, exact, atol=1e-4 * np.max(np.abs(exact)))


@pytest.mark.parametrize("start", [-3.0, -1.0, 0.3, 2.0])
def test_a_steep_cosine_is_solved_from_anywhere(solver, start):
    # |f'| is up to 3 at its fixed points: Picard iteration is chaotic.
    fn = lambda z, _: 3 * jnp.cos(z)  # noqa: E731
    solution = solve(fn, np.full((1, 1), start, np.float32), None, solver).check()
    assert abs(3 * np.cos(solution.value[0, 0]) - solution.value[0, 0]) < 1e-4


def test_a_step_that_raises_the_residual_is_taken_back(solver):
    # Newton's method alone diverges for arctan from |z| > 1.39.
    fn = lambda z, _: z - jnp.arctan(z)  # noqa: E731
    z0 = np.array([[1.0], [1.6], [4.0]], np.float32)
    solution = solve(fn, z0, None, f"{solver}(atol=1e-5, {NO_LIMIT})").check()
    np.testing.assert_allclose(solution.value, 0, atol=1e-4)


def test_a_step_is_at_most_three_times_as_long_as_a_shortened_one_before_it(solver):
    """From 0 to 1 in one step, after steps of 2, 1/2 and 1/8 along a direction of length 2."""
    rule, z = catalog.solvers.get(solver), jnp.zeros((3, 1))
    fn = Program.trace(lambda z: 3 - 2 * z, z)
    still, known = jnp.zeros(3), fn(z)
    memory = rule.init(fn, z)._replace(
        direction=jnp.full((3, 1), 2.0), length=jnp.array([1, 1 / 4, 1 / 16])
    )
    evaluation = Evaluation(fn, z, known, known - z, still + 3, still, still + 3, jnp.array(1))
    z, memory = rule.step(evaluation, memory)
    np.testing.assert_allclose(memory.length, [1, 1, 3 / 8], rtol=1e-6)
    np.testing.assert_allclose(z[:, 0], [1, 1, 3 / 8], rtol=1e-6)


def test_a_large_tanh_network_is_solved(solver):
    weight = numbers(24, 24)
    args = 2 * weight / np.linalg.norm(weight, 2), numbers(4, 24)
    fn = lambda z, args: jnp.tanh(affine(z, args))  # noqa: E731
    recipe = f"{solver}({NO_LIMIT})"
    solution = solve(fn, np.zeros((4, 24), np.float32), args, recipe).check()
    np.testing.assert_allclose(solution.stats.residual, residual_of(fn, solution, args), atol=1e-5)


def test_it_converges_quadratically(x64):
    # With exact directions the digits double: 1e-12 within six evaluations from 0.
    fn = lambda z, _: jnp.cos(z)  # noqa: E731
    solution = solve(fn, np.zeros((1, 1)), None, "direct(rtol=1e-12)").check()
    products = 1 + 2
    assert solution.stats.steps[0] <= 1 + 5 * (1 + products)


# It fails honestly.


def test_a_failed_linear_solve_becomes_a_picard_step(solver):
    # f' = 1 on the left, where no Newton step exists; Picard steps lead to the right, to z = 2.5.
    fn = lambda z, _: jnp.where(z < 1, z + 0.3, 0.6 * z + 1)  # noqa: E731
    solution = solve(fn, np.array([[-1.0]], np.float32), None, solver).check()
    assert solution.value[0, 0] == pytest.approx(2.5, rel=1e-5)


def test_a_map_without_fixed_point_ends_without_nan(solver):
    z0 = np.zeros((2, 3), np.float32)
    solution = solve(lambda z, _: z + 1, z0, None, f"{solver}({NO_LIMIT}, rtol=1e-3)")
    assert solution.stats.status.tolist() == [Status.STAGNATED] * 2
    assert np.all(np.isfinite(solution.value))


# The budget.


@pytest.mark.parametrize("max_steps", [1, 2, 4, 7, 30])
def test_products_count_and_the_budget_is_kept(max_steps):
    args = 3 * orthogonal(16), numbers(3, 16)
    z0 = np.zeros((3, 16), np.float32)
    solution = solve(affine, z0, args, f"newton_krylov(max_steps={max_steps})")
    assert np.all(solution.stats.steps <= max_steps)
    np.testing.assert_allclose(
        solution.stats.residual, residual_of(affine, solution, args), atol=1e-4
    )


def test_an_affine_map_costs_its_jacobian_once():
    args = 2 * orthogonal(8), numbers(2, 8)
    z0 = np.zeros((2, 8), np.float32)
    direct = solve(affine, z0, args, "direct").check()
    # Start, eight columns, two residuals, end.
    assert direct.stats.steps.tolist() == [1 + 8 + 2 + 1] * 2
    krylov = solve(affine, z0, args, "newton_krylov").check()
    assert np.all(krylov.stats.steps <= 3 * 12)


# Derivatives.


@pytest.mark.parametrize("adjoint", ["implicit", "unrolled"])
def test_its_derivatives_are_those_of_the_fixed_point(x64, solver, adjoint):
    matrix, b = orthogonal(6).astype(float), numbers(2, 6).astype(float)
    fn = lambda z, args: jnp.sin(affine(z, args))  # noqa: E731

    @jax.jit
    def slope(scale):
        def loss(scale):
            args, recipe = (scale * matrix, b), f"{solver}(rtol=1e-12, max_steps=60)"
            z0 = jnp.zeros_like(b)
            return jnp.sum(
                deqzoo.fixed_point(fn, z0, args, solver=recipe, adjoint=adjoint).value ** 2
            )

        return jax.grad(loss)(scale)

    def total(scale):
        z = np.zeros_like(b)
        for _ in range(300):
            z = np.sin(scale * z @ matrix.T + b)
        return np.sum(z**2)

    expected = (total(0.7 + 1e-5) - total(0.7 - 1e-5)) / 2e-5
    assert slope(0.7) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("linear", ["gmres", "lu"])
def test_the_linear_solver_is_a_choice(linear):
    args = 2 * orthogonal(8), numbers(2, 8)
    z0 = np.zeros((2, 8), np.float32)
    solve(affine, z0, args, f"newton_krylov(linear='{linear}')").check()


def test_impossible_settings_are_refused():
    with pytest.raises(CatalogError, match="no linear solver is called 'gmress'"):
        catalog.solvers.get("newton_krylov(linear='gmress')")
    with pytest.raises(CatalogError, match="linear must be a LinearSolver or a string, got 3"):
        catalog.solvers.get("newton_krylov(linear=3)")
    with pytest.raises(CatalogError, match="limit must be a whole number >= 1, got 0"):
        catalog.solvers.get("direct(limit=0)")
    with pytest.raises(ValueError, match="dense Jacobians of 6000 x 6000"):
        deqzoo.fixed_point(lambda z, _: z / 2, jnp.ones((1, 6000)), solver="direct")
