"""The same model without its equilibrium: one evaluation of the cell in place of the solve."""

from __future__ import annotations

from typing import Any

from flax import nnx

from deqzoo.nn.explicit import Explicit
from deqzoo.nn.model import Model


class Without(Model):
    """Outputs = head(f(z0, x), x): stem, cell f, head and start z0 are those of another model.

    An explicit network with the parameters of the model, to be trained as it is: what the
    equilibrium is worth is what it does better. Everything that trains and judges models takes it,
    and its solutions say EXPLICIT.

    Args:
        model: shares its arrays with this one.

    Example:
        >>> import deqzoo
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from deqzoo.models.classifier import Classifier
        >>> from deqzoo.zoo.without import Without
        >>> model, x = Classifier((4,), 2, activation="tanh", rngs=nnx.Rngs(0)), jnp.ones((1, 4))
        >>> outputs, solution = Without(model)(x)
        >>> bool(jnp.allclose(outputs, model.outputs(jnp.tanh(model.inputs(x)))))
        True
        >>> solution.stats.status.tolist() == [deqzoo.Status.EXPLICIT]
        True
    """

    def __init__(self, model: Model):
        self.inner = model
        self.activation = model.activation
        self.deq = Explicit(_Forgetful(model.deq.cell))

    def stem(self, x: Any) -> Any:
        """That of the model."""
        return self.inner.stem(x)

    def head(self, z: Any, injected: Any) -> Any:
        """That of the model."""
        return self.inner.head(z, injected)


class _Forgetful(nnx.Module):
    def __init__(self, cell: Any):
        self.cell = cell

    def __call__(self, z: Any, x: Any) -> Any:
        del z
        return self.cell(self.cell.start(x), x)

    def start(self, x: Any) -> Any:
        return self.cell.start(x)
