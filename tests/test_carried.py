"""Tolerances that are arguments of a program: one program, the same solves."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deqzoo
from deqzoo import catalog
from deqzoo.core import combination
from deqzoo.core.adjoints.implicit import Implicit
from deqzoo.settings import SettingError

X = jnp.linspace(-1, 1, 6).reshape(2, 3)
PLAIN = [name for name in catalog.solvers.names() if not catalog.solvers.load(name).needs_split]
PAIRS = [
    (solver, adjoint)
    for adjoint in catalog.adjoints.names()
    for solver in combination.solvers(catalog.adjoints.load(adjoint))
    if solver in PLAIN
]


def tanh(z, x):
    return jnp.tanh(0.9 * z + x)


def solved(x, solver, adjoint="implicit", **tolerances):
    rule = dataclasses.replace(catalog.solvers.get(solver), max_steps=60, **tolerances)
    return deqzoo.fixed_point(tanh, jnp.zeros_like(x), x, solver=rule, adjoint=adjoint)


@pytest.mark.quick("auto", "picard")
@pytest.mark.parametrize("solver", PLAIN)
def test_a_traced_tolerance_stops_where_a_known_one_does(solver):
    with jax.enable_x64(True):  # other programs round otherwise, and Anderson magnifies that
        x = X.astype(float)
        program = jax.jit(lambda r, a: solved(x, solver, rtol=r, atol=a))
        for rtol, atol in ((1e-2, 0.0), (1e-5, 0.0), (0.0, 1e-3)):
            known, late = solved(x, solver, rtol=rtol, atol=atol), program(rtol, atol)
            np.testing.assert_array_equal(late.stats.steps, known.stats.steps)
            np.testing.assert_array_equal(late.stats.status, known.stats.status)
            np.testing.assert_allclose(late.value, known.value, atol=1e-4)
        assert program._cache_size() == 1


@pytest.mark.quick("auto-implicit")
@pytest.mark.parametrize(("solver", "adjoint"), PAIRS)
def test_its_derivatives_are_those_of_a_known_one_and_none_follows_the_tolerance(solver, adjoint):
    def loss(x, rtol):
        return jnp.sum(solved(x, solver, adjoint, rtol=rtol).value ** 2)

    late, rise = jax.jit(jax.grad(loss, argnums=(0, 1)))(X, 1e-4)
    known = jax.grad(lambda x: loss(x, 1e-4))(X)
    rough = 1e-2 if adjoint == "shine" else 1e-5  # its estimate follows the roundings of the solve
    np.testing.assert_allclose(late, known, rtol=rough, atol=1e-6)
    assert rise == 0


def test_it_is_mapped_like_any_other_argument():
    steps = jax.vmap(lambda r: solved(X, "picard", rtol=r).stats.steps)(jnp.array([1e-2, 1e-5]))
    expected = [solved(X, "picard", rtol=r).stats.steps for r in (1e-2, 1e-5)]
    np.testing.assert_array_equal(steps, expected)


@pytest.mark.parametrize("rtol", [jnp.ones(2), jnp.array(True)], ids=["vector", "flag"])
def test_what_is_no_number_is_refused(rtol):
    with pytest.raises(SettingError, match="rtol must be a finite number >= 0 or None"):
        jax.jit(lambda r: solved(X, "picard", rtol=r))(rtol)


def test_where_it_must_be_known_a_sentence_says_so():
    with pytest.raises(SettingError, match="precision='bfloat16'.*leave precision out"):
        jax.jit(lambda r: solved(X, "picard", rtol=r, precision="bfloat16"))(1e-3)
    inner = catalog.linear_solvers
    with pytest.raises(SettingError, match="rtol of GMRES must be known before"):
        jax.jit(lambda r: solved(X, "newton_krylov", linear=inner.get("gmres", rtol=r)))(1e-3)
    with pytest.raises(SettingError, match="rtol of Picard must be known before"):
        jax.jit(lambda r: Implicit(catalog.solvers.get("picard", rtol=r)))(1)
