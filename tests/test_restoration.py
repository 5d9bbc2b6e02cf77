"""Pictures restored: priors that move nothing apart, steps that contract, whatever the plug-in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import activations
from deqzoo import catalog
from deqzoo.data.restoration import blurred
from deqzoo.models.proxnet import ProxNet
from deqzoo.nn import DEQ, RestoringCell
from deqzoo.nn.convolve import convolve

BLUR = np.random.default_rng(3).uniform(-0.2, 1, (3, 5))


def drawn(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def length(a):
    return np.linalg.norm(np.reshape(a, (len(a), -1)), axis=1)


def cell_of(act, gain=0.5, **settings):
    """With weights as large as the gain, scales and offsets at random."""
    cell = RestoringCell(1, act, channels=3, gain=gain, rngs=nnx.Rngs(0), **settings)
    cell.b[...] = drawn(3, dtype=cell.b.dtype)
    cell.log_beta[...] = drawn(3, seed=1, dtype=cell.b.dtype)
    return cell


def admitted(name):
    act = activations.get(name)
    return act.slope[0] < act.slope[1]


@pytest.mark.quick("cos", "prelu")
@pytest.mark.parametrize("name", [n for n in catalog.activations.names() if admitted(n)])
def test_no_plug_in_that_is_admitted_diverges(name):
    """At the edge of what the guarantee allows, from anywhere, for any measurement."""
    cell = cell_of(activations.get(name), gain=0.999, blur=BLUR, pull=0.2)
    y, mask, guess = (drawn(4, 6, 5, 1, seed=i) * 3 for i in range(3))
    x = cell.measured(y, mask, guess)
    z, w = (drawn(4, 6, 5, 1, seed=i) * 3 for i in (3, 4))
    rate = cell.guarantee("cell").rate(0.999)
    assert np.all(length(cell(z, x) - cell(w, x)) <= rate * (1 + 1e-5) * length(z - w))
    deq = DEQ(cell, solver="picard(rtol=1e-5, max_steps=300)")
    np.testing.assert_allclose(deq(x, z).check().value, deq(x, w).check().value, atol=2e-3)


def test_beyond_the_bound_the_prior_moves_pictures_apart():
    """The bound is that of the prior: no smaller one would do."""
    act = activations.get("relu")
    cell = cell_of(act)
    cell.K[...] = jnp.zeros_like(cell.K).at[1, 1, 0, 0].set(1.6**0.5 * 2**0.5)
    cell.b[...] = jnp.full(3, 100.0)
    assert cell.guarantee().bound({"K": cell.K[...]}) == pytest.approx(1.6, rel=0.1)
    z, w = drawn(2, 4, 4, 1), drawn(2, 4, 4, 1, seed=1)
    moved = length(cell.prior(z) - cell.prior(w))
    np.testing.assert_allclose(moved, 2.2 * length(z - w), rtol=1e-4)


def test_the_step_is_that_down_the_data_term(x64):
    cell = cell_of(activations.get("relu"), blur=BLUR, pull=0.3, dtype=jnp.float64)
    cell.K[...] = jnp.zeros_like(cell.K)  # the prior does nothing
    y, mask, guess, z = (drawn(2, 6, 5, 1, seed=i, dtype=jnp.float64) for i in range(4))
    mask = jnp.abs(mask) / 3

    def term(z):
        misfit = mask * convolve(z, jnp.asarray(BLUR)[:, :, None, None]) - y
        return jnp.sum(misfit**2) / 2 + 0.3 * jnp.sum((z - guess) ** 2) / 2

    size = 2 / (np.abs(BLUR).sum() ** 2 + 0.6)
    expected = z - size * jax.grad(term)(z)
    np.testing.assert_allclose(cell(z, cell.measured(y, mask, guess)), expected, atol=1e-10)


def test_a_transpose_is_the_transpose(x64):
    cell = RestoringCell(2, activations.get("relu"), blur=BLUR, rngs=nnx.Rngs(0))
    z, w = (drawn(1, 4, 5, 2, seed=i, dtype=jnp.float64) for i in range(2))
    there, back = cell._blurred(z), cell._blurred(w, back=True)
    assert jnp.vdot(there, w) == pytest.approx(float(jnp.vdot(z, back)))
    np.testing.assert_allclose(there, blurred(np.asarray(z), BLUR), atol=1e-12)


def test_what_is_measured_is_the_blurred_picture_and_its_mask():
    sharp, exact = catalog.tasks.get("digits").read(), catalog.tasks.get("deblur(noise=0)").load()
    np.testing.assert_allclose(exact.test.y, sharp.test.x / 16, atol=1e-6)
    expected = blurred(exact.test.y, exact.constants["blur"])
    np.testing.assert_allclose(exact.test.x["measured"], expected, atol=1e-6)
    data = catalog.tasks.get("inpaint(missing=0.7)").load()
    assert data.constants is None
    assert 0.68 < np.mean(data.train.x["mask"] == 0) < 0.72
    assert np.all(data.train.x["measured"][data.train.x["mask"] == 0] == 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spec": (8, 8, 1)}, "takes measured pictures, .* choose a task of them, such as deblur"),
        ({"outputs": 2}, "outputs must be the 1 of what is measured, got 2"),
        ({"activation": "identity"}, "is affine and has no sector"),
        ({"taps": 2}, "taps and the sides of a blur must be odd, got 2"),
        ({"pull": 0.0}, "pull must be a finite number > 0, got 0"),
    ],
)
def test_impossible_arguments_are_refused(settings, message):
    spec = catalog.tasks.get("inpaint").load().spec
    with pytest.raises(ValueError, match=message):
        ProxNet(**{"spec": spec, "outputs": 1, "rngs": nnx.Rngs(0), **settings})
