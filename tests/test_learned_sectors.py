"""An activation is learned inside a monotone equation, and its theorem goes on holding."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_margins import BATCH, CELLS, TERMS, WIDTH, put_out

import activations
import deqzoo
from deqzoo import Split
from deqzoo.activation.contract import Activation
from deqzoo.activation.learnable import Learnable
from deqzoo.activation.sector import LearnableSector, Sector, sector
from deqzoo.analysis.proved_equilibria import proved_equilibria
from deqzoo.models.lben import LBEN
from deqzoo.models.mondeq import MonDEQ
from deqzoo.models.opteq import OptEq
from deqzoo.nn import DEQ, MonotoneCell, freeze

SPLIT = ("monotone", "lipschitz", "symmetric", "symmetric-negative")
EXTREME = (-1e6, -3.0, 0.0, 0.4, 1.0, 1e6)


@dataclass(frozen=True)
class Ripple(Activation):
    """φ(x) = x + t sin x for a number t in [-1, 1]."""

    t: float

    def __post_init__(self):
        pass

    def __call__(self, x):
        return x + self.t * jnp.sin(x)

    @property
    def slope(self):
        return 1 - abs(self.t), 1 + abs(self.t)

    @property
    def curvature(self):
        return abs(self.t)


@dataclass(frozen=True)
class Rippled(Learnable):
    """φ(x; t) = x + t sin x with t clipped to [-1, 1], with the derivative as if it were not."""

    slope = (0.0, 2.0)
    curvature = 1.0

    @property
    def start(self):
        return {"t": 0.5}

    def formula(self, x, *, t):
        fixed = jax.lax.stop_gradient(t)
        return x + (jnp.clip(fixed, -1, 1) + (t - fixed)) * jnp.sin(x)

    def ordinary(self, *, t):
        return Ripple(float(np.clip(t, -1, 1)))


LEARNABLES = {
    "prelu": activations.get("prelu"),  # its own sector
    "steep": activations.get("prelu(low=-0.5, high=2.0, per_unit=True)"),
    "rippled": Rippled(),
    "spline": activations.get("linear_spline(low=-0.5, high=1.5, init='tanh', size=7, reach=3.0)"),
}


def built(kind, act, seed=0):
    return CELLS[kind](act, rngs=nnx.Rngs(seed), dtype=jnp.float64)


def set_parameters(module, draw):
    for parameter in module.phi.learned.values():
        parameter[...] = jnp.asarray(draw(parameter[...].shape))


def injected(seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((BATCH, WIDTH)))


# The sector.


@pytest.mark.parametrize("name", LEARNABLES)
def test_the_sector_is_a_prox_whatever_the_parameters(x64, name):
    act = LEARNABLES[name]
    psi, (low, high) = sector(act), act.slope
    y = np.linspace(-9, 9, 301)
    for value in EXTREME:
        parameters = dict.fromkeys(act.start, value)
        phi, frozen = act.frozen(parameters), psi.frozen(parameters)
        assert 0 <= frozen.slope[0] <= frozen.slope[1] <= 1
        slopes = frozen.slope_in_float64(y + 1e-3)
        assert np.all((frozen.slope[0] - 1e-12 <= slopes) & (slopes <= frozen.slope[1] + 1e-12))
        again = low * y + (high - low) * np.asarray(psi.evaluate(parameters, y))
        np.testing.assert_allclose(again, phi.in_float64(y), atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNABLES)
def test_the_sector_declares_what_is_so(name):
    assert not activations.check(sector(LEARNABLES[name])).wrong


def test_a_sector_of_narrower_slopes_declares_what_is_so():
    assert not activations.check(Sector(activations.get("gelu"), (-1.0, 2.0))).wrong
    with pytest.raises(ValueError, match="leave .*give slopes that hold them"):
        Sector(activations.get("gelu"), (0.0, 1.0))
    with pytest.raises(ValueError, match="its sector is a LearnableSector"):
        Sector(activations.get("prelu"))


def test_slopes_of_0_to_1_are_their_own_sector():
    assert sector(activations.get("prelu")) == activations.get("prelu")
    assert sector(LEARNABLES["steep"]) == LearnableSector(LEARNABLES["steep"])
    assert LearnableSector(LEARNABLES["steep"]).per_unit


@pytest.mark.quick("prelu")
@pytest.mark.parametrize("name", LEARNABLES)
def test_the_prox_at_parameters_is_that_of_the_frozen_one_with_its_derivative(x64, name):
    psi = sector(LEARNABLES[name])
    u = jnp.linspace(-4, 4, 41)
    for value in (-2.0, 0.3, 0.9):
        parameters = dict.fromkeys(psi.start, jnp.asarray(value))
        found = psi.evaluate_prox(parameters, u, 0.7)
        np.testing.assert_allclose(found, psi.frozen(parameters).prox(u, 0.7), atol=1e-12)
    of = lambda p: psi.evaluate_prox(dict.fromkeys(psi.start, p), u, 0.7)  # noqa: E731
    difference = (of(0.3 + 1e-6) - of(0.3 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.jacfwd(of)(0.3), difference, atol=1e-8)


# The cells.


@pytest.mark.quick("spline-monotone")
@pytest.mark.parametrize("kind", SPLIT)
@pytest.mark.parametrize("name", LEARNABLES)
def test_one_equilibrium_is_found_from_anywhere_at_any_parameters(x64, name, kind):
    cell, u, rng = built(kind, LEARNABLES[name]), injected(), np.random.default_rng(1)
    guarantee = cell.guarantee()
    draws = [lambda shape, v=v: np.full(shape, v) for v in EXTREME[::5]]
    for draw in (*draws, *[lambda shape: rng.normal(size=shape) * 2] * 2):
        set_parameters(cell, draw)
        assert guarantee.sharp_bound(nnx.to_pure_dict(nnx.state(cell, nnx.Param))) < 1
        ends = [
            DEQ(cell, solver=solver)(u, z0).check().value
            for solver in (f"peaceman_rachford({TERMS})", f"forward_backward({TERMS})")
            for z0 in (None, 100 * injected(seed=2))
        ]
        v, learned = np.asarray(ends[0]), cell.learned()
        image = cell.proximal.evaluate(learned, cell.affine(ends[0], u, cell.weight()))
        np.testing.assert_allclose(image, v, atol=1e-9)
        for end in ends:
            np.testing.assert_allclose(end, v, atol=1e-8)


@pytest.mark.quick("steep-monotone")
@pytest.mark.parametrize("kind", SPLIT)
@pytest.mark.parametrize("name", LEARNABLES)
def test_what_a_residual_proves_holds_at_any_parameters(x64, name, kind):
    cell, u, rng = built(kind, LEARNABLES[name]), injected(), np.random.default_rng(2)
    for _ in range(3):
        set_parameters(cell, lambda shape: rng.normal(size=shape) * 2)
        near = cell.guarantee().nearness(nnx.to_pure_dict(nnx.state(cell, nnx.Param)))
        deq = DEQ(cell, solver=f"auto({TERMS})")
        end = deq(u).check().value
        for scale in (1e-6, 0.1, 10.0):
            z = end + scale * jnp.asarray(rng.standard_normal(end.shape))
            away = near.size(np.asarray(put_out(cell, z, u) - put_out(cell, end, u)))
            bound = near.per_residual * near.size(np.asarray(deq.map(u)(z) - z))
            assert np.all(away <= bound + 1e-11)


def dense_gradient(cell, u, name):
    """Σ sin of what is put out, by the parameter: (I - J)⁻¹∂f/∂p with NumPy's solve."""
    graph, state = nnx.split(cell)

    def at(p):
        copy = nnx.merge(graph, state, copy=True)
        copy.phi.learned[name][...] = p
        return copy

    step = lambda v, p: at(p)(v, u)  # noqa: E731
    loss = lambda v, p: jnp.sum(jnp.sin(put_out(at(p), v, u)))  # noqa: E731
    p, v = cell.learned()[name], DEQ(cell, solver=f"auto({TERMS})")(u).check().value
    J, pushed = (np.asarray(each) for each in jax.jacobian(step, (0, 1))(v, p))
    by_state, by_parameter = (np.asarray(each) for each in jax.grad(loss, (0, 1))(v, p))
    change = np.linalg.solve(np.eye(v.size) - J.reshape(v.size, v.size), pushed.ravel())
    return float(by_state.ravel() @ change + by_parameter)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SPLIT)
@pytest.mark.parametrize("name", ["prelu", "rippled"])
def test_the_gradient_by_what_is_learned_is_that_of_a_dense_solve(x64, name, kind):
    cell, u = built(kind, LEARNABLES[name]), injected()
    set_parameters(cell, lambda shape: np.full(shape, 0.3))
    (parameter,) = LEARNABLES[name].start

    def loss(deq):
        return jnp.sum(jnp.sin(put_out(deq.cell, deq(u).value, u)))

    deq = DEQ(cell, solver=f"auto({TERMS})", adjoint="implicit(solver='lu')")
    found = float(nnx.grad(loss)(deq)["cell"]["phi"]["learned"][parameter][...])
    assert abs(found) > 1e-3
    assert abs(found - dense_gradient(cell, u, parameter)) < 1e-8


@pytest.mark.slow
def test_unrolled_steps_differentiate_the_prox_too(x64):
    cell, u = built("monotone", LEARNABLES["rippled"]), injected()

    def slope(adjoint):
        solver = "forward_backward(step_size=0.2, rtol=1e-13, max_steps=400)"
        deq = DEQ(cell, solver=solver, adjoint=adjoint)
        gradient = nnx.grad(lambda deq: jnp.sum(jnp.sin(deq(u).value)))(deq)
        return float(gradient["cell"]["phi"]["learned"]["t"][...])

    assert abs(slope("unrolled") - slope("implicit")) < 1e-8


# A split of a user's own.


@pytest.mark.slow
def test_a_split_takes_learned_parameters_from_its_arguments(x64):
    fn = Split(
        "prelu",
        lambda z, args: args[0] - 3 * z,
        learned=lambda args: {"negative_slope": args[1]},
    )
    x, slope = jnp.asarray([[1.0, -1.0]]), jnp.asarray(0.5)

    def solved(slope, solver):
        z0 = jnp.zeros_like(x)
        return deqzoo.fixed_point(fn, z0, (x, slope), solver=solver).value

    for solver in ("auto", "forward_backward", "peaceman_rachford", "anderson"):
        # z = x - 3z where that is positive, else z = s(x - 3z).
        np.testing.assert_allclose(solved(slope, solver), [[0.25, -0.5 / 2.5]], atol=1e-8)
        gradient = jax.grad(lambda s, solver=solver: jnp.sum(solved(s, solver)))(slope)
        np.testing.assert_allclose(gradient, -1 / 2.5**2, atol=1e-8)


# The models.


@pytest.mark.quick("mondeq-prelu")
@pytest.mark.parametrize("name", LEARNABLES)
@pytest.mark.parametrize("model", ["mondeq", "lben", "opteq"])
def test_frozen_a_model_gives_the_same_outputs_under_the_same_theorem(model, name):
    kind = {"mondeq": MonDEQ, "lben": LBEN, "opteq": OptEq}[model]
    act = LEARNABLES[name]
    made = kind((5,), 3, activation=act, width=8, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 5)), jnp.float32)
    set_parameters(made.deq.cell, lambda shape: np.full(shape, 0.7, np.float32))
    if act.per_unit:
        with pytest.raises(ValueError, match="units with parameters of their own"):
            freeze(made)
        return
    frozen = freeze(made)
    assert not isinstance(frozen.activation, Learnable)
    assert not isinstance(frozen.deq.cell.proximal, Learnable)
    np.testing.assert_allclose(frozen(x)[0], made(x)[0], atol=1e-5)
    (guarantee,) = frozen.guarantees()
    parameters = nnx.to_pure_dict(nnx.state(frozen, nnx.Param))
    (learned,) = made.guarantees()
    near, was = guarantee.nearness(parameters), learned.nearness(parameters)
    assert near.per_residual == was.per_residual
    assert near.per_injection <= was.per_injection  # whose slopes are those of all parameters


def test_equilibria_are_proved_of_the_activation_as_it_is():
    model = MonDEQ((5,), 3, activation=Rippled(), width=8, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 5)), jnp.float32)
    set_parameters(model.deq.cell, lambda shape: np.full(shape, -0.9, np.float32))
    for each in (model, freeze(model)):
        found = proved_equilibria(each, x)
        assert np.all(found.residual < 1e-4)  # 0.1 at the parameters it starts with
        assert np.all(np.isfinite(found.radius))


def test_an_affine_range_is_refused():
    flat = activations.get("prelu(low=1.0, init=1.0)")
    with pytest.raises(ValueError, match="is affine and has no sector"):
        MonotoneCell(4, flat, rngs=nnx.Rngs(0))
