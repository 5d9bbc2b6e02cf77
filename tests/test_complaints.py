"""What users of other DEQ libraries reported, and what happens here: see docs/complaints.md.

One test for each report, with its number there. Some are the subject of another file and are only
touched here.
"""

import functools
import re
import warnings
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import activations
import deqzoo
from deqzoo import Status, catalog
from deqzoo.core import jacobian, linear_solver
from deqzoo.nn import DEQ, WideCell

M, B = 8, 3
PAGE = Path(__file__).resolve().parent.parent / "docs" / "complaints.md"


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def matrix(norm, n=M, seed=1):
    weight = numbers(n, n, seed=seed)
    return norm * weight / np.linalg.norm(weight, 2)


def cell(z, args):
    return jnp.tanh(z @ args[0].T + args[1])


def affine(z, args):
    return z @ args[0].T + args[1]


ARGS = (matrix(0.8), numbers(B, M, seed=2))


def solve(fn=cell, args=ARGS, **settings):
    return deqzoo.fixed_point(fn, jnp.zeros_like(args[1]), args, **settings)


def gradient(args=ARGS, fn=cell, factor=1.0, **settings):
    loss = lambda args: factor * jnp.sum(solve(fn, args, **settings).value ** 2)  # noqa: E731
    return jax.jit(jax.grad(loss))(args)


def temporary_bytes(adjoint, solver):
    args = jnp.zeros((64, 64)), jnp.zeros((32, 64))
    loss = lambda args: jnp.sum(solve(args=args, solver=solver, adjoint=adjoint).value)  # noqa: E731
    return jax.jit(jax.grad(loss)).lower(args).compile().memory_analysis().temp_size_in_bytes


def assert_close(actual, expected, rtol=1e-4):
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.max(np.abs(b)))


# Divergence and NaN.


@pytest.mark.parametrize("solver", ["picard", "anderson", "broyden"])
def test_1_a_diverging_solve_returns_its_best_iterate_and_says_so(solver):
    grows = lambda z, args: 3 * z + jnp.exp(jnp.abs(z)) + args[1]  # noqa: E731
    solution = solve(grows, solver=solver)
    assert np.all(np.isfinite(solution.value))
    assert np.all(solution.stats.status != Status.CONVERGED)
    with pytest.raises(deqzoo.FixedPointError, match="of 3 examples ended"):
        solution.check()


def test_2_equal_residuals_do_not_make_anderson_singular():
    # z -> z + 1 leaves the same residual at every step: the Gram matrix has rank one.
    fn = lambda z, args: jnp.where(args[1] > 0, z + 1, 0.5 * z + 1)  # noqa: E731
    b = np.repeat([[1.0], [-1.0]], M, axis=1).astype(np.float32)
    solution = deqzoo.fixed_point(fn, jnp.zeros((2, M)), (None, b), solver="anderson")
    assert np.all(np.isfinite(solution.value))
    assert solution.stats.status.tolist()[1] == Status.CONVERGED
    np.testing.assert_allclose(solution.value[1], 2, rtol=1e-4)


def test_3_more_anderson_steps_are_never_worse():
    args = matrix(0.999, seed=3), ARGS[1]
    residuals = [
        solve(args=args, solver=f"anderson(max_steps={n}, rtol=2e-7)").stats.residual
        for n in (50, 100, 400)
    ]
    assert np.all(residuals[1] <= residuals[0])
    assert np.all(residuals[2] <= residuals[1])


@pytest.mark.parametrize("solver", ["broyden", "newton_krylov"])
def test_5_an_extrapolation_out_of_the_domain_is_taken_back(solver):
    # The first Picard and the first Newton step leave the domain of the root, where the map is NaN.
    fn = lambda z, _: z - (jnp.sqrt(z) - 0.05) * 3  # noqa: E731
    solution = deqzoo.fixed_point(fn, jnp.full((2, 1), 4.0), solver=solver)
    np.testing.assert_allclose(solution.check().value, 0.05**2, rtol=1e-3)


@pytest.mark.slow
def test_6_a_start_at_the_solution_and_a_zero_state_are_no_special_case():
    fn = lambda z, args: (args[1] * z) @ args[0]  # noqa: E731
    args = jnp.eye(M) * 0.5, jnp.ones((B, M))
    for solver in ("auto", "anderson", "broyden"):
        assert_close(gradient(args, fn, solver=solver), jax.tree.map(jnp.zeros_like, args))


def test_7_a_tiny_cotangent_keeps_its_gradient():
    plain, tiny = gradient(), gradient(factor=1e-25)
    assert_close(jax.tree.map(lambda leaf: leaf * 1e25, tiny), plain)


def test_8_a_stagnating_gmres_reports_its_true_residual():
    turn = np.roll(np.eye(6, dtype=np.float32), 1, axis=0)  # I - J cycles: restarts gain nothing
    product = lambda u: u - u @ turn  # noqa: E731
    rule = catalog.linear_solvers.get("gmres(history=2, max_steps=40)")
    b = jnp.eye(6)[:1]
    answer = linear_solver.solve(rule, product, b)
    assert answer.stats.status.tolist() == [Status.STAGNATED]
    residual = np.linalg.norm(b + product(answer.value) - answer.value)
    np.testing.assert_allclose(answer.stats.residual[0], residual, rtol=1e-5)
    assert not answer.sound[0]


def test_9_a_failed_backward_solve_never_gives_zeros():
    settings = {"solver": "picard", "adjoint": "implicit(solver='bicgstab(max_steps=2)')"}
    args = matrix(0.99, seed=3), 1e-3 * ARGS[1]
    for leaf in gradient(args, **settings):
        assert np.all(np.isnan(leaf))
    with pytest.raises(catalog.CatalogError, match="no linear solver or solver is called 'cg'"):
        catalog.adjoints.get("implicit(solver='cg')")


def test_11_the_penalty_is_that_of_the_dense_jacobian():
    z = solve().value
    dense = jax.vmap(jax.jacobian(lambda z, b: cell(z, (ARGS[0], b))))(z, ARGS[1])
    keys = jax.random.key(0)
    estimate = jacobian.squared_norm(lambda z: cell(z, ARGS), z, keys, samples=4000)
    np.testing.assert_allclose(estimate, np.sum(dense**2, axis=(1, 2)), rtol=0.05)
    radius = jacobian.spectral_radius(lambda z: cell(z, ARGS), z, keys, steps=200)
    largest = np.max(np.abs(np.linalg.eigvals(dense)), axis=1)
    np.testing.assert_allclose(radius, largest, rtol=1e-2)


@pytest.mark.parametrize(
    ("gain", "rtol", "advice"),
    [
        (0.9, 1e-9, "rounding floor"),
        (1.2, 1e-5, "does not contract"),
        (0.999, 1e-5, "raise max_steps"),
    ],
)
def test_12_a_solve_that_fails_says_why_and_what_to_do(gain, rtol, advice):
    n = 64  # few unknowns can come to rest without any rounding error
    turn = np.linalg.qr(numbers(n, n))[0] + np.eye(n)  # normal
    turn *= gain / np.linalg.norm(turn, 2)
    args = turn.astype(np.float32), numbers(B, n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a tolerance below the rounding
        solution = solve(affine, args, solver=f"picard(rtol={rtol})")
    with pytest.raises(deqzoo.FixedPointError, match=advice):
        solution.check()


def test_13_the_error_of_a_gradient_falls_with_the_residual_of_its_fixed_point():
    exact = gradient(solver="picard(rtol=1e-6, max_steps=1000)")[0]
    errors = [
        np.linalg.norm(gradient(solver=f"picard(rtol={rtol}, predict=False)")[0] - exact)
        for rtol in (0.2, 0.02, 0.002)
    ]
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 0


# Memory.


@pytest.mark.quick("phantom")
@pytest.mark.parametrize("adjoint", ["implicit", "phantom", "reversible"])
def test_15_memory_is_flat_in_the_number_of_steps(adjoint):
    few, many = (temporary_bytes(adjoint, f"picard(max_steps={n})") for n in (10, 1000))
    assert few == many


def test_16_nothing_is_copied_to_be_solved():
    deq = DEQ(WideCell(M, activations.get("tanh"), rngs=nnx.Rngs(0)))
    count = lambda: sum(leaf.size for leaf in jax.tree.leaves(nnx.state(deq)))  # noqa: E731
    before = count()
    deq(jnp.ones((B, M)))
    assert count() == before == M * M


@pytest.mark.quick("auto")
@pytest.mark.parametrize("solver", ["auto", "broyden"])
def test_17_no_jacobian_is_ever_formed(solver):
    size = 200_000  # a dense Jacobian would take 160 GB
    fn = lambda z, x: 0.5 * jnp.sin(z) + x  # noqa: E731
    root = lambda x: jnp.sum(deqzoo.fixed_point(fn, x, x, solver=solver).value)  # noqa: E731
    compiled = jax.jit(jax.grad(root)).lower(jnp.ones((1, size))).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 100 * 4 * size


@pytest.mark.slow
def test_18_memory_of_the_adjoint_does_not_depend_on_the_solver_of_the_fixed_point():
    def backward(solver):
        args = jnp.zeros((64, 64)), jnp.zeros((32, 64))
        value, pull = jax.vjp(lambda args: solve(args=args, solver=solver).value, args)
        return sum(leaf.nbytes for leaf in jax.tree.leaves(pull))

    assert backward("picard") == backward("anderson(history=20)") == backward("broyden")


# Gradients and transformations.


def test_20_derivatives_do_not_depend_on_train_or_eval_mode():
    deq = DEQ(WideCell(M, activations.get("tanh"), rngs=nnx.Rngs(0)))
    energy = lambda deq, x: jnp.sum(deq(x).value ** 2)  # noqa: E731
    forces = []
    for mode in (deq.train, deq.eval):
        mode()
        forces.append(jax.grad(lambda x: energy(deq, x))(jnp.asarray(ARGS[1])))
    assert np.any(forces[0] != 0)
    np.testing.assert_array_equal(*forces)


@pytest.mark.quick("implicit", "neumann")
@pytest.mark.parametrize("adjoint", ["implicit", "phantom", "neumann", "unrolled", "reversible"])
def test_21_inputs_parameters_and_captured_arrays_have_a_gradient(adjoint):
    def loss(weight, b, shift):
        fn = lambda z, args: jnp.tanh(z @ args[0].T + args[1] + shift)  # noqa: E731
        return jnp.sum(solve(fn, (weight, b), adjoint=adjoint).value)

    for leaf in jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(*ARGS, jnp.ones((1, 1))):
        assert np.any(leaf != 0)
        assert np.all(np.isfinite(leaf))


def test_22_a_penalty_on_the_jacobian_has_a_gradient_and_unknown_settings_are_refused():
    penalty = catalog.regularizers.get("jacobian_norm(samples=2)")

    def loss(args):
        return penalty(lambda z: cell(z, args), solve(args=args), jax.random.key(0))

    slope = jax.jit(jax.grad(loss))(ARGS)[0]
    step = 1e-2 * slope / np.linalg.norm(slope)
    assert loss((ARGS[0] - step, ARGS[1])) < loss(ARGS)
    for recipe in ("anderson(m=5)", "picard(stop_mode='rel')"):
        with pytest.raises(catalog.CatalogError, match="unexpected keyword argument"):
            catalog.solvers.get(recipe)


@pytest.mark.slow
def test_23_forward_mode_and_hessians_work(x64):
    args = tuple(np.asarray(leaf, np.float64) for leaf in ARGS)
    loss = lambda b: jnp.sum(solve(args=(args[0], b)).value ** 2)  # noqa: E731
    hessian = jax.jit(jax.hessian(loss))(args[1])
    also = jax.jit(jax.jacrev(jax.grad(loss)))(args[1])
    assert_close(hessian, also, 1e-7)
    assert np.any(hessian != 0)


def test_25_a_map_may_close_over_traced_values():
    def loss(weight, b):
        fn = lambda z, _: jnp.tanh(z @ weight.T + b)  # noqa: E731
        return jnp.sum(deqzoo.fixed_point(fn, jnp.zeros_like(b)).value ** 2)

    assert_close(jax.jit(jax.grad(loss, argnums=(0, 1)))(*ARGS), gradient())


def test_27_vmap_is_the_batched_solve():
    one = lambda b: deqzoo.fixed_point(cell, jnp.zeros((1, M)), (ARGS[0], b[None]))  # noqa: E731
    mapped, batched = jax.jit(jax.vmap(one))(ARGS[1]), solve()
    assert_close(mapped.value[:, 0], batched.value, 1e-6)
    np.testing.assert_array_equal(mapped.stats.steps[:, 0], batched.stats.steps)


class Dropped(nnx.Module):
    """A cell with dropout."""

    def __init__(self, rngs):
        self.linear = nnx.Linear(M, M, kernel_init=nnx.initializers.normal(0.1), rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, z, x):
        return self.dropout(self.linear(z)) + x

    def start(self, x):
        return jnp.zeros_like(x)


def test_28_flax_modules_work_under_nnx_transformations():
    slope = nnx.jit(nnx.grad(lambda deq, x: jnp.sum(deq(x).value)))
    leaves = jax.tree.leaves(slope(DEQ(Dropped(nnx.Rngs(0))), jnp.ones((B, M))))
    assert any(np.any(leaf != 0) for leaf in leaves)
    deq, x = DEQ(WideCell(M, activations.get("tanh"), rngs=nnx.Rngs(0))), jnp.asarray(ARGS[1])
    mapped = nnx.jit(nnx.vmap(lambda deq, row: deq(row[None]).value[0], in_axes=(None, 0)))
    assert_close(mapped(deq, x), deq(x).value, 1e-6)


def test_29_30_32_one_dropout_mask_per_solve_and_another_for_the_next():
    deq = DEQ(Dropped(nnx.Rngs(0)))
    first, second = deq(jnp.ones((B, M))), deq(jnp.ones((B, M)))
    assert np.all(first.check().stats.relative_residual <= 1e-5)
    assert np.any(first.value != second.value)


def test_30_batch_statistics_inside_a_cell_are_refused_with_advice():
    class Normed(Dropped):
        def __init__(self, rngs):
            super().__init__(rngs)
            self.norm = nnx.BatchNorm(M, rngs=rngs)

        def __call__(self, z, x):
            return self.norm(super().__call__(z, x))

    with pytest.raises(ValueError, match="BatchStat.*LayerNorm or GroupNorm"):
        DEQ(Normed(nnx.Rngs(0)))(jnp.ones((B, M)))


@pytest.mark.slow
@pytest.mark.parametrize("linear", ["gmres", "bicgstab"])
def test_34_krylov_adjoints_work_under_nested_transformations(linear):
    def loss(scale, b):
        value = solve(args=(scale * ARGS[0], b[None]), adjoint=f"implicit(solver='{linear}')").value
        return jnp.sum(value**2)

    curvature = jax.grad(lambda scale: jax.grad(loss)(scale, ARGS[1][0]))
    expected = curvature(1.0)
    mapped = jax.jit(jax.vmap(jax.grad(jax.grad(loss)), in_axes=(None, 0)))(1.0, ARGS[1])
    np.testing.assert_allclose(mapped[0], expected, rtol=1e-3)


def test_35_36_equal_settings_share_one_trace():
    fn = chex.assert_max_traces(cell, n=1)
    run = jax.jit(
        lambda args, solver, adjoint: jax.grad(
            lambda args: jnp.sum(solve(fn, args, solver=solver, adjoint=adjoint).value)
        )(args),
        static_argnums=(1, 2),
    )
    make = lambda: (catalog.solvers.get("auto"), catalog.adjoints.get("implicit"))  # noqa: E731
    for _ in range(2):
        run(ARGS, *make())


# Shapes and dtypes.


def test_37_another_batch_size_works_and_a_changed_shape_is_named():
    deq = DEQ(WideCell(M, activations.get("tanh"), rngs=nnx.Rngs(0)))
    assert [deq(jnp.ones((n, M))).value.shape[0] for n in (1, 5)] == [1, 5]
    with pytest.raises(
        ValueError, match=r"returned float32\(3, 4\) for leaf \['u'\] of .*\(3, 8\)"
    ):
        deqzoo.fixed_point(lambda z, _: {"u": z["u"][:, :4]}, {"u": jnp.zeros((3, 8))})


@pytest.mark.quick("shape2")
@pytest.mark.parametrize("shape", [(B,), (B, 2), (B, 2, 3, 2, 2)])
def test_38_a_state_may_have_any_rank(shape):
    for solver in ("auto", "anderson", "broyden"):
        solution = deqzoo.fixed_point(lambda z, _: jnp.cos(z), jnp.zeros(shape), solver=solver)
        np.testing.assert_allclose(solution.check().value, 0.739085, rtol=1e-4)


def test_39_several_unknowns_are_found_together():
    fn = lambda z, x: {"u": 0.5 * jnp.sin(z["v"]) + x, "v": 0.5 * jnp.cos(z["u"])}  # noqa: E731
    z = deqzoo.fixed_point(fn, {"u": jnp.zeros(B), "v": jnp.zeros(B)}, jnp.ones(B)).check().value
    np.testing.assert_allclose(z["u"], 0.5 * np.sin(z["v"]) + 1, rtol=1e-5)
    np.testing.assert_allclose(z["v"], 0.5 * np.cos(z["u"]), rtol=1e-4)


@pytest.mark.parametrize("solver", ["auto", "broyden"])
def test_40_float32_data_works_where_float64_is_on(x64, solver):
    for leaf in gradient(solver=solver):
        assert leaf.dtype == jnp.float32
    assert solve(solver=solver).check().stats.residual.dtype == jnp.float32


def test_41_a_tolerance_below_the_rounding_warns_and_does_not_spin():
    args = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), ARGS)
    with pytest.warns(UserWarning, match="below the rounding 7.8e-03"):
        solution = solve(args=args, solver="picard(rtol=1e-4)")
    assert np.all(np.isin(solution.stats.status, [Status.FLOOR, Status.CONVERGED]))
    assert np.all(solution.stats.steps < 60)
    assert solution.stats.residual.dtype == jnp.float32


def test_42_low_precision_steps_are_finished_in_full_precision():
    solution = solve(solver="auto(precision='bfloat16')")
    assert_close(solution.check().value, solve(solver="picard(rtol=1e-6)").value, 1e-4)


# The interface.


def test_43_a_trajectory_is_given_by_steps_or_by_their_number():
    assert catalog.solvers.get("picard(max_steps=12, trajectory=3)").trajectory == (4, 8, 12)
    both = [solve(solver=f"picard(max_steps=12, trajectory={t})") for t in (3, (4, 8, 12))]
    for a, b in zip(*(solution.trajectory for solution in both), strict=True):
        np.testing.assert_array_equal(a, b)


def test_46_any_callable_will_do():
    class Model:
        def __init__(self, weight):
            self.weight = weight

        def __call__(self, z, b):
            return jnp.tanh(z @ self.weight.T + b)

        def method(self, z, b):
            return self(z, b)

    model = Model(ARGS[0])
    fns = (model, model.method, functools.partial(Model.__call__, model))
    for fn in fns:
        assert_close(deqzoo.fixed_point(fn, jnp.zeros((B, M)), ARGS[1]).value, solve().value, 1e-6)


def test_47_the_backward_solver_may_be_your_own():
    class Series(linear_solver.LinearSolver):
        def solve(self, product, rhs, guess, *, goal=None, limit=None):
            rule = catalog.solvers.get("picard(max_steps=300, rtol=1e-6)")
            return linear_solver.solve(rule, product, rhs)

    adjoint = catalog.adjoints.load("implicit")(Series())
    assert_close(gradient(adjoint=adjoint), gradient())


def test_48_the_residual_of_every_step_is_there_without_a_callback():
    run = lambda: solve(solver="anderson(trace=True)")  # noqa: E731
    assert "callback" not in str(jax.make_jaxpr(run)())
    solution = run()
    assert solution.trace.shape == (200, B)
    for example, steps in enumerate(solution.stats.steps):
        assert np.all(np.isfinite(solution.trace[:steps, example]))
        assert np.all(np.isnan(solution.trace[steps:, example]))


def test_49_a_map_may_return_more_than_the_state():
    def fn(z, args):
        inner = z @ args[0].T + args[1]
        return jnp.tanh(inner), {"inner": inner}

    def extra(args):
        return solve(fn, args, has_aux=True).aux["inner"]

    solution = solve(fn, has_aux=True)
    assert_close(solution.value, solve().value, 1e-6)
    assert_close(solution.aux["inner"], fn(solution.value, ARGS)[1]["inner"], 1e-6)
    slope = jax.grad(lambda args: jnp.sum(extra(args)))(ARGS)
    # inner = W z* + b, whose derivative goes through z* and directly.
    expected = jax.grad(lambda a: jnp.sum(solve(args=a).value @ a[0].T + a[1]))(ARGS)
    assert_close(slope, expected, 1e-5)


def test_52_every_example_has_a_linear_solve_of_its_own():
    rates = np.array([0.1, 0.9, 0.999], np.float32)[:, None]
    rule = catalog.linear_solvers.get("bicgstab(rtol=1e-6)")
    together = linear_solver.solve(rule, lambda u: rates * u, jnp.ones((3, 4)))
    for i, rate in enumerate(rates):
        alone = linear_solver.solve(rule, lambda u: rate[None] * u, jnp.ones((1, 4)))  # noqa: B023
        np.testing.assert_array_equal(together.value[i], alone.value[0])


# The page.


def test_the_page_names_these_tests_and_no_others():
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    own = {name for name in globals() if re.match(r"test_\d", name)}
    elsewhere = {
        name
        for path in Path(__file__).parent.glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert own <= named <= elsewhere
