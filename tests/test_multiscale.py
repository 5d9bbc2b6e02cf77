"""States at several scales contract in a norm of the norms of their convolutions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_mondeq import plug_in

import activations
from deqzoo.core import row_sums
from deqzoo.models.multiscale import Multiscale
from deqzoo.nn import DEQ, MultiscaleCell
from deqzoo.nn.guarantees.block_perron import BlockPerron, Link

CHANNELS = (2, 3, 4)


def cell(act, seed=0, channels=CHANNELS, dtype=jnp.float64, **settings):
    return MultiscaleCell(channels, act, rngs=nnx.Rngs(seed), dtype=dtype, **settings)


def kernels(found):
    return {"K": {name: K[...] for name, K in found.K.items()}}


def states(seed, size=(7, 6), batch=3, scale=1.0):
    """Of every scale, and what the cell takes."""
    rng = np.random.default_rng(seed)
    shapes = [(7, 6, 2), (4, 3, 3), (2, 2, 4), (7, 6, 2)]
    *z, b = (jnp.asarray(scale * rng.standard_normal((batch, *shape))) for shape in shapes)
    return tuple(z), b


def sizes(z):
    return np.stack([np.linalg.norm(np.reshape(part, (len(part), -1)), axis=1) for part in z])


def random_kernels(found, seed):
    """Of norms that differ by much."""
    rng = np.random.default_rng(seed)
    return {"K": {name: K * 10 ** rng.uniform(-2, 2) for name, K in kernels(found)["K"].items()}}


def test_every_norm_lies_above_that_of_its_block(x64):
    found = cell(activations.get("identity"))
    z, b = states(0, batch=1)
    parameters = random_kernels(found, 0)
    for name, K in parameters["K"].items():
        found.K[name][...] = K
    norms = np.asarray(found.guarantee().norms(parameters))
    blocks = jax.jacobian(lambda z: found(z, b))(z)
    for i, j in itertools.product(range(3), range(3)):
        block = np.asarray(blocks[i][j]).reshape(z[i].size, z[j].size)
        truth = np.linalg.norm(block, 2)
        assert truth <= norms[i, j] <= 2.5 * truth  # images of few pixels see less than all


def test_every_step_comes_closer_by_the_bound(x64):
    for seed in range(4):
        act = plug_in(seed)
        found = cell(act, seed)
        guarantee = found.guarantee()
        parameters = guarantee.project(random_kernels(found, seed), 0.9)
        for name, K in parameters["K"].items():
            found.K[name][...] = K
        rate, norms = (
            guarantee.rate(float(guarantee.bound(parameters))),
            guarantee.norms(parameters),
        )
        v = np.asarray(row_sums.perron_vector(norms))[:, None]
        for scale in (0.01, 1, 100):
            (y, b), (z, _) = states(seed, scale=scale), states(seed + 100, scale=scale)
            apart = [a - c for a, c in zip(found(y, b), found(z, b), strict=True)]
            before = [a - c for a, c in zip(y, z, strict=True)]
            assert np.all(np.max(sizes(apart) / v, 0) <= rate * np.max(sizes(before) / v, 0))


@pytest.mark.quick("float32")
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_limits_are_met_and_the_sharp_bound_is_sharper(x64, dtype):
    for seed in range(3):
        found = cell(plug_in(seed), seed, dtype=dtype)
        guarantee, parameters = found.guarantee(), random_kernels(found, seed)
        for limit in (None, 0.95, 0.3):
            moved = parameters if limit is None else guarantee.project(parameters, limit)
            bound, sharp = float(guarantee.bound(moved)), guarantee.sharp_bound(moved)
            truth = max(abs(np.linalg.eigvals(np.asarray(guarantee.norms(moved), float))))
            assert 0.9 * found.activation.lipschitz * truth <= sharp <= bound * (1 + 1e-12)
            assert limit is None or 0.5 * limit < bound <= limit
            assert guarantee.spectra(moved)["states"][0] <= bound


def test_what_lies_within_the_limit_is_left_as_it_is(x64):
    found = cell(activations.get("gelu"), gain=0.5)
    moved = found.guarantee().rescale(kernels(found), 0.9)
    for name, K in found.K.items():
        np.testing.assert_array_equal(moved["K"][name], K[...])


def test_a_link_one_way_may_be_as_large_as_it_likes():
    links = (Link(0, 0, ("a",)), Link(1, 1, ("b",)), Link(1, 0, ("down",), stride=2))
    guarantee = BlockPerron(activations.get("tanh"), links)
    one = jnp.ones((1, 1, 1, 1))
    parameters = {"a": 0.5 * one, "b": 0.5 * one, "down": 20 * one}
    assert float(guarantee.bound(parameters)) < 0.65
    assert guarantee.sharp_bound(parameters) < 0.55


def test_kernels_that_are_not_finite_have_no_bound_below_one():
    found = cell(activations.get("tanh"), dtype=jnp.float32)
    parameters = kernels(found)
    parameters["K"]["0_to_1"] *= jnp.nan
    assert not found.guarantee().bound(parameters) < 1
    assert not found.guarantee().sharp_bound(parameters) < 1


def test_it_begins_at_its_gain_with_one_equilibrium_for_every_start(x64):
    for name in ("gelu", "prelu(per_unit=True)"):
        found = cell(activations.get(name), gain=0.7)
        assert 0.699 < float(found.guarantee().bound(kernels(found))) <= 0.7
        z, b = states(0)
        deq = DEQ(found, solver="picard(rtol=1e-9)")
        far = tuple(100 * part for part in z)
        for a, c in zip(deq(b, far).check().value, deq(b).check().value, strict=True):
            np.testing.assert_allclose(a, c, atol=1e-6)


def test_a_coarse_scale_knows_the_input_by_the_equilibrium(x64):
    found = cell(activations.get("tanh"))
    _, b = states(0)
    once = found(found.start(b), b)
    assert all(np.all(part == 0) for part in once[1:])
    assert all(np.all(part != 0) for part in DEQ(found)(b).value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": ()}, r"channels must have a number for every scale, got \(\)"),
        ({"channels": 16}, "channels must be a tuple of which each is a whole number >= 1, got 16"),
        ({"channels": (4, 0)}, "channels must be a tuple of which each is a whole number >= 1"),
        ({"taps": 0}, "taps must be a whole number >= 1, got 0"),
        ({"gain": 0.0}, r"gain must be a number in \(0, 1\), got 0.0"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Multiscale((8, 8, 1), 2, rngs=nnx.Rngs(0), **arguments)
    with pytest.raises(ValueError, match="takes images"):
        Multiscale((8,), 2, rngs=nnx.Rngs(0))
