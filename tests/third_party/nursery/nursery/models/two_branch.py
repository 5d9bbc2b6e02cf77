"""An equilibrium of two states that drive each other."""

import math

import jax.numpy as jnp
from flax import nnx

from deqzoo import DEQ, catalog
from deqzoo.nn import Model


class TwoBranch(Model):
    """fast = φ(A slow + x), slow = φ(B fast): the state is a dictionary."""

    def __init__(
        self,
        spec,
        outputs,
        *,
        activation="tanh",
        width=24,
        solver="auto",
        adjoint="implicit",
        rngs,
        dtype=jnp.float32,
    ):
        self.activation = catalog.activations.get(activation)
        inputs = math.prod(spec.shape)
        self.inputs = nnx.Linear(inputs, width, param_dtype=dtype, rngs=rngs)
        self.deq = DEQ(_Cell(self.activation, width, rngs, dtype), solver=solver, adjoint=adjoint)
        self.outputs = nnx.Linear(width // 2, outputs, param_dtype=dtype, rngs=rngs)

    def stem(self, x):
        """Ux + b."""
        return self.inputs(x.reshape(x.shape[0], -1))

    def head(self, z, injected):
        """Logits of the slow state."""
        return self.outputs(z["slow"])


class _Cell(nnx.Module):
    def __init__(self, activation, width, rngs, dtype):
        self.activation, half = activation, width // 2
        small = {"param_dtype": dtype, "kernel_init": nnx.initializers.normal(0.2 / width**0.5)}
        self.to_fast = nnx.Linear(half, width, rngs=rngs, **small)
        self.to_slow = nnx.Linear(width, half, rngs=rngs, **small)

    def __call__(self, z, x):
        fast = self.activation(self.to_fast(z["slow"]) + x)
        return {"fast": fast, "slow": self.activation(self.to_slow(z["fast"]))}

    def start(self, x):
        return {"fast": jnp.zeros_like(x), "slow": jnp.zeros_like(x[:, ::2])}
