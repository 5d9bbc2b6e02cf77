"""What members say they go with is true: what fits has a gradient, the rest is refused at once."""

import io
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from rich.console import Console

import activations
import deqzoo
from deqzoo import catalog
from deqzoo.catalog import CatalogError
from deqzoo.core import combination
from deqzoo.core.combination import CombinationError
from deqzoo.nn import DEQ, WideCell
from launch import list as list_catalogs

SOLVERS, ADJOINTS = catalog.solvers.names(), catalog.adjoints.names()
LINEAR = catalog.linear_solvers.names()
LINEARLY = [name for name in SOLVERS if not catalog.solvers.load(name).is_sublinear]  # convergent
WEIGHT, X = np.array([[0.1, 0.3], [-0.2, 0.2]], np.float32), np.ones((2, 2), np.float32)


def affine(z, args):
    return z @ args[0].T + args[1]


def map_for(solver):
    """A contraction as the solver needs it."""
    split = combination.needs_split(catalog.solvers.get(solver))
    plain = lambda z, args: jnp.tanh(affine(z, args))  # noqa: E731
    return deqzoo.Split("tanh", affine) if split else plain


def loss(args, solver, adjoint):
    fn = map_for(solver)
    return jnp.sum(deqzoo.fixed_point(fn, 0 * X, args, solver=solver, adjoint=adjoint).value ** 2)


def fits(solver, adjoint):
    return isinstance(catalog.solvers.get(solver), catalog.adjoints.load(adjoint).solvers)


@pytest.mark.quick("picard-*", "auto-*", "*-shine", "*-reversible")
@pytest.mark.parametrize(("solver", "adjoint"), [*itertools.product(SOLVERS, ADJOINTS)])
def test_a_solver_and_an_adjoint_that_fit_have_a_gradient_and_others_are_refused(solver, adjoint):
    gradient = jax.grad(lambda args: loss(args, solver, adjoint))
    if fits(solver, adjoint):
        shapes = jax.eval_shape(gradient, (WEIGHT, X))
        assert [leaf.shape for leaf in shapes] == [(2, 2), (2, 2)]
        assert solver in combination.solvers(catalog.adjoints.load(adjoint))
        assert adjoint in combination.adjoints(catalog.solvers.load(solver))
    else:
        with pytest.raises(CombinationError, match=f"{adjoint} does not go with the solver"):
            jax.eval_shape(gradient, (WEIGHT, X))
        assert solver not in combination.solvers(catalog.adjoints.load(adjoint))
        assert adjoint not in combination.adjoints(catalog.solvers.load(solver))


@pytest.mark.quick("anderson", "picard")
@pytest.mark.parametrize("solver", LINEARLY)
def test_an_unrolled_gradient_is_the_exact_one_once_the_solver_has_converged(solver):
    settled = f"{solver}(rtol=1e-6, max_steps=60)"
    unrolled, exact = (
        jax.jit(jax.grad(lambda args, a=adjoint: _loss_of(solver, settled, a, args)))((WEIGHT, X))
        for adjoint in ("unrolled", "implicit")
    )
    for ours, theirs in zip(unrolled, exact, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-3)


def _loss_of(solver, recipe, adjoint, args):
    start = jnp.zeros_like(args[1])
    found = deqzoo.fixed_point(map_for(solver), start, args, solver=recipe, adjoint=adjoint)
    return jnp.sum(found.value**2)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_plain_map_is_refused_where_a_split_is_needed_and_before_it_is_traced(solver):
    def fn(z, x):
        assert not combination.needs_split(catalog.solvers.get(solver)), "it was traced"
        return jnp.tanh(0.5 * z + x)

    def cell():
        return WideCell(4, activations.get("tanh"), rngs=nnx.Rngs(0))

    if combination.needs_split(catalog.solvers.get(solver)):
        with pytest.raises(CombinationError, match=r"no deqzoo.Split: use the solver anderson, "):
            deqzoo.fixed_point(fn, 0 * X, X, solver=solver)
        with pytest.raises(CombinationError, match=r"no deqzoo.Split: use the solver anderson, "):
            DEQ(cell(), solver=solver)
    else:
        jax.eval_shape(lambda x: deqzoo.fixed_point(fn, 0 * X, x, solver=solver).value, X)
        DEQ(cell(), solver=solver)


def test_a_refusal_names_what_would_fit():
    with pytest.raises(CombinationError) as refusal:
        deqzoo.fixed_point(map_for("picard"), 0 * X, (WEIGHT, X), solver="picard", adjoint="shine")
    assert str(refusal.value) == (
        "the adjoint shine does not go with the solver picard: use the solver broyden, or the "
        "adjoint implicit, neumann, phantom, reversible or unrolled"
    )


def test_a_stage_that_needs_a_split_is_seen():
    with pytest.raises(CombinationError, match="no deqzoo.Split"):
        DEQ(nnx.Module(), solver="auto(then='forward_backward')")


@pytest.mark.quick("picard", "gmres", "forward_backward")
@pytest.mark.parametrize("inner", sorted({*LINEAR, *SOLVERS}))
def test_what_may_solve_the_adjoint_equation_gives_a_gradient_and_the_rest_is_refused(inner):
    recipe = f"implicit(solver='{inner}')"
    if inner in SOLVERS and catalog.solvers.load(inner).needs_split:
        with pytest.raises(CatalogError, match="solver must take any map"):
            catalog.adjoints.get(recipe)
    else:
        jax.eval_shape(jax.grad(lambda args: loss(args, "picard", recipe)), (WEIGHT, X))


@pytest.mark.parametrize("inner", [*LINEAR, "picard"])
@pytest.mark.parametrize("outer", ["newton_krylov", "peaceman_rachford"])
def test_a_solver_takes_every_linear_solver_and_nothing_else(outer, inner):
    recipe = f"{outer}(linear='{inner}')"
    if inner in LINEAR:
        rule = catalog.solvers.get(recipe)
        solve = lambda args: deqzoo.fixed_point(map_for(outer), 0 * X, args, solver=rule)  # noqa: E731
        assert jax.eval_shape(solve, (WEIGHT, X)).value.shape == (2, 2)
    else:
        with pytest.raises(CatalogError, match="no linear solver is called 'picard'"):
            catalog.solvers.get(recipe)


# Every solver with every adjoint and every rule for a linear equation, before or behind it.

SETTLED = "rtol=1e-9, max_steps=200"
LIMIT = {
    "phantom": "phantom(steps=60)",
    "neumann": "neumann(steps=60)",
    "reversible": "reversible(steps=200, damping=0.5)",
    "shine": "shine(refine=60)",
}
BEHIND = [*LINEAR, *(name for name in LINEARLY if not catalog.solvers.load(name).needs_split)]
BEFORE = [name for name in SOLVERS if "linear" in catalog.solvers.load(name).__dataclass_fields__]
TRIPLES = [
    *((f"{s}({SETTLED})", f"implicit(solver='{b}')") for s in LINEARLY for b in BEHIND),
    *((f"{s}({SETTLED}, linear='{b}')", "implicit") for s in BEFORE for b in LINEAR),
    *((f"{s}({SETTLED})", LIMIT.get(a, a)) for s in LINEARLY for a in ADJOINTS if fits(s, a)),
]


def exact_gradient():
    """Of the sum of squares, by iterating and by a dense solve with (I - J)ᵀ in float64."""
    weight, x = WEIGHT.astype(float), X.astype(float)
    z = np.zeros_like(x)
    for _ in range(200):
        z = np.tanh(z @ weight.T + x)
    slopes = 1 - z**2
    systems = np.eye(2) - slopes[:, :, None] * weight
    pulled = np.linalg.solve(systems.transpose(0, 2, 1), 2 * z[..., None])[..., 0] * slopes
    return pulled.T @ z, pulled


@pytest.mark.quick(
    "picard*-implicit(solver='lu')", "auto*-implicit(solver='gmres')", "newton_krylov*'gmres')-*"
)
@pytest.mark.parametrize(("solver", "adjoint"), TRIPLES)
def test_every_triple_has_the_gradient_of_a_dense_solve(solver, adjoint, x64):
    args = WEIGHT.astype(float), X.astype(float)
    name = solver.partition("(")[0]
    found = jax.jit(jax.grad(lambda args: _loss_of(name, solver, adjoint, args)))(args)
    jax.clear_caches()  # hundreds of programs
    for ours, exact in zip(found, exact_gradient(), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("linear", LINEAR)
def test_a_rule_for_linear_equations_is_refused_where_there_are_none(linear):
    others = [(catalog.adjoints, a, "solver") for a in ADJOINTS if a != "implicit"]
    others += [(catalog.solvers, s, "linear") for s in SOLVERS if s not in BEFORE]
    for room, name, setting in others:
        with pytest.raises(CatalogError) as refusal:
            room.get(f"{name}({setting}='{linear}')")
        assert "\n" not in str(refusal.value)


def test_the_list_says_what_goes_with_what_on_a_screen_of_80_columns():
    console = Console(width=80, record=True, file=io.StringIO())
    for room in (catalog.solvers, catalog.adjoints):
        console.print(list_catalogs.members(room))
    text = " ".join(console.export_text().split())
    assert re.search(r"a deqzoo\.Split; any", text)
    assert re.search(r"shine\(refine=0\)[^)]*broyden", text)
    assert "any adjoint but" in text
