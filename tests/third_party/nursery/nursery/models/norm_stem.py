"""BatchNorm and dropout before an equilibrium."""

import math

import jax.numpy as jnp
from flax import nnx

from deqzoo import DEQ, catalog
from deqzoo.nn import Model, WideCell


class NormStem(Model):
    """z = φ(Wz + dropout(norm(Ux))); the statistics and the masks change once per step."""

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
        self.norm = nnx.BatchNorm(width, momentum=0.9, param_dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        cell = WideCell(width, self.activation, rngs=rngs, dtype=dtype)
        self.deq = DEQ(cell, solver=solver, adjoint=adjoint)
        self.outputs = nnx.Linear(width, outputs, param_dtype=dtype, rngs=rngs)

    def stem(self, x):
        """Normalised over the batch in training, by the running statistics after it."""
        return self.dropout(self.norm(self.inputs(x.reshape(x.shape[0], -1))))

    def head(self, z, injected):
        """Logits."""
        return self.outputs(z)

    def guarantees(self):
        """L‖W‖₂ < 1, whatever the stem."""
        return (self.deq.cell.guarantee("deq", "cell"),)
