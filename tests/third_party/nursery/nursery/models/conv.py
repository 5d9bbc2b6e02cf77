"""A convolutional equilibrium of which nothing is proved."""

import jax.numpy as jnp
from flax import nnx

from deqzoo import DEQ, catalog
from deqzoo.nn import Model


class Conv(Model):
    """z = φ(K * z + x) on images, K a small kernel; the head reads the mean over the pixels."""

    def __init__(
        self,
        spec,
        outputs,
        *,
        activation="tanh",
        channels=8,
        solver="auto",
        adjoint="implicit",
        rngs,
        dtype=jnp.float32,
    ):
        self.activation = catalog.activations.get(activation)
        self.inputs = _conv(spec.shape[-1], channels, rngs, dtype)
        self.deq = DEQ(
            _Cell(self.activation, channels, rngs, dtype), solver=solver, adjoint=adjoint
        )
        self.outputs = nnx.Linear(channels, outputs, param_dtype=dtype, rngs=rngs)

    def stem(self, x):
        """One convolution."""
        return self.inputs(x)

    def head(self, z, injected):
        """Logits of the mean pixel."""
        return self.outputs(jnp.mean(z, axis=(1, 2)))


class _Cell(nnx.Module):
    def __init__(self, activation, channels, rngs, dtype):
        self.activation = activation
        self.kernel = _conv(channels, channels, rngs, dtype, scale=0.1)

    def __call__(self, z, x):
        return self.activation(self.kernel(z) + x)

    def start(self, x):
        return jnp.zeros_like(x)


def _conv(inputs, outputs, rngs, dtype, scale=1.0):
    init = nnx.initializers.variance_scaling(scale, "fan_in", "normal")
    return nnx.Conv(inputs, outputs, (3, 3), param_dtype=dtype, kernel_init=init, rngs=rngs)
