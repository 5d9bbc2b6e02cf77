"""A convolution whose norm is bounded for every image makes a contraction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_convolution_norm import dense
from test_mondeq import plug_in

import activations
from deqzoo.models.convdeq import ConvDEQ
from deqzoo.nn import DEQ, ContractiveConvCell
from deqzoo.nn.convolve import convolve
from deqzoo.nn.guarantees.conv_contraction import ConvContraction
from deqzoo.nn.image_model import means

PATH = ("cell", "K")


def kernel(seed, channels=3, dtype=jnp.float32):
    """Gaussian, or positive and so largest at frequency 0, of several sizes."""
    rng = np.random.default_rng(seed)
    draw = rng.standard_normal((3, 3, channels, channels)) * 10 ** rng.uniform(-2, 1)
    return {"cell": {"K": jnp.asarray(np.abs(draw) if seed % 2 else draw, dtype)}}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_bounds_lie_above_the_norm_of_images_and_limits_are_met(x64, dtype):
    for seed in range(6):
        act = plug_in(seed)
        guarantee, parameters = ConvContraction(act, PATH), kernel(seed, dtype=dtype)
        for limit in (None, 0.95, 0.3):
            found = parameters if limit is None else guarantee.project(parameters, limit)
            bound, sharp = float(guarantee.bound(found)), guarantee.sharp_bound(found)
            matrix = dense(np.asarray(found["cell"]["K"]), (6, 5), (1, 1))
            assert act.lipschitz * np.linalg.norm(matrix, 2) <= sharp <= bound
            assert guarantee.spectra(found)["cell/K"][0] <= sharp * (1 + 1e-12)
            assert limit is None or bound <= limit
            if limit is not None and float(guarantee.bound(parameters)) > limit:
                assert bound >= 0.999 * limit


def test_what_lies_within_the_limit_is_left_as_it_is():
    guarantee, parameters = ConvContraction(activations.get("gelu"), PATH), kernel(0)
    small = guarantee.rescale(parameters, 0.8)
    again = guarantee.rescale(small, 0.9)
    np.testing.assert_array_equal(again["cell"]["K"], small["cell"]["K"])


def test_every_step_comes_closer_by_the_bound(x64):
    for seed in range(6):
        rng, act = np.random.default_rng(seed), plug_in(seed)
        cell = ContractiveConvCell(3, act, gain=0.9, rngs=nnx.Rngs(seed), dtype=jnp.float64)
        rate = cell.guarantee().rate(cell.guarantee().sharp_bound({"K": cell.K[...]}))
        for scale in (0.01, 1, 100):
            y, z, b = jnp.asarray(scale * rng.standard_normal((3, 4, 7, 6, 3)))
            after, before = (
                np.linalg.norm(np.reshape(each, (4, -1)), axis=1)
                for each in (cell(y, b) - cell(z, b), y - z)
            )
            assert np.all(after <= rate * before)
    assert cell.guarantee().rate(1.0) is None


def test_some_step_comes_closer_by_hardly_more_than_the_bound(x64):
    cell = ContractiveConvCell(2, activations.get("tanh"), rngs=nnx.Rngs(0), dtype=jnp.float64)
    guarantee = cell.guarantee()
    cell.K[...] = guarantee.rescale({"K": jnp.abs(cell.K[...])}, 0.9)["K"]
    rate = guarantee.rate(guarantee.sharp_bound({"K": cell.K[...]}))
    matrix = dense(np.asarray(cell.K[...]), (16, 16), (1, 1))
    direction = 1e-3 * np.linalg.svd(matrix)[2][0].reshape(1, 16, 16, 2)
    z = jnp.asarray(np.random.default_rng(0).standard_normal((1, 16, 16, 2)))
    b = -convolve(z, cell.K[...])  # where the slope is one
    step = np.linalg.norm(cell(z + direction, b) - cell(z, b)) / 1e-3
    assert 0.95 * rate <= step <= rate


def test_the_cell_is_the_convolution_whose_norm_is_bounded(x64):
    act, rng = activations.get("tanh"), np.random.default_rng(0)
    cell = ContractiveConvCell(2, act, taps=5, rngs=nnx.Rngs(0), dtype=jnp.float64)
    z, b = jnp.asarray(rng.standard_normal((2, 3, 4, 6, 2)))
    matrix = dense(np.asarray(cell.K[...]), (4, 6), (1, 1))
    expected = np.tanh(np.reshape(z, (3, -1)) @ matrix.T + np.reshape(b, (3, -1)))
    np.testing.assert_allclose(np.reshape(cell(z, b), (3, -1)), expected, atol=1e-12)


@pytest.mark.quick("gelu", "prelu*")
@pytest.mark.parametrize("name", ["gelu", "relu", "soft_threshold", "prelu(per_unit=True)"])
def test_it_begins_at_its_gain_with_one_equilibrium_for_every_start(name):
    act = activations.get(name)
    cell = ContractiveConvCell(4, act, gain=0.7, rngs=nnx.Rngs(0))
    assert 0.699 < float(cell.guarantee().bound({"K": cell.K[...]})) <= 0.7
    b = jax.random.normal(jax.random.key(0), (3, 6, 5, 4))
    deq = DEQ(cell, solver="picard(rtol=1e-6)")
    np.testing.assert_allclose(deq(b, 100 * b).check().value, deq(b).check().value, atol=1e-4)


def test_kernels_that_are_not_finite_have_no_bound_below_one():
    guarantee = ConvContraction(activations.get("tanh"), ("K",))
    for wrong in (np.nan, np.inf):
        parameters = {"K": jnp.full((3, 3, 2, 2), wrong)}
        assert not guarantee.bound(parameters) < 1
        assert not guarantee.sharp_bound(parameters) < 1


# The model of images.


@pytest.mark.parametrize(
    ("shape", "state"), [((28, 28, 1), (14, 14)), ((9, 40, 3), (9, 40)), ((33, 50, 1), (11, 17))]
)
def test_a_large_image_is_made_smaller(shape, state):
    model = ConvDEQ(shape, 2, channels=2, solver="picard", rngs=nnx.Rngs(0))
    shapes = jax.eval_shape(lambda x: (model.injection(x), model(x)[0]), jnp.ones((2, *shape)))
    assert [each.shape for each in shapes] == [(2, *state, 2), (2, 2)]


def test_whole_numbers_are_images_too():
    model = ConvDEQ((4, 4, 1), 2, channels=2, rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).integers(0, 255, (2, 4, 4, 1), np.uint8)
    np.testing.assert_array_equal(model.injection(x), model.injection(x.astype(np.float32)))


def test_means_are_those_of_windows_that_cover_the_image():
    z = np.random.default_rng(0).standard_normal((2, 7, 3, 2)).astype(np.float32)
    rows, columns = [(0, 1), (1, 3), (3, 5), (5, 7)], [(0, 1), (1, 2), (2, 3)]
    expected = [z[:, a:b, c:d].mean((1, 2)) for a, b in rows for c, d in columns]
    np.testing.assert_allclose(means(jnp.asarray(z), 4), np.concatenate(expected, 1), rtol=1e-5)


@pytest.mark.parametrize(
    ("spec", "arguments", "message"),
    [
        ((64,), {}, r"takes images \(height, width, channels\), and an example is float32\[64\]"),
        ((8, 8, 1), {"channels": 0}, "channels must be a whole number >= 1, got 0"),
        ((8, 8, 1), {"taps": 0}, "taps must be a whole number >= 1, got 0"),
        ((8, 8, 1), {"stride": 0}, "stride must be a whole number >= 1, got 0"),
        ((8, 8, 1), {"pool": 0}, "pool must be a whole number >= 1, got 0"),
        ((8, 8, 1), {"gain": 1.0}, r"gain must be a number in \(0, 1\), got 1.0"),
    ],
)
def test_impossible_arguments_are_refused(spec, arguments, message):
    with pytest.raises(ValueError, match=message):
        ConvDEQ(spec, 2, rngs=nnx.Rngs(0), **arguments)
