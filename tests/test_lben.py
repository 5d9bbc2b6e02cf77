"""Outputs move by at most γ times what inputs do, whatever the parameters."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_mondeq import ADMITTED, plug_in

import activations
from deqzoo.models.lben import LBEN
from deqzoo.nn.guarantees.lipschitz import Lipschitz

SHAPE, INPUTS, WIDTH, OUTPUTS = (2, 3), 6, 9, 4


def network(act, *, scale=1.0, seed=0, gamma=1.5, margin=0.1, **arguments):
    model = LBEN(
        SHAPE,
        OUTPUTS,
        activation=act,
        width=WIDTH,
        gamma=gamma,
        margin=margin,
        solver="auto(rtol=1e-12, max_steps=4000)",
        rngs=nnx.Rngs(seed),
        dtype=jnp.float64,
        **arguments,
    )
    for each in (model.deq.cell.A, model.deq.cell.B, model.deq.cell.U, model.deq.cell.D):
        each[...] *= scale
    return model


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_the_weight_leaves_room_for_inputs_and_outputs(x64, scale):
    for seed in range(3):
        cell = network(activations.get("gelu"), scale=scale, seed=seed, margin=0.3).deq.cell
        W, U, D = (np.asarray(each) for each in (cell.weight(), cell.U, cell.D))
        whole = (W + W.T + (U @ U.T + D.T @ D) / 1.5) / 2
        assert np.linalg.eigvalsh(whole)[-1] <= 0.7 + 1e-14 * np.linalg.norm(whole)
        guarantee = cell.guarantee()
        assert float(guarantee.bound(nnx.to_pure_dict(nnx.state(cell, nnx.Param)))) == 0.7


@pytest.mark.quick("0")
@pytest.mark.parametrize("seed", range(4))
def test_no_two_inputs_are_torn_apart(x64, seed):
    rng = np.random.default_rng(seed)
    model = network(plug_in(seed), scale=10.0 ** rng.uniform(-1, 1), seed=seed)
    run = nnx.jit(lambda model, x: model(x)[0])
    for distance in (1e-3, 1.0, 100.0):
        x = rng.standard_normal((40, *SHAPE))
        y = x + distance * rng.standard_normal((40, *SHAPE))
        apart = np.linalg.norm(np.asarray(run(model, x) - run(model, y)), axis=1)
        given = np.linalg.norm((x - y).reshape(40, -1), axis=1)
        assert np.all(apart <= 1.5 * given * (1 + 1e-8) + 1e-9)


def test_the_bound_is_attained(x64):
    # Of nonnegative inputs relu is the identity: D (I - W)⁻¹U = s²/(m + s²/γ) -> γ.
    model = network(activations.get("relu"), margin=0.01)
    cell, size = model.deq.cell, 30.0
    cell.A[...], cell.B[...] = jnp.zeros((WIDTH, WIDTH)), jnp.zeros((WIDTH, WIDTH))
    cell.U[...], cell.D[...] = size * jnp.eye(WIDTH, INPUTS), size * jnp.eye(OUTPUTS, WIDTH)
    slope = jax.jacobian(lambda x: model(x[None])[0][0])(jnp.ones(SHAPE)).reshape(OUTPUTS, INPUTS)
    assert 1.499 < np.linalg.norm(slope, 2) <= 1.5


@pytest.mark.quick("gelu")
@pytest.mark.parametrize("name", ADMITTED)
def test_every_activation_that_bends_has_one(name):
    model = LBEN(SHAPE, OUTPUTS, activation=name, width=WIDTH, rngs=nnx.Rngs(0))
    outputs, solution = model(jnp.ones((3, *SHAPE)))
    assert outputs.shape == (3, OUTPUTS)
    assert float(solution.stats.fraction_converged) == 1.0


def test_weights_that_are_not_finite_have_no_bound():
    guarantee = Lipschitz(activations.get("gelu"), 0.1, 2.0, ())
    broken = {name: jnp.eye(2) for name in "ABUD"} | {"D": jnp.full((2, 2), jnp.inf)}
    assert math.isnan(float(guarantee.bound(broken)))
    assert guarantee.nearness(broken) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": 0.0}, "gamma must be a finite number > 0"),
        ({"margin": 0.0}, r"margin must be a finite number > 0"),
        ({"activation": "identity"}, "affine and has no sector"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LBEN(SHAPE, OUTPUTS, rngs=nnx.Rngs(0), **arguments)
