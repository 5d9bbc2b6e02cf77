"""An activation as a module: what it learns are parameters of the model."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.learnable import Learnable


class Nonlinearity(nnx.Module):
    """x -> φ(x), elementwise; an ordinary φ costs nothing and has no parameters.

    Args:
        activation: φ, ordinary or learnable.
        units: entries along the last axis, each of which has parameters of its own if the
            activation says ``per_unit``; else the layer shares them.
        dtype: of the parameters.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from deqzoo.nn import Nonlinearity
        >>> phi = Nonlinearity(activations.get("prelu(init=0.5)"), units=3)
        >>> phi(jnp.array([[-2.0, 0.0, 1.0]]))
        Array([[-1.,  0.,  1.]], dtype=float32)
        >>> phi.frozen().slope
        (0.5, 1.0)
    """

    def __init__(self, activation: Activation, units: int, dtype: DTypeLike = jnp.float32):
        self.activation = activation
        learned = {}
        if isinstance(activation, Learnable):
            start = activation.initial((units,) if activation.per_unit else ())
            learned = {name: nnx.Param(jnp.asarray(p, dtype)) for name, p in start.items()}
        self.learned = nnx.data(learned)

    def __call__(self, x: Float[Array, "batch *middle units"]) -> Array:
        """φ(x) at the parameters as they are."""
        if not isinstance(self.activation, Learnable):
            return self.activation(x)
        return self.activation.evaluate(self.parameters(), x)

    def parameters(self) -> dict[str, Array]:
        """Name -> what is learned, as it is; empty of an ordinary φ."""
        return {name: parameter[...] for name, parameter in self.learned.items()}

    def frozen(self) -> Activation:
        """φ at the parameters as they are, as an ordinary activation with exact bounds.

        Raises:
            ValueError: every unit has parameters of its own.
        """
        if not isinstance(self.activation, Learnable):
            return self.activation
        return self.activation.frozen(self.parameters())


def learned_activations(model: nnx.Module) -> list[tuple[Learnable, dict[str, Array]]]:
    """Every learnable activation inside a module, with its parameters as they are."""
    layers = [each for _, each in nnx.iter_graph(model) if isinstance(each, Nonlinearity)]
    return [
        (layer.activation, layer.parameters())
        for layer in layers
        if isinstance(layer.activation, Learnable)
    ]
