"""The reversible iteration and its gradient: exact, without memory, honest about rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo import Backward, Status, catalog
from deqzoo.catalog import CatalogError


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def cell(z, args):
    return jnp.tanh(z @ args[0].T + args[1])


def arguments(norm=0.7, n=10, dtype=np.float64):
    weight = numbers(n, n, seed=1)
    weight *= norm / np.linalg.norm(weight, 2)
    return weight.astype(dtype), numbers(3, n, seed=2).astype(dtype)


def value_of(args, solver, adjoint, fn=cell, backward=None):
    z0 = jnp.zeros_like(args[1])
    return deqzoo.fixed_point(fn, z0, args, solver=solver, adjoint=adjoint, backward=backward).value


def slope_of(args, solver, adjoint, fn=cell):
    loss = lambda args: jnp.sum(jnp.sin(3 * value_of(args, solver, adjoint, fn)))  # noqa: E731
    return jax.jit(jax.grad(loss))(args)


def assert_close(actual, expected, rtol):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.max(np.abs(b)))


# The iteration.


def test_it_is_the_coupled_iteration(x64):
    weight, b = arguments()
    d, y, z = 0.3, np.zeros_like(b), np.zeros_like(b)
    for _ in range(4):
        y = (1 - d) * y + d * np.tanh(z @ weight.T + b)
        z = (1 - d) * z + d * np.tanh(y @ weight.T + b)
    recipe = f"reversible(damping={d}, trajectory=(7, 8))"
    solution = deqzoo.fixed_point(cell, jnp.zeros_like(b), (weight, b), solver=recipe)
    np.testing.assert_allclose(solution.trajectory[0], y, rtol=1e-12)
    np.testing.assert_allclose(solution.trajectory[1], z, rtol=1e-12)


def test_it_contracts_at_the_root_of_its_recurrence(x64):
    # Eigenvalue m = 0.8, d = 0.5: t^2 = 0.4 t + 0.5.
    solver = "reversible(rtol=1e-12, max_steps=1000)"
    fn = lambda z, x: 0.8 * z + x  # noqa: E731
    stats = deqzoo.fixed_point(fn, jnp.zeros((1, 1)), 1.0, solver=solver).check().stats
    assert stats.rate[0] == pytest.approx((0.4 + np.sqrt(0.16 + 2)) / 2, rel=1e-3)


# The gradient.


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 40])
def test_it_is_the_unrolled_gradient_of_the_same_steps(x64, steps):
    solver, args = f"reversible(max_steps={steps})", arguments()
    exact = slope_of(args, solver, "unrolled")
    assert_close(slope_of(args, solver, "reversible"), exact, 1e-9 if steps > 1 else 0)


def test_examples_go_back_from_where_they_stopped(x64):
    # Gains from fast to expanding: ten to two hundred steps, the last one not from the last step.
    weight, b = arguments(norm=1.0)
    gain = np.array([0.1, 0.9, 3.0])[:, None]
    fn = lambda z, a: a[2] * jnp.sin(z @ a[0].T + a[1])  # noqa: E731
    args, solver = (weight, b, gain), "reversible(max_steps=60, rtol=1e-6)"
    solution = deqzoo.fixed_point(fn, jnp.zeros_like(b), args, solver=solver)
    assert len({*solution.stats.steps.tolist()}) > 1
    expected = slope_of(args, solver, "unrolled", fn)
    assert_close(slope_of(args, solver, "reversible", fn), expected, 1e-9)


def test_converged_it_is_the_implicit_gradient(x64):
    args, solver = arguments(), "reversible(rtol=1e-12, max_steps=400)"
    exact = slope_of(args, "picard(rtol=1e-13)", "implicit(solver='gmres(rtol=1e-13)')")
    assert_close(slope_of(args, solver, "reversible"), exact, 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("damping", [0.3, 0.5, 0.8])
def test_after_another_solver_it_tends_to_the_implicit_gradient(x64, damping):
    args, solver = arguments(), "anderson(rtol=1e-13)"
    exact = slope_of(args, solver, "implicit(solver='gmres(rtol=1e-13)')")[0]
    errors = []
    for steps in (5, 20, 80):
        adjoint = catalog.adjoints.load("reversible")(steps=steps, damping=damping)
        slope = slope_of(args, solver, adjoint)[0]
        errors.append(np.linalg.norm(slope - exact) / np.linalg.norm(exact))
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 1e-2


def test_integers_and_pytrees_of_arguments_are_allowed(x64):
    table, index = numbers(4, 5), np.array([2, 0])
    fn = lambda z, a: {"u": 0.5 * jnp.cos(z["u"]) + a[0][a[1]]}  # noqa: E731

    def loss(table, adjoint):
        z0 = {"u": jnp.zeros((2, 5))}
        solver = "reversible(max_steps=30)"
        args = table, index
        return jnp.sum(
            deqzoo.fixed_point(fn, z0, args, solver=solver, adjoint=adjoint).value["u"] ** 2
        )

    slopes = [
        jax.jit(jax.grad(loss), static_argnums=1)(table, a) for a in ("reversible", "unrolled")
    ]
    assert_close([slopes[0]], [slopes[1]], 1e-10)


def test_forward_mode_is_refused():
    args = arguments(dtype=np.float32)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda a: value_of(a, "reversible", "reversible"), (args,), (args,))


# Memory and rounding.


def temporary_bytes(steps, adjoint="reversible"):
    args = arguments(dtype=np.float32)
    solver = f"reversible(max_steps={steps})"
    slope = jax.jit(jax.grad(lambda args: jnp.sum(value_of(args, solver, adjoint) ** 2)))
    return slope.lower(args).compile().memory_analysis().temp_size_in_bytes


def test_memory_does_not_grow_with_the_steps():
    assert temporary_bytes(10) == temporary_bytes(1000)
    assert temporary_bytes(1000) < temporary_bytes(1000, "unrolled") / 50


def reconstruction(refresh, steps=60):
    """Float32 gradient error of a slow solve, and the drift that is reported."""
    exact = slope_of(arguments(0.9), f"reversible(max_steps={steps})", "unrolled")
    args = arguments(0.9, dtype=np.float32)
    adjoint = catalog.adjoints.load("reversible")(refresh=refresh)

    def loss(args, backward):
        solver = f"reversible(max_steps={steps}, rtol=0.0)"
        return jnp.sum(jnp.sin(3 * value_of(args, solver, adjoint, backward=backward)))

    slope, report = jax.jit(jax.grad(loss, argnums=(0, 1)))(args, Backward.empty(args[1]))
    return np.max(np.abs(slope[0] - exact[0])) / np.max(np.abs(exact[0])), report.stats


def test_rounding_grows_with_every_step_back_and_is_reported(x64):
    _, often = reconstruction(5)
    error, default = reconstruction(None)
    _, never = reconstruction(1000)
    assert np.all(often.relative_residual < default.relative_residual)
    assert np.all(default.relative_residual < np.sqrt(np.finfo(np.float32).eps))
    assert np.all(never.relative_residual > 1)
    assert default.status.tolist() == [Status.CONVERGED] * 3
    assert never.status.tolist() == [Status.FLOOR] * 3
    assert error < 1e-3


def drift_of(start, b, stretches):
    """Largest absolute drift of a slow scalar iteration, rewound in stretches of five steps."""
    adjoint = catalog.adjoints.load("reversible")(refresh=5)
    solver = f"reversible(max_steps={5 * stretches + 1}, rtol=0.0)"
    fn = lambda z, b: 0.99 * z + b  # noqa: E731

    def loss(b, backward):
        z0 = jnp.full((1, 64), start, jnp.float32)
        settings = {"solver": solver, "adjoint": adjoint, "backward": backward}
        return jnp.sum(deqzoo.fixed_point(fn, z0, b, **settings).value)

    b = jnp.linspace(b, 1.1 * b, 64, dtype=jnp.float32)[None]
    return float(jax.jit(jax.grad(loss, argnums=1))(b, Backward.empty(b)).stats.residual[0])


def test_the_reported_drift_is_that_of_the_worst_stretch():
    """Rounding is in proportion to the states: the last stretch is the worst of those that grow,

    and the first of those that shrink, whatever follows it.
    """
    assert drift_of(0.0, 1.0, stretches=40) > 3 * drift_of(0.0, 1.0, stretches=1)
    assert drift_of(100.0, 1e-3, stretches=40) < 1.5 * drift_of(100.0, 1e-3, stretches=1)


# Settings.


@pytest.mark.parametrize("damping", [0, 1.0, -0.5])
def test_impossible_dampings_are_refused(damping):
    for room in (catalog.solvers, catalog.adjoints):
        with pytest.raises(CatalogError, match=r"damping must be a number in \(0, 1\)"):
            room.get(f"reversible(damping={damping})")


@pytest.mark.parametrize("setting", ["steps=0", "refresh=0", "steps=None", "refresh=2.5"])
def test_impossible_settings_are_refused(setting):
    with pytest.raises(CatalogError, match=r"must be a whole number in \[1, 2\^31\)"):
        catalog.adjoints.get(f"reversible({setting})")
