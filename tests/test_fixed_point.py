"""The front door: any pytree, one trace, nothing stale, and errors that name the leaf."""

import functools
import gc
import math
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo import catalog
from deqzoo.catalog import CatalogError
from deqzoo.core.adjoint import Adjoint
from deqzoo.core.solver import Solver

ZEROS, ONES = np.zeros((3, 2), np.float32), np.ones((3, 2), np.float32)


fixed_point = functools.partial(deqzoo.fixed_point, solver="picard")  # compiles fastest


def halve(z, x):
    """Fixed point 2x; sees nothing but its arguments."""
    return 0.5 * z + x


# What it takes and gives.


def test_the_state_may_be_any_pytree():
    def fn(z, x):
        return [0.5 * z[0] + x, (0.5 * z[1][0] + jnp.sum(x, axis=1), None)]

    value = deqzoo.fixed_point(fn, [ZEROS, (np.zeros(3, np.float32), None)], ONES).value
    np.testing.assert_allclose(value[0], 2, rtol=1e-4)
    np.testing.assert_allclose(value[1][0], 4, rtol=1e-4)
    assert value[1][1] is None


def test_args_may_be_left_out_or_be_any_pytree():
    assert fixed_point(lambda z, _: jnp.cos(z), ZEROS).value[0, 0] == pytest.approx(
        0.739085, abs=1e-4
    )
    args = {"x": ONES, "nothing": None, "two": 2, "indices": np.array([0, 1])}
    fn = lambda z, a: z / a["two"] + a["x"][:, a["indices"]]  # noqa: E731
    np.testing.assert_allclose(fixed_point(fn, ZEROS, args).value, 2, rtol=1e-4)


@pytest.mark.parametrize(
    "fn",
    [
        lambda z, a: sum(a["act"](z) for _ in range(a["count"])) / 8 + 1,
        lambda z, a: (0.5 if a["flag"] else 0.25) * jnp.reshape(z, a["shape"]) + 1,
    ],
    ids=["a function and a count", "a flag and a shape"],
)
def test_args_that_are_no_arrays_stay_what_they_are(fn):
    args = {"act": jnp.tanh, "count": 4, "flag": True, "shape": (3, 2), "name": "tanh"}
    z = fixed_point(fn, ZEROS, args).check().value
    np.testing.assert_allclose(fn(z, args), z, rtol=1e-4)


def test_the_start_may_be_numbers_of_the_host():
    solution = fixed_point(halve, np.zeros((1, 2)), 1.0)
    assert solution.value.dtype == jnp.float32
    assert isinstance(solution.value, jax.Array)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_a_weakly_typed_start_keeps_its_dtype(x64, dtype):
    z0 = jnp.zeros((2, 1), dtype)
    assert fixed_point(halve, z0, jnp.ones((2, 1), dtype)).value.dtype == dtype
    assert not fixed_point(halve, 0.0 * jnp.ones((2, 1)), 1.0).value.weak_type


def test_the_batch_may_be_empty():
    solution = deqzoo.fixed_point(halve, np.zeros((0, 2), np.float32), np.ones((0, 2), np.float32))
    assert solution.value.shape == (0, 2)
    assert solution.check().stats.steps.shape == (0,)


def test_a_settings_string_equals_the_settings():
    results = [
        deqzoo.fixed_point(halve, ZEROS, ONES, solver=solver, adjoint=adjoint)
        for solver, adjoint in (
            ("picard(rtol=1e-3)", "implicit(solver='anderson')"),
            (
                catalog.solvers.load("picard")(rtol=1e-3),
                catalog.adjoints.load("implicit")(solver=catalog.solvers.load("anderson")()),
            ),
        )
    ]
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_passes_through_jit_vmap_and_scan():
    solve = lambda x: deqzoo.fixed_point(halve, ZEROS, x, solver="picard").value  # noqa: E731
    inputs = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    looped = np.stack([solve(x) for x in inputs])
    np.testing.assert_array_equal(jax.jit(jax.vmap(solve))(inputs), looped)
    np.testing.assert_array_equal(
        jax.lax.scan(lambda _, x: (None, solve(x)), None, inputs)[1], looped
    )


def test_vmap_keeps_the_statistics_apart():
    rates = np.array([0.0, 0.5, 0.9], np.float32)
    solve = lambda rate: deqzoo.fixed_point(  # noqa: E731
        lambda z, rate: rate * z + 1, ZEROS, rate, solver="picard"
    )
    solution = jax.vmap(solve)(rates)
    assert solution.stats.steps.shape == (3, 3)
    single = [solve(rate).stats.steps for rate in rates]
    np.testing.assert_array_equal(solution.stats.steps, single)
    np.testing.assert_allclose(solution.value[:, 0, 0], 1 / (1 - rates), rtol=1e-4)


# Traces and staleness.


@pytest.fixture
def count_tanh(monkeypatch):
    """How often Python has run ``jnp.tanh``, that is, traced a map that calls it once."""
    calls, tanh = [], jnp.tanh
    monkeypatch.setattr(jnp, "tanh", lambda x: calls.append(1) or tanh(x))
    return lambda: len(calls)


def squash(z, x):
    return jnp.tanh(0.5 * z + x)


def make_squash():
    """The same map as a new function object, which no earlier test has compiled."""
    return type(squash)(squash.__code__, {"jnp": jnp})


def test_eager_calls_with_equal_settings_trace_the_function_once(count_tanh):
    fn, member = make_squash(), catalog.solvers.load("picard")
    first = deqzoo.fixed_point(fn, ZEROS, ONES, solver=member(max_steps=30))
    second = deqzoo.fixed_point(fn, ZEROS, 2 * ONES, solver="picard(max_steps=30)")
    assert count_tanh() == 1
    assert not np.allclose(first.value, second.value)
    deqzoo.fixed_point(fn, ZEROS, ONES, solver=member(max_steps=31))
    assert count_tanh() == 2


def test_jitted_calls_with_equal_settings_trace_the_function_once(count_tanh):
    @functools.partial(jax.jit, static_argnames=("solver", "adjoint"))
    def run(x, solver, adjoint):
        return deqzoo.fixed_point(squash, ZEROS, x, solver=solver, adjoint=adjoint).value

    solver, adjoint = catalog.solvers.load("picard"), catalog.adjoints.load("implicit")
    run(ONES, solver(max_steps=30), adjoint("picard"))
    run(2 * ONES, solver(max_steps=30), adjoint("picard"))
    assert count_tanh() == 1
    run(ONES, solver(max_steps=31), adjoint("picard"))
    assert count_tanh() == 2


@pytest.mark.parametrize("adjoint", sorted({*catalog.adjoints.names()} - {"shine"}))
def test_value_and_gradient_share_one_trace(count_tanh, adjoint):
    def loss(x):
        return jnp.sum(
            deqzoo.fixed_point(
                squash, ZEROS, x, solver="picard(max_steps=9)", adjoint=adjoint
            ).value
        )

    jax.jit(jax.value_and_grad(loss))(ONES)
    assert count_tanh() == 1


def test_a_captured_array_is_never_stale():
    x = ONES
    fn = lambda z, _: 0.5 * z + x  # noqa: E731
    before = fixed_point(fn, ZEROS).value
    x = 2 * ONES
    np.testing.assert_allclose(fixed_point(fn, ZEROS).value, 2 * before, rtol=1e-4)


def test_an_array_changed_in_place_is_never_stale():
    x = ONES.copy()
    fn = lambda z, _: 0.5 * z + x  # noqa: E731
    before = fixed_point(fn, ZEROS).value
    x *= 2
    np.testing.assert_allclose(fixed_point(fn, ZEROS).value, 2 * before, rtol=1e-4)


def test_a_captured_array_is_released():
    x = jnp.ones((3, 2))
    alive = weakref.ref(x)
    fixed_point(lambda z, _: 0.5 * z + x, ZEROS)
    del x
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_axes_of_a_mesh_are_automatic_or_refused(kind):
    mesh = jax.make_mesh((1,), ("data",), axis_types=(getattr(jax.sharding.AxisType, kind),))
    with jax.set_mesh(mesh):
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
        solve = jax.jit(lambda x: fixed_point(lambda z, x: 0.5 * z + x, ZEROS, x).value)
        x = jax.device_put(ONES, sharding)
        if kind == "Auto":
            np.testing.assert_allclose(solve(x), 2 * ONES, rtol=1e-4)
        else:
            with pytest.raises(ValueError, match="AxisType.Auto"):
                solve(x)


SHIFT = 1.0


def shifted(z, _):
    return 0.5 * z + SHIFT


def calls_shifted(z, _):
    return shifted(z, _)


def nested(z, _):
    inner = lambda z: 0.5 * z + SHIFT  # noqa: E731
    return inner(z)


def defaulted(z, _, shift=(1.0,)):
    return 0.5 * z + shift[0]


class Cell:
    shift = 1.0

    def __call__(self, z, _):
        return 0.5 * z + self.shift

    method = __call__


@pytest.mark.parametrize("fn", [shifted, calls_shifted, nested])
def test_a_global_is_never_stale(monkeypatch, fn):
    assert fixed_point(fn, ZEROS).value[0, 0] == pytest.approx(2, rel=1e-4)
    monkeypatch.setitem(globals(), "SHIFT", 3.0)
    assert fixed_point(fn, ZEROS).value[0, 0] == pytest.approx(6, rel=1e-4)


def test_a_default_argument_is_never_stale(monkeypatch):
    assert fixed_point(defaulted, ZEROS).value[0, 0] == pytest.approx(2, rel=1e-4)
    monkeypatch.setattr(defaulted, "__defaults__", ((3.0,),))
    assert fixed_point(defaulted, ZEROS).value[0, 0] == pytest.approx(6, rel=1e-4)


def test_an_object_is_never_stale():
    cell = Cell()
    for fn in (cell, cell.method, functools.partial(Cell.method, cell)):
        cell.shift = 1.0
        assert fixed_point(fn, ZEROS).value[0, 0] == pytest.approx(2, rel=1e-4)
        cell.shift = 3.0
        assert fixed_point(fn, ZEROS).value[0, 0] == pytest.approx(6, rel=1e-4)


def test_nothing_leaves_the_device_inside_jit():
    solve = jax.jit(lambda x: fixed_point(halve, jnp.zeros_like(x), x).value)
    x = jax.device_put(ONES)
    solve(x)
    with jax.transfer_guard("disallow"):
        solve(x).block_until_ready()


# Errors.


@pytest.mark.parametrize(
    ("z0", "message"),
    [
        (np.float32(0), r"the state is a scalar: .* write z0\[None\]"),
        ({"u": ZEROS, "v": np.float32(0)}, r"\['v'\] is a scalar"),
        (
            {"u": ZEROS, "v": np.zeros((4, 2))},
            r"one length, got \['u'\]: \(3, 2\), \['v'\]: \(4, 2\)",
        ),
        (None, "no array"),
        (np.zeros((3, 2), int), "floating point or complex, got int32"),
        (
            {"u": ZEROS, "v": np.zeros(3, bool)},
            r"\['v'\] must be floating point or complex, got bool",
        ),
    ],
)
def test_a_start_that_is_no_state_is_refused(z0, message):
    with pytest.raises(ValueError, match=message):
        deqzoo.fixed_point(lambda z, _: z, z0)


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (
            lambda z, _: {"u": z["u"], "v": z["v"][:, :1]},
            r"fn returned float32\(3, 1\) for leaf \['v'\] of float32\(3, 2\)",
        ),
        (
            lambda z, _: {"u": z["u"].astype(jnp.bfloat16), "v": z["v"]},
            r"fn returned bfloat16\(3, 2\) for leaf \['u'\] of float32\(3, 2\); .*keep shape",
        ),
        (
            lambda z, _: {"u": z["u"]},
            "fn returned a tree other than z: expected .*'v'.*, got .*'u'",
        ),
        (lambda z, _: (z["u"], z["v"]), "fn returned a tree other than z"),
    ],
)
def test_a_map_that_changes_the_state_is_refused(fn, message):
    with pytest.raises(ValueError, match=message):
        deqzoo.fixed_point(fn, {"u": ZEROS, "v": ZEROS})


def test_a_single_array_is_called_z():
    with pytest.raises(ValueError, match=r"fn returned float32\(3, 3\) for z of float32\(3, 2\)"):
        deqzoo.fixed_point(lambda z, x: z @ x, ZEROS, np.ones((2, 3), np.float32))


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(
        CatalogError, match="no solver is called 'andersen'; did you mean 'anderson'"
    ):
        deqzoo.fixed_point(halve, ZEROS, ONES, solver="andersen")
    with pytest.raises(
        CatalogError, match="no adjoint is called 'implict'; did you mean 'implicit'"
    ):
        deqzoo.fixed_point(halve, ZEROS, ONES, adjoint="implict")


def test_objects_of_the_wrong_kind_are_refused():
    with pytest.raises(CatalogError, match="expected a solver or its recipe, got 3"):
        deqzoo.fixed_point(halve, ZEROS, ONES, solver=3)
    with pytest.raises(CatalogError, match="expected an adjoint or its recipe, got Picard"):
        deqzoo.fixed_point(halve, ZEROS, ONES, adjoint=catalog.solvers.get("picard"))


def test_settings_that_do_not_exist_are_refused():
    with pytest.raises(CatalogError, match=r"picard\(tol=1e-3\).*it takes rtol=None, atol=0.0"):
        deqzoo.fixed_point(halve, ZEROS, ONES, solver="picard(tol=1e-3)")
    with pytest.raises(TypeError, match="tol"):
        deqzoo.fixed_point(halve, ZEROS, ONES, tol=1e-3)


def test_the_bases_cannot_be_built():
    for base in (Solver, Adjoint):
        with pytest.raises(TypeError, match="abstract"):
            base()


def test_a_tolerance_below_the_rounding_of_the_state_warns():
    for dtype, eps in (("float32", "1.2e-07"), ("bfloat16", "7.8e-03")):
        x = jnp.ones((1, 1), dtype)
        rtol = float(jnp.finfo(dtype).eps) / 2
        with pytest.warns(UserWarning, match=f"below the rounding {eps}"):
            deqzoo.fixed_point(halve, 0 * x, x, solver=f"picard(rtol={rtol}, max_steps=3)")


def test_infinite_gain_is_not_convergence():
    # The norm of the image overflows; inf <= rtol * inf must not count.
    solution = deqzoo.fixed_point(lambda z, _: z * z + 1e30, ZEROS, solver="picard")
    assert solution.stats.fraction_converged == 0
    with pytest.raises(deqzoo.FixedPointError):
        solution.check()
    assert math.isnan(solution.value[0, 0]) or abs(solution.value[0, 0]) < 1e31


def test_a_root_found_elsewhere_is_returned_as_it_is_measured_and_differentiated():
    cell = lambda z, x: jnp.tanh(0.5 * z + x)  # noqa: E731
    x = jnp.array([[0.3, -1.0], [2.0, 0.1]])
    found = jnp.zeros_like(x)
    for _ in range(60):
        found = cell(found, x)

    def root(x):
        return deqzoo.fixed_point(cell, found.at[1].add(0.1), x, solver="picard(max_steps=1)")

    solution = root(x)
    np.testing.assert_array_equal(solution.value, found.at[1].add(0.1))
    assert solution.stats.status.tolist() == [deqzoo.Status.CONVERGED, deqzoo.Status.MAX_STEPS]
    slope = 1 - np.asarray(found[0]) ** 2
    gradient = jax.grad(lambda x: jnp.sum(root(x).value))(x)
    np.testing.assert_allclose(gradient[0], slope / (1 - 0.5 * slope), rtol=1e-4)
