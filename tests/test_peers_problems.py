"""The nonlinear systems that other suites test with: a root is a root, a failure says so."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import peers_problems
import pytest
from peers_problems import PROBLEMS, jacobian, residual

import deqzoo
from deqzoo import Status

SOLVERS = ("auto", "picard", "anderson", "broyden", "newton_krylov", "direct")
NEWTON = ("newton_krylov", "direct")
GENEROUS = "atol=1e-10, rtol=1e-10, max_steps=5000"

# g is bounded there, and the iterates run away until rtol ||f(z)|| exceeds it: CONVERGED is true to
# its definition and no root is near. Whoever refuses these takes them off the lists.
RUNAWAY = (
    ("trigonometric", "auto"),
    ("trigonometric", "anderson"),
    ("trigonometric", "broyden"),
)
FOOLED = ("broyden",)
# The Jacobian is singular at the root: the root is inexact where its residual is small, and it has
# no derivative.
SINGULAR = ("powell_singular", "sample_18", "sample_19")

PAIRS = tuple(itertools.product(PROBLEMS, NEWTON))
REGULAR = tuple(pair for pair in PAIRS if pair[0] not in SINGULAR)


def solve(name, recipe, z0, shift=0.0, adjoint="implicit"):
    """z with g(z) = shift, as the fixed point of z - g(z) + shift."""
    problem = PROBLEMS[name]
    fn = lambda z, shift: z - jax.vmap(problem.g)(z) + shift  # noqa: E731
    run = lambda z0, shift: deqzoo.fixed_point(fn, z0, shift, solver=recipe, adjoint=adjoint)  # noqa: E731
    return jax.jit(run)(jnp.asarray(z0), shift)


def from_the_usual_start(name, solver):
    return solve(name, f"{solver}({GENEROUS})", PROBLEMS[name].start[None])


def nearness(name, z):
    """How far a root may be from what has such a residual."""
    if name in SINGULAR:
        return 1e-2 * (1 + np.linalg.norm(z))
    inverse = np.linalg.inv(jacobian(PROBLEMS[name], z))
    left = np.linalg.norm(residual(PROBLEMS[name], z))
    return 2 * np.linalg.norm(inverse, 2) * left + 1e-8 * (1 + np.linalg.norm(z))


def distance(problem, z):
    return min((np.linalg.norm(z - root) for root in problem.roots), default=0)


# What the systems are.


@pytest.mark.parametrize("name", PROBLEMS)
def test_both_statements_of_a_system_agree(x64, name):
    problem = PROBLEMS[name]
    z = problem.start + np.random.default_rng(0).uniform(-1, 1, problem.start.shape)
    value, slope = jax.jit(lambda z: (problem.g(z), jax.jacfwd(problem.g)(z)))(z)
    scale = 1 + np.abs(slope).max()
    np.testing.assert_allclose(value, residual(problem, z), rtol=1e-12, atol=1e-13 * scale)
    np.testing.assert_allclose(slope, jacobian(problem, z), rtol=1e-11, atol=1e-13 * scale)


@pytest.mark.parametrize("name", [name for name in PROBLEMS if PROBLEMS[name].roots])
def test_the_roots_of_the_literature_are_roots_to_their_digits(name):
    for root in PROBLEMS[name].roots:
        slope = np.linalg.norm(jacobian(PROBLEMS[name], root), 2)
        assert np.linalg.norm(residual(PROBLEMS[name], root)) <= 1e-9 * (1 + slope)


# Never a false root.


def starts(name, dtype):
    """The usual one, and ten and a hundred times as far out."""
    return (PROBLEMS[name].start * np.array([[1.0], [10.0], [100.0]])).astype(dtype)


def rounding(problem, z, dtype):
    """What the terms of g, which may be larger than it, lose."""
    terms = np.abs(jacobian(problem, z)) @ np.abs(z)
    return 16 * np.finfo(dtype).eps * np.linalg.norm(np.abs(z) + terms + 1)


# Every solver on every problem, the precisions in turn.
IN_TURN = [
    (name, solver, ("float32", "float64")[(i + j) % 2])
    for i, name in enumerate(PROBLEMS)
    for j, solver in enumerate(SOLVERS)
]


@pytest.mark.quick("boggs-*-float64", "hammarling_2-anderson-*")
@pytest.mark.parametrize(("name", "solver", "dtype"), IN_TURN)
def test_what_is_called_converged_has_a_small_residual(name, solver, dtype):
    problem, tolerance = PROBLEMS[name], 1e-10 if dtype == "float64" else 1e-5
    with jax.enable_x64(dtype == "float64"):
        recipe = f"{solver}(atol={tolerance}, rtol={tolerance})"
        solution = jax.tree.map(np.asarray, solve(name, recipe, starts(name, dtype)))
    stats = solution.stats
    finite = np.all(np.isfinite(solution.value), axis=1)
    assert np.all(finite | (stats.status == Status.NONFINITE))
    for i in np.flatnonzero(finite):
        z = solution.value[i].astype(np.float64)
        left, slack = np.linalg.norm(residual(problem, z)), rounding(problem, z, dtype)
        np.testing.assert_allclose(stats.residual[i], left, rtol=1e-5, atol=slack)
        if stats.status[i] == Status.CONVERGED:
            size = np.linalg.norm(z - residual(problem, z))
            assert left <= tolerance * (1 + size) * (1 + 1e-6) + slack
            first = np.linalg.norm(residual(problem, starts(name, dtype)[i].astype(np.float64)))
            assert left <= first + slack or (name, solver) in RUNAWAY


@pytest.mark.parametrize("solver", [solver for solver in SOLVERS if solver not in FOOLED])
def test_an_equation_without_a_root_is_never_solved(solver):
    fn = lambda z, _: z + 2 + jnp.cos(z)  # noqa: E731
    z0 = jnp.linspace(-5, 5, 21)[:, None]
    status = deqzoo.fixed_point(fn, z0, solver=solver).stats.status
    assert np.all(np.asarray(status) != Status.CONVERGED)


# What Newton's method solves.


@pytest.mark.quick("boggs-*", "freudenstein_roth-direct", "hammarling_2-direct")
@pytest.mark.parametrize(("name", "solver"), PAIRS)
def test_newton_finds_a_root_from_the_usual_start(x64, name, solver):
    problem = PROBLEMS[name]
    z = np.asarray(from_the_usual_start(name, solver).check().value[0])
    assert np.linalg.norm(residual(problem, z)) <= 2e-10 * (1 + np.linalg.norm(z))
    z = np.sort(z) if name.startswith("chebyquad") else z  # whose equations name no entry
    assert distance(problem, z) <= nearness(name, z)


@pytest.mark.slow
def test_the_boundary_value_problem_and_its_integral_equation_have_one_root(x64):
    # The kernel of the one is the inverse of the second difference of the other.
    ours, theirs = (
        from_the_usual_start(name, "direct").check().value
        for name in ("boundary_value", "integral_equation")
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-8)


def test_the_mean_of_the_h_function_is_what_chandrasekhar_says(x64):
    # Summed over all its rows the equation is a quadratic one for the mean.
    mean = np.mean(from_the_usual_start("chandrasekhar", "direct").check().value)
    albedo = peers_problems.ALBEDO
    assert mean == pytest.approx(2 / albedo * (1 - np.sqrt(1 - albedo)), rel=1e-9)


# Derivatives.


def slope_of_the_root(name, solver, linear):
    """dz/dp of g(z) = p at p = 0, and the inverse of dg/dz there."""
    problem = PROBLEMS[name]

    def root(shift):
        recipe, adjoint = f"{solver}({GENEROUS})", f"implicit(solver='{linear}')"
        z = solve(name, recipe, problem.start[None], shift[None], adjoint).value[0]
        return z, z

    slope, z = jax.jit(jax.jacrev(root, has_aux=True))(jnp.zeros_like(problem.start))
    return np.asarray(slope), np.linalg.inv(jacobian(problem, np.asarray(z)))


@pytest.mark.quick("boggs-direct")
@pytest.mark.parametrize(("name", "solver"), REGULAR)
def test_the_derivative_of_a_root_is_the_inverse_of_the_jacobian(x64, name, solver):
    linear = {"newton_krylov": "gmres", "direct": "lu"}[solver]
    slope, inverse = slope_of_the_root(name, solver, linear)
    np.testing.assert_allclose(slope, inverse, rtol=1e-6, atol=1e-6 * np.abs(inverse).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, solver in REGULAR if solver == "newton_krylov"])
def test_the_derivative_by_default_is_that_or_nan(x64, name):
    # BiCGStab breaks down where I - J turns a cotangent by a right angle.
    slope, inverse = slope_of_the_root(name, "newton_krylov", "auto")
    known = np.isfinite(slope)
    np.testing.assert_allclose(
        slope[known], inverse[known], rtol=1e-6, atol=1e-6 * np.abs(inverse).max()
    )
