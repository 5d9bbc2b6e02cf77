"""An equilibrium whose weights lie in a band: the mask is a constant of the cell."""

import math

import jax.numpy as jnp
import numpy as np
from flax import nnx

from deqzoo import DEQ, catalog
from deqzoo.nn import Model


class Banded(Model):
    """z = φ((M ∘ W)z + Ux), M the mask of a band."""

    def __init__(
        self,
        spec,
        outputs,
        *,
        activation="tanh",
        width=16,
        solver="auto",
        adjoint="implicit",
        rngs,
        dtype=jnp.float32,
    ):
        self.activation = catalog.activations.get(activation)
        self.inputs = nnx.Linear(math.prod(spec.shape), width, param_dtype=dtype, rngs=rngs)
        cell = _Cell(self.activation, width, rngs, dtype)
        self.deq = DEQ(cell, solver=solver, adjoint=adjoint)
        self.outputs = nnx.Linear(width, outputs, param_dtype=dtype, rngs=rngs)

    def stem(self, x):
        """Ux + b."""
        return self.inputs(x.reshape(x.shape[0], -1))

    def head(self, z, injected):
        """Logits."""
        return self.outputs(z)


class _Cell(nnx.Module):
    def __init__(self, activation, width, rngs, dtype):
        self.activation = activation
        small = nnx.initializers.normal(0.3 / width**0.5)
        self.W = nnx.Param(small(rngs.params(), (width, width), dtype))
        distance = np.abs(np.subtract.outer(np.arange(width), np.arange(width)))
        self.mask = nnx.Variable(jnp.asarray(distance <= 2, dtype))

    def __call__(self, z, x):
        return self.activation(z @ (self.mask[...] * self.W[...]).T + x)

    def start(self, x):
        return jnp.zeros_like(x)
