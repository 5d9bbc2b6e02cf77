"""A causal equilibrium over the tokens of a text."""

import jax.numpy as jnp
from flax import nnx

from deqzoo import DEQ, catalog
from deqzoo.nn import Model


class NextToken(Model):
    """z_t = φ(W z_t + V z_{t-1} + e(x_t)), z_{-1} = 0; logits of the next token at every t."""

    def __init__(
        self,
        spec,
        outputs,
        *,
        activation="tanh",
        width=12,
        solver="auto",
        adjoint="implicit",
        rngs,
        dtype=jnp.float32,
    ):
        self.activation = catalog.activations.get(activation)
        self.table = nnx.Embed(spec.size, width, param_dtype=dtype, rngs=rngs)
        cell = _Cell(self.activation, width, rngs, dtype)
        self.deq = DEQ(cell, solver=solver, adjoint=adjoint)
        self.outputs = nnx.Linear(width, outputs, param_dtype=dtype, rngs=rngs)

    def stem(self, x):
        """The row of every token."""
        return self.table(x)

    def head(self, z, injected):
        """Logits at every place."""
        return self.outputs(z)


class _Cell(nnx.Module):
    def __init__(self, activation, width, rngs, dtype):
        self.activation = activation
        small = {"param_dtype": dtype, "kernel_init": nnx.initializers.normal(0.2 / width**0.5)}
        self.here = nnx.Linear(width, width, rngs=rngs, **small)
        self.before = nnx.Linear(width, width, use_bias=False, rngs=rngs, **small)

    def __call__(self, z, x):
        earlier = jnp.pad(z, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        return self.activation(self.here(z) + self.before(earlier) + x)

    def start(self, x):
        return jnp.zeros_like(x)
