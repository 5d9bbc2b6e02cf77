"""Derivatives of a fixed point: two derivations of one gradient agree, in every mode."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo import Status, catalog
from deqzoo.testing import check_adjoint, check_exact_adjoint, name_of
from deqzoo.testing.exact_adjoint import NEAR, has_the_exact_gradient
from deqzoo.testing.gradients import B, M, exact_gradient, keeps_examples_apart
from deqzoo.testing.problems import numbers

# Newton's steps compile slowly: their row of the table runs with the slow tests.
SLOW = ("direct", "newton_krylov")
KINDS = {n: catalog.solvers.load(n) for n in catalog.solvers.names()}
NAMES = [n for n, kind in KINDS.items() if not (kind.needs_split or kind.is_sublinear)]
SOLVERS = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NAMES]
ALONE = [pytest.param(n, marks=[pytest.mark.slow] * (n != "picard")) for n in NAMES]
# SHINE takes Broyden's method only; tests/test_shine.py is about it.
ADJOINTS = [name for name in catalog.adjoints.names() if name != "shine"]
# A solver and an adjoint do not know each other: pairs of two strangers are for the slow tests.
PAIRS = [
    pytest.param(
        solver,
        adjoint,
        marks=[pytest.mark.slow] * (solver in SLOW or solver != "picard" and adjoint != "implicit"),
    )
    for solver in NAMES
    for adjoint in ADJOINTS
]
# The limit of an adjoint that is exact only in it.
LIMIT = {
    "phantom": "phantom(steps=80)",
    "neumann": "neumann(steps=80)",
    "reversible": "reversible(steps=200)",
    "shine": "shine(refine=80)",
}
BACKWARD = sorted({*catalog.linear_solvers.names(), *NAMES} - {"auto", *SLOW})
EXACT = "picard(rtol=1e-14, max_steps=150)"  # 0.7^150 = 6e-24
PLAIN = "implicit(solver='picard')"  # exact, and compiles fastest


def cell(activation, norm=0.7):
    """The wide DEQ with L ‖W‖₂ = 0.7: (fn, W, b)."""
    act = catalog.activations.get(activation)
    weight = numbers(M, M, seed=1)
    weight *= norm / act.lipschitz / np.linalg.norm(weight, 2)
    return (lambda z, args: act(z @ args[0].T + args[1])), weight, numbers(B, M, seed=2)


def value_of(fn, args, solver=EXACT, adjoint=PLAIN):
    return deqzoo.fixed_point(
        fn, jnp.zeros_like(args[1]), args, solver=solver, adjoint=adjoint
    ).value


def loss_of(fn, args, **settings):
    """A scalar that weighs every number of the solution differently and is not linear in it."""
    value = value_of(fn, args, **settings)
    weights = jnp.asarray(numbers(*value.shape, seed=3), value.dtype)
    return jnp.sum(weights * value + value**2)


def gradient(fn, args, **settings):
    return jax.jit(jax.grad(lambda args: loss_of(fn, args, **settings)))(args)


def assert_close(actual, expected, rtol, scale=None):
    """Every leaf agrees relative to its largest entry."""
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        size = np.max(np.abs(b)) if scale is None else scale
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * size)


def assert_equal(actual, expected):
    assert_close(actual, expected, 0)


def float32(args):
    return jax.tree.map(lambda a: np.asarray(a, np.float32), args)


# The contract.


def cases():
    for name in catalog.adjoints.names():
        for truth in check_adjoint.truths:
            # Every transformation of every adjoint is for the slow tests.
            through = name_of(truth).startswith("gradients pass through")
            slow = name == "shine" or (name != "implicit" and through)
            marks = [pytest.mark.slow] * slow
            yield pytest.param(name, truth, id=f"{name}-{name_of(truth)}", marks=marks)


@pytest.mark.parametrize(("name", "truth"), [*cases()])
def test_every_adjoint_keeps_its_contract(name, truth):
    check_adjoint(name, only=truth)


@pytest.mark.slow
@pytest.mark.parametrize("name", catalog.adjoints.names())
def test_every_adjoint_is_exact_in_its_limit(name):
    check_exact_adjoint(LIMIT.get(name, name))


@pytest.mark.parametrize(("solver", "adjoint"), [p for p in PAIRS if p.values[0] != "picard"])
def test_batch_mates_change_no_gradient(solver, adjoint):
    rule = catalog.solvers.get(f"{solver}(max_steps=60)")
    keeps_examples_apart(rule, catalog.adjoints.get(adjoint))


# Reverse, unrolled and forward mode are one derivative.


@functools.partial(jax.jit, static_argnums=0)
def derivatives(names, index, args, direction):
    """Forward mode, implicit and unrolled gradient; one program for all activations."""
    activations = [catalog.activations.get(name).__call__ for name in names]
    fn = lambda z, args: jax.lax.switch(index, activations, z @ args[0].T + args[1])  # noqa: E731
    _, along = jax.linearize(lambda args: loss_of(fn, args), args)
    (implicit,) = jax.linear_transpose(along, args)(1.0)
    unrolled = jax.grad(lambda args: loss_of(fn, args, adjoint="unrolled"))(args)
    return along(direction), implicit, unrolled


@pytest.mark.parametrize("activation", catalog.activations.names())
def test_implicit_equals_unrolled_and_forward_equals_reverse(x64, activation):
    _, *args = cell(activation)
    direction = numbers(M, M, seed=4), numbers(B, M, seed=5)
    names = catalog.activations.names()
    forward, implicit, unrolled = derivatives(
        names, names.index(activation), tuple(args), direction
    )
    assert all(np.any(leaf != 0) for leaf in implicit)
    assert_close(implicit, unrolled, 1e-9)
    reverse = sum(np.sum(g * d) for g, d in zip(implicit, direction, strict=True))
    lengths = (
        np.linalg.norm(g) * np.linalg.norm(d) for g, d in zip(implicit, direction, strict=True)
    )
    assert abs(forward - reverse) <= 1e-10 * sum(lengths)


@pytest.mark.parametrize("activation", ["relu", "gelu", "erf"])
def test_implicit_equals_the_closed_form(x64, activation):
    # Lam = a r^T + W^T (D . Lam) and Gam = D . Lam give
    # grad_W = Gam Z^T, grad_U = Gam X^T, grad_a = Z r, grad_X = U^T Gam.
    fn, weight, _ = cell(activation)
    act = catalog.activations.get(activation)
    x, u, a, y = numbers(B, 4, seed=6), numbers(M, 4, seed=7), numbers(M, seed=8), numbers(B)

    @jax.jit
    def loss(weight, u, a, x):
        r = value_of(fn, (weight, x @ u.T)) @ a - y
        return jnp.sum(r**2) / 2

    actual = jax.grad(loss, argnums=(0, 1, 2, 3))(weight, u, a, x)

    z = np.zeros((M, B))
    for _ in range(300):
        z = act.in_float64(weight @ z + u @ x.T)
    slope, r = act.slope_in_float64(weight @ z + u @ x.T), z.T @ a - y
    lam = [np.linalg.solve(np.eye(M) - weight.T * slope[:, i], a * r[i]) for i in range(B)]
    gam = slope * np.stack(lam, axis=1)
    assert_close(actual, (gam @ z.T, gam @ x, z @ r, (u.T @ gam).T), 1e-10)
    bound = act.lipschitz * np.linalg.norm(a) * np.linalg.norm(r) / (1 - 0.7)
    assert np.linalg.norm(gam) <= bound


@pytest.mark.parametrize("backward", BACKWARD)
def test_every_solver_solves_the_backward_equation(x64, backward):
    fn, *args = cell("tanh")
    adjoint = catalog.adjoints.load("implicit")(f"{backward}(rtol=1e-12)")
    slope = gradient(fn, args, solver="picard(rtol=1e-12, max_steps=300)", adjoint=adjoint)
    assert_close(slope, exact_gradient(args), 1e-9)


# The precisions in turn.
IN_TURN = [
    pytest.param(*pair.values, [*NEAR][number % len(NEAR)], marks=pair.marks)
    for number, pair in enumerate(PAIRS)
]


@pytest.mark.slow
@pytest.mark.parametrize(("solver", "adjoint", "dtype"), IN_TURN)
def test_every_pair_has_the_gradient_of_the_fixed_point(x64, solver, adjoint, dtype):
    settings, rtol = NEAR[dtype]
    # The derivative of an iteration lags behind its value.
    wanted = max(rtol, 1e-7) if adjoint == "unrolled" else rtol
    rule = catalog.solvers.get(f"{solver}({settings})")
    derivative = catalog.adjoints.get(LIMIT.get(adjoint, adjoint))
    has_the_exact_gradient(rule, derivative, dtype, wanted)


def test_a_recipe_may_hold_a_recipe(x64):
    fn, *args = cell("tanh")
    nested = "implicit(solver='anderson(rtol=1e-12)')"
    assert_close(gradient(fn, args, adjoint=nested), exact_gradient(args), 1e-10)


def test_finding_and_differentiating_are_independent(x64):
    # A sloppy backward solve leaves the value alone; a sloppy forward solve only moves the point
    # of linearisation.
    fn, *args = cell("tanh")
    sloppy = "implicit(solver='picard(max_steps=1)')"
    assert_equal(value_of(fn, args, adjoint=sloppy), value_of(fn, args))
    assert_close(
        gradient(fn, args, solver="picard(rtol=1e-6)", adjoint=f"implicit(solver={EXACT!r})"),
        exact_gradient(args),
        1e-4,
    )


# Higher order.


def test_hessian_vector_products_agree_in_three_ways(x64):
    fn, weight, b = cell("gelu")
    v = numbers(B, M, seed=9)
    slope = jax.grad(lambda b: loss_of(fn, (weight, b)))
    forward_over_reverse = jax.jit(lambda b: jax.jvp(slope, (b,), (v,))[1])(b)
    reverse_over_reverse = jax.jit(jax.grad(lambda b: jnp.vdot(slope(b), v)))(b)
    assert_close(forward_over_reverse, reverse_over_reverse, 1e-9)
    slope, h = jax.jit(slope), 1e-5
    difference = (slope(b + h * v) - slope(b - h * v)) / (2 * h)
    assert_close(forward_over_reverse, difference, 1e-7)


def test_hessian_with_respect_to_the_weights_is_symmetric(x64):
    fn, weight, b = cell("tanh")
    v, w = numbers(M, M, seed=10), numbers(M, M, seed=11)
    slope = jax.grad(lambda weight: loss_of(fn, (weight, b)))
    product = jax.jit(lambda v: jax.jvp(slope, (weight,), (v,))[1])
    assert np.vdot(w, product(v)) == pytest.approx(np.vdot(v, product(w)), rel=1e-9)


# What is differentiated.


def test_the_start_has_no_influence_on_an_implicit_derivative():
    fn, *args = float32_cell()
    loss = lambda z0: jnp.sum(deqzoo.fixed_point(fn, z0, args).value ** 2)  # noqa: E731
    assert_equal(jax.grad(loss)(np.ones((B, M), np.float32)), np.zeros((B, M)))


def float32_cell(activation="tanh"):
    fn, *args = cell(activation)
    return fn, *float32(args)


def test_captured_integers_of_a_trace_are_allowed():
    table, indices = np.eye(4, dtype=np.float32), np.array([2, 0])

    @jax.jit
    def loss(table, indices):
        rows = lambda z, _: 0.5 * z + table[indices]  # noqa: E731
        return jnp.sum(deqzoo.fixed_point(rows, jnp.zeros((2, 4))).value)

    for _ in range(2):
        slope = jax.grad(loss)(table, indices)
    np.testing.assert_allclose(slope.sum(axis=1), [8, 0, 8, 0], rtol=1e-3)


def test_arguments_and_state_may_be_pytrees(x64):
    # u = a / 2 + v / 4 and v = u / 2 + b give u = (2 a + b) 2/7 and v = (a + 4 b) 2/7.
    def fn(z, x):
        return {"u": x["a"] / 2 + z["v"] / 4, "v": z["u"] / 2 + x["b"]}

    def loss(x):
        z0 = {"u": jnp.zeros((2, 3)), "v": jnp.zeros((2, 3))}
        z = deqzoo.fixed_point(fn, z0, x, solver=EXACT).value
        return jnp.sum(z["u"] + 3 * z["v"])

    slope = jax.grad(loss)({"a": np.ones((2, 3)), "b": np.ones((2, 3))})
    np.testing.assert_allclose(slope["a"], 10 / 7, rtol=1e-12)
    np.testing.assert_allclose(slope["b"], 26 / 7, rtol=1e-12)


def test_the_statistics_carry_no_derivative():
    fn, weight, b = float32_cell()

    def loss(b):
        solution = deqzoo.fixed_point(fn, jnp.zeros_like(b), (weight, b))
        return jnp.sum(solution.stats.residual) + jnp.sum(solution.stats.relative_residual)

    assert_equal(jax.grad(loss)(b), np.zeros_like(b))


# Transformations.


@pytest.mark.parametrize("solver", ALONE)
def test_every_adjoint_returns_the_same_value_bit_for_bit(solver):
    fn, *args = float32_cell()
    solutions = [
        jax.jit(
            lambda args, adjoint=adjoint: deqzoo.fixed_point(
                fn, jnp.zeros_like(args[1]), args, solver=f"{solver}(max_steps=40)", adjoint=adjoint
            )
        )(args)
        for adjoint in ADJOINTS
    ]
    for other in solutions[1:]:
        assert_equal(other.value, solutions[0].value)
        assert_equal(other.stats.steps, solutions[0].stats.steps)
        assert_close(other.stats, solutions[0].stats, 1e-5)  # compilers sum squares in any order


def temporary_bytes(adjoint, max_steps):
    fn, *args = float32_cell()
    solver = f"picard(max_steps={max_steps})"
    slope = jax.jit(jax.grad(lambda args: loss_of(fn, args, solver=solver, adjoint=adjoint)))
    return slope.lower(args).compile().memory_analysis().temp_size_in_bytes


def test_memory_of_the_implicit_gradient_does_not_grow_with_the_steps():
    assert temporary_bytes("implicit", 10) == temporary_bytes("implicit", 1000)
    state = 4 * M * B
    assert temporary_bytes("unrolled", 1000) - temporary_bytes("unrolled", 10) >= 990 * state


# Cotangents of any size.


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_size_of_a_cotangent_does_not_matter(solver):
    fn, *args = float32_cell()

    @jax.jit
    def slope(factor):
        settings = {"solver": f"{solver}(rtol=1e-6)"}
        return jax.grad(lambda args: factor * jnp.sum(value_of(fn, args, **settings)))(args)

    plain = slope(np.float32(1))
    for factor in (2.0**-100, 2.0**90):
        assert_equal([leaf / factor for leaf in slope(np.float32(factor))], plain)
    for factor in (1e-30, 1e30):
        assert_close([leaf / factor for leaf in slope(np.float32(factor))], plain, 1e-5)


def test_one_cotangent_does_not_set_the_accuracy_of_another(x64):
    fn, *args = cell("tanh")
    factors = np.array([1e-12, 1.0, 1e12])[:, None]
    slope = jax.jit(
        jax.grad(lambda b, f: jnp.sum(f * value_of(fn, (args[0], b), "picard(rtol=1e-9)")))
    )
    assert_close(slope(args[1], factors) / factors, slope(args[1], np.ones((B, 1))), 1e-8)


def test_the_absolute_tolerance_of_states_does_not_blunt_the_gradient(x64):
    # States of size 1e6 and atol = 10: relative accuracy 1e-5 forward, and no excuse backward.
    fn = lambda z, args: z @ args[0].T + args[1]  # noqa: E731
    _, weight, b = cell("identity")
    args = weight, 1e6 * b
    slope = jax.jit(
        jax.grad(lambda args: jnp.sum(value_of(fn, args, "picard(rtol=0.0, atol=10.0)")))
    )(args)
    expected = np.linalg.solve(np.eye(M) - weight.T, np.ones(M))
    np.testing.assert_allclose(slope[1], np.broadcast_to(expected, (B, M)), rtol=1e-8)


# Examples apart, and NaN.


@pytest.mark.parametrize(("policy", "left"), [("nan", np.nan), ("phantom", 1.0)])
def test_the_gradient_of_an_example_whose_backward_solve_fails_is_what_on_failure_says(
    policy, left
):
    """Four terms of Σ w^k are 1 / (1 - w) for w = 0.1, and far from it for w = 0.9."""
    rate = np.array([[0.1], [0.9]], np.float32)
    adjoint = f"implicit(solver='picard(max_steps=4)', on_failure='{policy}')"

    def total(x):
        fn = lambda z, args: args[0] * z + args[1]  # noqa: E731
        return jnp.sum(value_of(fn, (rate, x), "picard(max_steps=200)", adjoint))

    np.testing.assert_allclose(jax.grad(total)(jnp.ones((2, 1)))[:, 0], [1 / 0.9, left], rtol=1e-3)


@pytest.mark.parametrize(("adjoint", "expected"), [("implicit", 2.0), ("unrolled", np.nan)])
def test_only_unrolled_derivatives_see_an_overflow_on_the_way(adjoint, expected):
    # z -> w exp(5z) + x, w = 0.1, has the fixed point 0 for x = -0.1 and overflows for x = 2.
    fn = lambda z, args: args[0] * jnp.exp(5 * z) + args[1]  # noqa: E731
    x = np.array([[-0.1], [2.0]], np.float32)

    @jax.jit
    def both(w):
        solution = deqzoo.fixed_point(
            fn,
            jnp.full((2, 1), 0.05),
            (w, x),
            solver="picard(max_steps=60, atol=1e-6)",
            adjoint=adjoint,
        )
        good = solution.stats.status == Status.CONVERGED
        return jnp.sum(jnp.where(good[:, None], solution.value, 0)), solution.stats.status

    slope, status = jax.grad(both, has_aux=True)(np.float32(0.1))
    assert status.tolist() == [Status.CONVERGED, Status.NONFINITE]
    assert slope == pytest.approx(expected, rel=1e-3, nan_ok=True)  # dz/dw = 1 / (1 - 5w)


def test_the_unrolled_derivative_follows_the_returned_iterate(x64):
    # After two evaluations Picard returns f(0) = tanh(b), whose derivative does not know W.
    fn, weight, b = cell("tanh")
    value, slope = jax.value_and_grad(
        lambda args: jnp.sum(value_of(fn, args, "picard(max_steps=2)", "unrolled"))
    )((weight, b))
    assert value == pytest.approx(np.sum(np.tanh(b)), rel=1e-12)
    assert_equal(slope[0], np.zeros((M, M)))
    np.testing.assert_allclose(slope[1], 1 - np.tanh(b) ** 2, rtol=1e-12)


# Settings.


def test_however_coarse_the_fixed_point_the_gradient_is_within_5_percent():
    """Of z = Jz + b it is (I - J)⁻ᵀ c wherever z is; I - J a rotation makes residuals errors."""
    angles = np.linspace(-0.8, 0.8, 17)
    turns = np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]])
    turns = jnp.asarray(np.moveaxis(turns, 2, 0), jnp.float32)
    fn = lambda z, b: z - jnp.einsum("bij,bj->bi", turns, z) + b  # noqa: E731
    c = jnp.asarray(np.random.default_rng(3).standard_normal((17, 2)), jnp.float32)
    how = {"solver": "picard(rtol=0.3)", "adjoint": "implicit(solver='picard')"}
    root = lambda b: deqzoo.fixed_point(fn, jnp.zeros_like(b), b, **how).value  # noqa: E731
    value, slope = jax.jit(lambda b: (root(b), jax.vjp(root, b)[1](c)[0]))(c)
    left = np.linalg.norm(fn(value, c) - value, axis=1) / np.linalg.norm(fn(value, c), axis=1)
    assert 0.1 < np.max(left) <= 0.3
    exact = np.einsum("bij,bj->bi", turns, c)  # the inverse of the transpose is the rotation
    error = np.linalg.norm(slope - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert np.max(error) <= 0.051


def test_a_backward_solver_given_by_recipe_equals_the_solver():
    implicit = catalog.adjoints.load("implicit")
    assert implicit("picard") == implicit(catalog.solvers.get("picard"))
    assert hash(implicit("picard")) == hash(implicit(catalog.solvers.get("picard")))
    assert implicit("picard") != implicit()


def test_an_unknown_backward_solver_is_refused():
    with pytest.raises(
        ValueError, match="no linear solver or solver is called 'picrad'; did you mean 'picard'"
    ):
        catalog.adjoints.get("implicit(solver='picrad')")


@pytest.mark.parametrize(
    ("solver", "adjoint"), [("picard", "implicit"), ("broyden", "shine(refine=3)")]
)
def test_an_argument_may_enter_one_array_of_the_state_alone(x64, solver, adjoint):
    # a = 0.3 b + x, b = 0.4 a: da/dx = 1/0.88, db/dx = 0.4/0.88.
    fn = lambda z, x: (0.3 * z[1] + x, 0.4 * z[0])  # noqa: E731

    def total(x):
        zeros = jnp.zeros_like(x)
        found = deqzoo.fixed_point(fn, (zeros, zeros), x, solver=solver, adjoint=adjoint)
        return jnp.sum(found.value[0]) + jnp.sum(found.value[1])

    np.testing.assert_allclose(jax.grad(total)(jnp.ones((2, 3))), 1.4 / 0.88, rtol=1e-6)
