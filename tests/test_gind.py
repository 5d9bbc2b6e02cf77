"""Diffusion along edges: the differences G, and the one minimiser of a function of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_graphs import NODES, build, drawn

import activations
from deqzoo.models.gind import Gind
from deqzoo.nn.diffusion_cell import DiffusionCell
from deqzoo.nn.graph_cell import Injected
from deqzoo.nn.incidence import differences, gathered
from deqzoo.nn.neighbours import node_scale

WIDTH = 3


def injected(seed=0):
    edges = jnp.asarray(drawn(1, seed)["edges"])
    u = np.random.default_rng(seed).standard_normal((1, NODES, WIDTH))
    return Injected(jnp.asarray(u), edges, node_scale(edges, NODES, float))


def cell(name, norm=None):
    found = DiffusionCell(WIDTH, activations.get(name), rngs=nnx.Rngs(0), dtype=jnp.float64)
    if norm is not None:
        found.W[...] *= norm / np.linalg.norm(found.W[...], 2)
    return found


def dense(edges):
    """G of one graph."""
    degrees = 1 + np.bincount(np.ravel(edges), minlength=NODES)
    units = np.eye(NODES) / np.sqrt(degrees)
    return units[edges[:, 0]] - units[edges[:, 1]]


def test_differences_are_a_matrix_of_norm_below_root_two(x64):
    for seed in range(5):
        x = injected(seed)
        G = dense(np.asarray(x.edges[0]))
        assert np.linalg.norm(G, 2) ** 2 <= 2
        found = differences(x.nodes, x.edges, x.scale)
        np.testing.assert_allclose(found[0], G @ np.asarray(x.nodes[0]), atol=1e-12)
        back = gathered(found, x.edges, x.scale)
        np.testing.assert_allclose(back[0], G.T @ np.asarray(found[0]), atol=1e-12)


@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_the_gradient_is_that_of_the_function(x64, name):
    found, x = cell(name), injected()
    z = jnp.asarray(np.random.default_rng(1).standard_normal((1, NODES, WIDTH)))
    slope = jax.grad(lambda z: jnp.sum(found.objective(z, x)))(z)
    np.testing.assert_allclose(found.gradient(z, x), slope, atol=1e-9)


@pytest.mark.parametrize(("name", "norm"), [("relu", 3.0), ("tanh", 3.0), ("sin", None)])
def test_a_step_comes_nearer_by_the_bounds_of_the_hessian(x64, name, norm):
    found = cell(name, norm)
    square = 2 * np.linalg.norm(found.W[...], 2) ** 2
    low, high = (1 + square * slope for slope in (min(found.activation.slope[0], 0), 1))
    step = jax.jit(lambda z, x: found(z, x))
    # The larger eigenvalue is that of the least Hessian: α comes of a bound a little above ‖W‖₂.
    factor = 1 - found.step_size() * low
    assert 0.5 < factor < 1
    assert factor <= (high - low) / (high + low) + 0.02
    for seed in range(20):
        x, rng = injected(seed), np.random.default_rng(seed)
        z, w = (10.0 ** rng.uniform(-3, 1) * rng.standard_normal((1, NODES, WIDTH)) for _ in "zw")
        moved = jnp.linalg.norm(step(z, x) - step(w, x))
        assert moved <= factor * np.linalg.norm(z - w)


def test_the_equilibrium_is_found_whatever_the_weights():
    """Undamped, z <- -Gᵀφ(G(z + x)Wᵀ)W would not settle: its Jacobian reaches -2‖W‖₂²."""
    x = drawn()
    model = build(Gind, "tanh", width=WIDTH, solver="auto(rtol=1e-6, max_steps=2000)")
    model.deq.cell.W[...] *= 10 / np.linalg.norm(model.deq.cell.W[...], 2)
    (guarantee,) = model.guarantees()
    assert guarantee.by_construction
    u = model.injection(x)
    ends = [model.deq(u, z0).check().value for z0 in (None, jnp.full((1, NODES, WIDTH), 5.0))]
    np.testing.assert_allclose(*ends, atol=1e-4)
    assert float(jnp.max(jnp.abs(model.deq.cell.gradient(ends[0], u)))) < 1e-2
    outputs = model(x)[0]
    order = np.random.default_rng(1).permutation(NODES)
    renamed = {"features": x["features"][:, order], "edges": np.argsort(order)[x["edges"]]}
    np.testing.assert_allclose(model(renamed)[0], outputs[:, order], atol=1e-3)
