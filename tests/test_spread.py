"""Read-outs of flat activations begin with outputs that depend on the features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import activations
from deqzoo.models.implicit import Implicit
from deqzoo.models.opteq import OptEq
from deqzoo.nn.spread import spread


@pytest.mark.parametrize("name", ["gelu", "relu", "sigmoid", "tanh"])
def test_spread_is_that_of_the_dual(name):
    phi = activations.get(name)
    mean = phi.hermite(0)[0]
    assert np.allclose(spread(phi), (mean, (phi.dual(1.0) - mean**2) ** 0.5), atol=5e-3)


@pytest.mark.parametrize("name", ["sigmoid", "hard_sigmoid", "normal_cdf"])
def test_outputs_of_a_flat_activation_are_centred_and_deviate(name):
    """For features φ(g): mean 0, and a deviation of half the norm of a row of A as it was drawn."""
    model = Implicit((64,), 10, activation=name, rngs=nnx.Rngs(0))
    plain = Implicit((64,), 10, activation="gelu", rngs=nnx.Rngs(0))
    g = jax.random.normal(jax.random.key(1), (50_000, 64))
    outputs = model.outputs(activations.get(name)(g))
    rows = jnp.linalg.norm(plain.outputs.kernel[...], axis=0)
    assert np.allclose(outputs.mean(axis=0), 0, atol=0.02)
    assert np.allclose(outputs.std(axis=0), rows / 2, rtol=0.02)


def test_others_and_centred_features_keep_what_was_drawn():
    flat, round_ = (
        OptEq((64,), 10, activation=name, rngs=nnx.Rngs(0)) for name in ("sigmoid", "gelu")
    )
    ratio = flat.outputs.kernel[...] / round_.outputs.kernel[...]
    assert np.allclose(ratio, 0.5 / spread(activations.get("sigmoid"))[1])
    assert not flat.outputs.bias[...].any()
    assert not round_.outputs.bias[...].any()
