"""The one loop: forecasts, replay, stages, traces, guesses, low precision."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo import Status, catalog
from deqzoo.core import loop, precision, trees
from deqzoo.core.map.program import Program
from deqzoo.core.solver import Solver
from deqzoo.core.stage import Stage, advance, begin


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def matrix(n, norm, seed=1):
    weight = numbers(n, n, seed=seed)
    return norm * weight / np.linalg.norm(weight, 2)


def cell(z, args):
    return jax.nn.relu(z @ args[0].T + args[1])


def solve(norm=0.8, width=256, batch=16, solver="picard", fn=cell, **settings):
    args = matrix(width, norm), numbers(batch, width)
    run = jax.jit(
        lambda args: deqzoo.fixed_point(
            fn, jnp.zeros_like(args[1]), args, solver=solver, **settings
        )
    )
    return run(args), args


def residual_of(value, args, fn=cell):
    value = np.asarray(value, np.float64)
    image = np.asarray(fn(jnp.asarray(value, jnp.float32), args), np.float64)
    return np.linalg.norm(image - value, axis=1) / np.linalg.norm(image, axis=1)


# Forecasts.


def test_a_forecast_saves_the_last_evaluation_and_is_measured_when_looked_at():
    told, args = solve(solver="picard")
    checked, _ = solve(solver="picard(predict=False)")
    assert np.all(told.check().stats.steps <= checked.check().stats.steps)
    assert np.mean(told.stats.steps < checked.stats.steps) > 0.5
    np.testing.assert_allclose(
        told.stats.relative_residual, residual_of(told.value, args), rtol=0.02, atol=1e-7
    )
    # Where the forecast came true, both return the same iterate.
    same = told.stats.steps + 1 == checked.stats.steps
    np.testing.assert_array_equal(told.value[same], checked.value[same])


def test_the_measurement_of_a_forecast_costs_nothing_if_nobody_looks():
    args = matrix(64, 0.8), numbers(4, 64)

    def products(what):
        def run(args):
            z0 = jnp.zeros_like(args[1])
            return what(deqzoo.fixed_point(cell, z0, args, solver="picard"))

        return jax.jit(run).lower(args).compile().as_text().count(" dot(")

    value, both = products(lambda s: s.value), products(lambda s: (s.value, s.stats.residual))
    assert both == value + 1


def test_a_forecast_that_misses_is_told():
    # Contracts by 1/4, four times, then swings by -0.9: no forecast can see it coming.
    def fn(z, _):
        distance = jnp.abs(1 - z)
        return 1 - jnp.where(distance > 4.1e-3, 0.25, -0.9) * (1 - z)

    z0 = jnp.zeros((1, 4096), jnp.float32)
    told = deqzoo.fixed_point(fn, z0, solver="picard(rtol=4e-3)")
    assert told.stats.status.tolist() == [Status.MISSED]
    assert told.stats.relative_residual[0] > 4e-3
    with pytest.raises(deqzoo.FixedPointError, match="MISSED.*predict=False"):
        told.check()
    sure = deqzoo.fixed_point(fn, z0, solver="picard(rtol=4e-3, predict=False)")
    assert sure.check().stats.relative_residual[0] <= 4e-3


# Best iterate.


def test_the_best_iterate_of_a_growing_iteration_is_found_by_replay():
    # f(z) - z = -6 (z - 1)^3 - 0.2 (z - 1) + ...: the residual falls, then grows.
    fn = lambda z, _: jnp.where(z < 2, z + 1 / (1 + z) ** 2, z * 1.5)  # noqa: E731
    z0 = jnp.array([[0.0], [0.5]], jnp.float32)
    solution = deqzoo.fixed_point(fn, z0, solver="picard(max_steps=30)")
    z, norms, iterates = z0, [], []
    for _ in range(30):
        iterates.append(np.asarray(z))
        norms.append(np.abs(np.asarray(fn(z, None) - z))[:, 0])
        z = fn(z, None)
    best = np.argmin(norms, axis=0)
    np.testing.assert_allclose(
        solution.value[:, 0], [iterates[b][i, 0] for i, b in enumerate(best)], rtol=1e-6
    )
    np.testing.assert_allclose(solution.stats.residual, np.min(norms, axis=0), rtol=1e-5)


def test_a_solve_that_ends_at_its_best_iterate_is_not_run_again():
    evaluations = []

    def fn(z, _):
        jax.debug.callback(evaluations.append, z[0, 0])
        return 0.5 * z + 1

    solution = deqzoo.fixed_point(fn, jnp.ones((1, 1)), solver="picard(predict=False)").check()
    jax.effects_barrier()
    assert len(evaluations) == solution.stats.steps[0]


# Stages.


def test_the_default_solver_takes_picard_where_it_is_fast_and_anderson_where_it_is_not():
    fast, _ = solve(0.3, solver="auto")
    picard, _ = solve(0.3, solver="picard")
    np.testing.assert_array_equal(fast.value, picard.value)
    rates = np.array([[0.2], [0.99]], np.float32)
    mixed = deqzoo.fixed_point(lambda z, r: r * z + 1, np.zeros((2, 3), np.float32), rates)
    np.testing.assert_allclose(mixed.check().value[:, 0], [1.25, 100], rtol=1e-3)
    assert mixed.stats.steps[1] < 20


def test_an_example_that_is_always_about_to_arrive_is_handed_over():
    # The small slow components come to light late: every step foretells a dozen more.
    rates = np.linspace(0, 0.95, 256, dtype=np.float32)[None]
    start = 1 + 0.01 * np.exp(-4 * rates) / (1 - rates)
    fn = lambda z, _: rates * z + (1 - rates)  # noqa: E731
    solution = deqzoo.fixed_point(fn, start)
    assert solution.stats.status[0] == Status.CONVERGED
    assert solution.stats.steps[0] <= 17
    patient = deqzoo.fixed_point(fn, start, solver="picard")
    assert patient.stats.steps[0] > 25


def test_the_nearer_the_start_the_sooner_a_slow_example_is_handed_over():
    rates = np.linspace(-0.9, 0.9, 256, dtype=np.float32)[None]
    run = jax.jit(lambda z0: deqzoo.fixed_point(lambda z, _: rates * z + (1 - rates), z0))
    noise = np.random.default_rng(0).standard_normal((1, 256)).astype(np.float32)
    steps = [int(run(1 + size * noise).stats.steps[0]) for size in (1, 1e-1, 1e-2, 1e-3)]
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] <= 0.6 * steps[0]


def test_a_slow_example_does_not_touch_a_fast_one():
    fn = lambda z, r: r * jnp.sin(z) + 1  # noqa: E731
    run = jax.jit(lambda r: deqzoo.fixed_point(fn, jnp.zeros((2, 8)), r))
    alone = run(np.array([[0.3], [0.3]], np.float32))
    beside = run(np.array([[0.3], [0.999]], np.float32))
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(beside), strict=True):
        np.testing.assert_array_equal(a[0], b[0])


# What may be looked at.


@pytest.mark.quick("auto")
@pytest.mark.parametrize("solver", ["picard", "anderson", "auto"])
def test_the_trace_is_the_residual_of_every_evaluation(solver):
    solution, _ = solve(0.9, solver=f"{solver}(trace=True, max_steps=40)")
    steps, trace = np.asarray(solution.stats.steps), np.asarray(solution.trace)
    assert trace.shape == (40, 16)
    for i in range(16):
        assert np.all(np.isfinite(trace[: steps[i], i]))
        assert np.all(np.isnan(trace[steps[i] :, i]))
    assert np.all(trace[0] == 1)  # from zero
    assert solve(0.9, solver=solver)[0].trace is None


def test_the_trajectory_holds_the_iterates_after_so_many_steps():
    solution, args = solve(0.9, solver="picard(trajectory=(0, 1, 3, 150))")
    z, iterates = jnp.zeros_like(args[1]), []
    for _ in range(4):
        iterates.append(z)
        z = cell(z, args)
    assert len(solution.trajectory) == 4
    for kept, expected in zip(solution.trajectory[:3], (0, 1, 3), strict=True):
        np.testing.assert_allclose(kept, iterates[expected], atol=1e-5)
    np.testing.assert_array_equal(solution.trajectory[3], solution.value)  # finished before


@pytest.mark.parametrize("solver", ["picard", "picard(predict=False)", "anderson", "growing"])
def test_the_iterate_after_all_steps_is_the_value(solver):
    """Also where it was foretold and never looked at, and where the best was not the last."""
    if solver == "growing":
        fn, solver = lambda z, _: jnp.where(z < 2, z + 1 / (1 + z) ** 2, z * 1.5), "picard"
    else:
        fn = lambda z, _: 0.9 * jnp.sin(z) + 1  # noqa: E731
    rule = replace(catalog.solvers.get(solver), max_steps=30)
    z0 = jnp.linspace(0, 0.1, 1024)[None]
    steps = int(deqzoo.fixed_point(fn, z0, solver=rule).stats.steps[0])
    solution = deqzoo.fixed_point(fn, z0, solver=replace(rule, trajectory=(steps,)))
    assert solution.stats.steps.tolist() == [steps]
    np.testing.assert_array_equal(solution.trajectory[0], solution.value)


def test_an_iterate_of_the_trajectory_has_the_derivative_of_one_step():
    args = matrix(32, 0.9), numbers(4, 32)
    z0 = jnp.zeros_like(args[1])

    def first(args):
        return jnp.sum(
            deqzoo.fixed_point(cell, z0, args, solver="picard(trajectory=(2,))").trajectory[0] ** 2
        )

    z = cell(cell(z0, args), args)
    expected = jax.grad(lambda args: jnp.sum(2 * z * cell(z, args)))(args)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        jax.grad(first)(args),
        expected,
    )


def test_looking_at_every_third_step_only_changes_when_a_solve_ends():
    every, args = solve(0.9, solver="picard(predict=False)")
    third, _ = solve(0.9, solver="picard(predict=False, check_every=3)")
    assert np.all(third.check().stats.steps >= every.stats.steps)
    assert np.all(third.stats.steps <= every.stats.steps + 2)
    assert np.all(residual_of(third.value, args) <= 1.1e-5)


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_the_limit_holds_when_only_every_third_step_is_looked_at(limit):
    solution, _ = solve(0.95, solver=f"picard(check_every=3, rtol=1e-6, max_steps={limit})")
    assert solution.stats.steps.tolist() == [limit] * 16
    assert solution.stats.status.tolist() == [Status.MAX_STEPS] * 16


def test_the_rate_under_picard_estimates_the_spectral_radius():
    turn = 0.9 * np.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]], np.float32)
    solution = deqzoo.fixed_point(
        lambda z, b: z @ turn.T + b, jnp.zeros((1, 2)), jnp.ones((1, 2)), solver="picard"
    )
    assert solution.stats.rate[0] == pytest.approx(0.9, abs=1e-2)


# Guesses.


def test_a_good_guess_saves_steps_and_a_stale_one_costs_one_evaluation():
    cold, args = solve(0.9)
    good = cold.value + 1e-4 * numbers(16, 256, seed=3)
    warm, _ = solve(0.9, guess=good)
    assert np.all(warm.check().stats.steps < cold.stats.steps)
    for stale in (1e3 * numbers(16, 256, seed=4), jnp.full_like(good, jnp.nan)):
        late, _ = solve(0.9, guess=stale)
        assert np.all(late.check().stats.steps <= cold.stats.steps + 1)
        np.testing.assert_array_equal(late.value, cold.value)


def test_every_example_judges_its_own_guess():
    cold, _ = solve(0.9)
    half = cold.value.at[8:].set(jnp.nan)
    warm, _ = solve(0.9, guess=half)
    assert np.all(warm.stats.steps[:8] < cold.stats.steps[:8])
    np.testing.assert_array_equal(warm.value[8:], cold.value[8:])


def test_a_guess_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"guess is float32\(3, 2\) for z of float32\(2, 2\)"):
        deqzoo.fixed_point(lambda z, _: 0.5 * z, jnp.zeros((2, 2)), guess=jnp.zeros((3, 2)))


# Low precision.


@pytest.mark.quick("picard")
@pytest.mark.parametrize("solver", ["picard", "auto", "anderson"])
def test_a_solve_that_began_in_bfloat16_is_finished_and_proved_in_float32(solver):
    plain, args = solve(0.9, solver=solver)
    mixed, _ = solve(0.9, solver=f"{solver}(precision='bfloat16')")
    assert mixed.value.dtype == jnp.float32
    assert np.all(mixed.check().stats.relative_residual <= 1e-5)
    np.testing.assert_allclose(
        mixed.stats.relative_residual, residual_of(mixed.value, args), rtol=0.05, atol=2e-7
    )
    scale = np.max(np.abs(plain.value))
    np.testing.assert_allclose(mixed.value, plain.value, atol=1e-4 * scale)


def test_most_products_of_a_mixed_solve_are_in_bfloat16():
    args = matrix(256, 0.9), numbers(16, 256)

    def run(args):
        solver = "picard(precision='bfloat16')"
        return deqzoo.fixed_point(cell, jnp.zeros_like(args[1]), args, solver=solver).value

    assert "bf16" in str(jax.make_jaxpr(run)(args))
    plain = solve(0.9)[0].stats.steps
    mixed = solve(0.9, solver="picard(precision='bfloat16')")[0].stats.steps
    assert np.max(mixed) <= np.max(plain) + 4


def test_the_backward_solve_has_the_precision_of_the_forward_one_unless_it_has_its_own():
    args = matrix(256, 0.9), numbers(16, 256)

    def roundings(adjoint, precision):
        """How often the program of a gradient speaks of bfloat16."""
        solver = f"auto(precision={precision!r})"

        def root(b):
            settings = {"solver": solver, "adjoint": adjoint}
            return deqzoo.fixed_point(cell, jnp.zeros_like(b), (args[0], b), **settings).value

        return str(jax.make_jaxpr(lambda b: jax.vjp(root, b)[1](b))(args[1])).count("bf16")

    own = "implicit(solver='auto(rtol=1e-5)')"
    assert roundings("implicit", None) == 0
    assert roundings("implicit", "bfloat16") > 2 * roundings(own, "bfloat16") > 0


def test_float64_is_approached_in_float32(x64):
    weight, b = matrix(64, 0.9).astype(np.float64), numbers(4, 64).astype(np.float64)
    run = jax.jit(
        lambda b: deqzoo.fixed_point(
            cell, jnp.zeros_like(b), (weight, b), solver="picard(precision='float32')"
        )
    )
    solution = run(b)
    assert np.all(solution.check().stats.relative_residual <= 1e-10)
    z = np.asarray(solution.value)
    assert np.linalg.norm(np.maximum(z @ weight.T + b, 0) - z) <= 2e-10 * np.linalg.norm(z)


def test_sums_of_low_precision_products_are_kept_in_float32():
    """257 times 2⁻⁸ needs nine bits, of which bfloat16 has eight."""
    z, weight = jnp.full((2, 257), 2.0**-8), jnp.ones((257, 257))
    program = Program.trace(lambda z: z @ weight, z)
    found = precision._evaluate_low(program, z, None, jnp.bfloat16)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, 257 / 256)


def test_an_example_that_low_precision_cannot_solve_is_left_to_the_solver():
    rates = np.array([0.3, 0.999, -1.5], np.float32)[:, None]
    fn = lambda z, r: r * (z @ jnp.eye(4)) + 1  # noqa: E731
    solution = deqzoo.fixed_point(
        fn, jnp.zeros((3, 4)), rates, solver="anderson(precision='bfloat16')"
    )
    np.testing.assert_allclose(solution.check().value[:, 0], 1 / (1 - rates[:, 0]), rtol=2e-2)


@pytest.mark.slow
def test_the_gradient_of_a_mixed_solve_is_that_of_a_plain_one():
    args = matrix(64, 0.8), numbers(4, 64)
    loss = lambda args, solver: jnp.sum(  # noqa: E731
        deqzoo.fixed_point(cell, jnp.zeros_like(args[1]), args, solver=solver).value ** 2
    )
    plain = jax.grad(lambda args: loss(args, "auto(rtol=1e-6)"))(args)
    mixed = jax.grad(lambda args: loss(args, "auto(rtol=1e-6, precision='bfloat16')"))(args)
    for a, b in zip(plain, mixed, strict=True):
        assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(a)


# Settings.


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("check_every=0", r"check_every must be a whole number in \[1, 2\^31\)"),
        ("precision='float16'", "precision must be one of bfloat16, float32 or None"),
        ("trajectory=-1", "trajectory must be a tuple of which each is .* got -1"),
        ("trajectory=500", "or how many, got 500"),
        ("trajectory=(1, 500)", r"trajectory must be step numbers between 0 and max_steps=200"),
    ],
)
def test_impossible_settings_of_the_loop_are_refused(setting, message):
    with pytest.raises(catalog.CatalogError, match=message):
        catalog.solvers.get(f"picard({setting})")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_steps():
    args = matrix(64, 0.9), numbers(64, 64)

    def memory(name, steps):
        def loss(args):
            solver, z0 = f"{name}(max_steps={steps})", jnp.zeros_like(args[1])
            return jnp.sum(deqzoo.fixed_point(cell, z0, args, solver=solver).value)

        gradient = jax.jit(jax.grad(loss))
        return gradient.lower(args).compile().memory_analysis().temp_size_in_bytes

    for name in ("picard", "anderson", "auto"):
        assert memory(name, 10) == memory(name, 1000)


def test_a_rule_is_all_that_a_solver_needs():
    class Halfway(Solver):
        def init(self, fn, z0):
            return None

        def step(self, evaluation, memory):
            return jax.tree.map(lambda z, r: z + 0.5 * r, evaluation.z, evaluation.residual), None

    solution = loop.solve(Halfway(), lambda z: {"u": jnp.cos(z["u"])}, {"u": jnp.zeros((2, 1))})
    np.testing.assert_allclose(solution.check().value["u"], 0.7390851, atol=1e-5)
    assert trees.batch_size(solution.value) == 2


@pytest.mark.parametrize("name", ["picard(predict=False)", "anderson", "broyden"])
def test_a_loop_of_ones_own_takes_the_steps_of_a_solve(name):
    rng = np.random.default_rng(0)
    weight = jnp.asarray(0.05 * rng.standard_normal((16, 16)), jnp.float32)
    fn, z0 = lambda z, w: jnp.tanh(z @ w + 1), jnp.zeros((3, 16))  # noqa: E731
    rule = catalog.solvers.get(name)
    wanted = jax.jit(lambda w: deqzoo.fixed_point(fn, z0, w, solver=rule))(weight)

    @jax.jit
    def within(weight, budget):
        stage = Stage(rule, lambda z: fn(z, weight), rtol=1e-5)
        goes_on = lambda progress: jnp.any(progress.status < 0) & (progress.step < budget)  # noqa: E731
        first = begin(stage, z0, stage.fn(z0))
        return jax.lax.while_loop(goes_on, lambda progress: advance(stage, progress), first)

    whole = within(weight, 100)
    np.testing.assert_array_equal(whole.status, wanted.stats.status)
    np.testing.assert_array_equal(whole.steps, wanted.stats.steps)
    np.testing.assert_allclose(whole.z, wanted.value, rtol=1e-6)
    some = within(weight, 3)
    assert np.all(some.steps == 3)
    assert np.all(some.status < 0)
    assert within._cache_size() == 1


@pytest.mark.parametrize("name", ["picard", "anderson", "broyden"])
def test_what_has_converged_at_its_start_stays_there(name):
    z0 = jnp.full((1, 4), 1 + 1e-6)
    stage = Stage(catalog.solvers.get(name), lambda z: 0.5 * z + 0.5, rtol=1e-5)
    progress = begin(stage, z0, stage.fn(z0))
    assert progress.status[0] == Status.CONVERGED
    np.testing.assert_array_equal(progress.z, z0)
