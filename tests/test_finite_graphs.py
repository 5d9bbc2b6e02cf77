"""Graph networks of finite depth: polynomials of the neighbours, convolutions, no equilibrium."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_graphs import SPEC, build, dense, drawn

import deqzoo
from deqzoo import Status
from deqzoo.models.agpcn import Agpcn
from deqzoo.models.gcn import Gcn
from deqzoo.models.gpcn import Gpcn
from deqzoo.nn import DEQ
from deqzoo.runs.variants import with_solver

WIDTH, DEPTH, STEP = 3, 5, 0.7


def made(member, **settings):
    return build(member, "tanh", width=WIDTH, dtype=jnp.float64, **settings)


def polynomial(model, x, A):
    """Σ_k C(T, k) sᵏ ÂᵏH_0Wᵏ."""
    H, W = (
        np.tanh(x["features"][0] @ np.asarray(model.inputs.kernel[...])),
        np.asarray(model.deq.cell.W[...]),
    )
    power = np.linalg.matrix_power
    return sum(
        math.comb(DEPTH, k) * STEP**k * power(A, k) @ H @ power(W, k) for k in range(DEPTH + 1)
    )


def test_linear_steps_are_a_polynomial_of_the_neighbours(x64):
    model, x = made(Gpcn, depth=DEPTH, step=STEP), drawn()
    expected = polynomial(model, x, dense(x["edges"][0]))
    outputs, solution = model(x)
    np.testing.assert_allclose(solution.value[0], expected, atol=1e-12)
    head = expected @ np.asarray(model.outputs.kernel[...])
    np.testing.assert_allclose(outputs[0], head, atol=1e-12)
    adaptive = made(Agpcn, depth=DEPTH)
    adaptive.deq.cell.s[...] = jnp.full(DEPTH, STEP)
    adaptive.deq.cell.W[...], adaptive.inputs.kernel[...] = (
        model.deq.cell.W[...],
        model.inputs.kernel[...],
    )
    np.testing.assert_allclose(adaptive(x)[1].value[0], expected, atol=1e-12)


def test_biases_enter_before_the_neighbours_are_summed(x64):
    model, x = made(Gpcn, depth=1, step=STEP), drawn()
    model.deq.cell.b[...] = b = jnp.array([0.5, -1.0, 2.0])
    A, H = dense(x["edges"][0]), np.tanh(x["features"][0] @ np.asarray(model.inputs.kernel[...]))
    expected = H + STEP * A @ (H @ np.asarray(model.deq.cell.W[...]) + np.asarray(b))
    np.testing.assert_allclose(model(x)[1].value[0], expected, atol=1e-12)


def test_a_link_weighs_who_the_neighbours_are(x64):
    model, x = made(Gpcn, depth=DEPTH, step=STEP, link=True), drawn()
    model.link.q[...] = jnp.array([0.0, math.log(3.0)])
    A = dense(x["edges"][0])
    h = 0.25 * polynomial(model, x, A) + 0.75 * A @ np.asarray(model.link.V[...])
    found = model(x)[0][0]
    np.testing.assert_allclose(found, h @ np.asarray(model.outputs.kernel[...]), atol=1e-12)


def test_convolutions_are_those_of_the_normalised_adjacency(x64):
    model, x = made(Gcn, depth=4), drawn()
    model.deq.cell.b[...] += 0.1
    A, h = dense(x["edges"][0]), x["features"][0] @ np.asarray(model.inputs.kernel[...])
    for W in np.asarray(model.deq.cell.W[...]):
        h = np.tanh(A @ h + 0.1) @ W
    h = A @ np.tanh(A @ h + 0.1)
    np.testing.assert_allclose(
        model(x)[0][0], h @ np.asarray(model.outputs.kernel[...]), atol=1e-12
    )


@pytest.mark.parametrize("member", [Gcn, Gpcn])
def test_nothing_is_said_to_converge_where_nothing_is_solved(member):
    model = member(SPEC, 4, rngs=nnx.Rngs(0))
    outputs, solution = model(drawn(2))
    assert solution.stats.status.tolist() == [Status.EXPLICIT] * 2
    assert "CONVERGED" not in str(solution)
    solution.check()
    assert (
        with_solver(model, deqzoo.catalog.solvers.get("picard"))(drawn(2))[1].stats.status.tolist()
        == [Status.EXPLICIT] * 2
    )
    # As the equilibrium of a map that forgets z it is what its layers put out.
    again = DEQ(model.deq.cell, solver="picard")(model.injection(drawn(2))).check()
    np.testing.assert_allclose(model.head(again.value, model.injection(drawn(2))), outputs)


@pytest.mark.parametrize(("member", "wrong"), [(Gcn, {"depth": 1}), (Gpcn, {"step": 0.0})])
def test_a_depth_out_of_range_is_refused(member, wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        build(member, "tanh", **wrong)
