"""Message passing to its equilibrium, one state a graph."""

import jax
import jax.numpy as jnp
from flax import nnx

from deqzoo import DEQ, catalog
from deqzoo.nn import Model


class Messages(Model):
    """z_v = φ(W mean_{u -> v} z_u + U x_v), with the mean over the edges that end in v."""

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
        features = spec["features"].shape[-1]
        self.inputs = nnx.Linear(features, width, param_dtype=dtype, rngs=rngs)
        cell = _Cell(self.activation, width, rngs, dtype)
        self.deq = DEQ(cell, solver=solver, adjoint=adjoint)
        self.outputs = nnx.Linear(width, outputs, param_dtype=dtype, rngs=rngs)

    def stem(self, x):
        """U x_v + b of every node, and the edges as they are."""
        return {"nodes": self.inputs(x["features"]), "edges": x["edges"]}

    def head(self, z, injected):
        """Logits of every node."""
        return self.outputs(z)


class _Cell(nnx.Module):
    def __init__(self, activation, width, rngs, dtype):
        self.activation = activation
        small = nnx.initializers.normal(0.4 / width**0.5)
        self.kernel = nnx.Linear(
            width, width, use_bias=False, param_dtype=dtype, kernel_init=small, rngs=rngs
        )

    def __call__(self, z, x):
        return self.activation(self.kernel(jax.vmap(_means)(z, x["edges"])) + x["nodes"])

    def start(self, x):
        return jnp.zeros_like(x["nodes"])


def _means(z, edges):
    source, target = edges.T
    total = jnp.zeros_like(z).at[target].add(z[source])
    return total / jnp.maximum(jnp.zeros(len(z), z.dtype).at[target].add(1), 1)[:, None]
