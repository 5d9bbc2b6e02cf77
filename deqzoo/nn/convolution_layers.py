"""Graph convolutions one after another."""

from __future__ import annotations

from typing import Annotated

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.nn.draws import normal
from deqzoo.nn.graph_cell import Injected
from deqzoo.nn.neighbours import aggregated
from deqzoo.nn.nonlinearity import Nonlinearity
from deqzoo.settings import In, fitted

Layers = Annotated[int, In("[1, inf)")]


class ConvolutionLayers(nnx.Module):
    """H_n of H_1 = φ(u + b_1), H_{l+1} = φ(ÂH_l W_l + b_{l+1}); a state tells it nothing.

    Args:
        width: of the state of a node.
        activation: φ.
        layers: n.
        rngs: the stream ``params`` draws all W_l, entries of variance 1/width.
        dtype: of all parameters.

    Raises:
        ValueError: layers are out of range.

    Example:
        >>> import jax.numpy as jnp, activations
        >>> from flax import nnx
        >>> from deqzoo.nn.convolution_layers import ConvolutionLayers
        >>> from deqzoo.nn.graph_cell import Injected
        >>> from deqzoo.nn.neighbours import node_scale
        >>> edges = jnp.array([[[0, 1], [1, 2]]])
        >>> x = Injected(jnp.ones((1, 3, 4)), edges, node_scale(edges, 3, jnp.float32))
        >>> ConvolutionLayers(4, activations.get("relu"), rngs=nnx.Rngs(0))(None, x).shape
        (1, 3, 4)
    """

    def __init__(
        self,
        width: int,
        activation: Activation,
        *,
        layers: int = 1,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        layers = fitted("layers", layers, Layers)
        self.phi = Nonlinearity(activation, width, dtype)
        self.b = nnx.Param(jnp.zeros((layers, width), dtype))
        shape = (layers - 1, width, width)
        self.W = nnx.Param(normal(rngs, shape, width**-0.5, dtype)) if layers > 1 else None

    def __call__(self, z: object, x: Injected) -> Float[Array, "batch nodes width"]:
        """H_n."""
        del z
        b = self.b[...]
        h = self.phi(x.nodes + b[None, None, 0])
        for layer, W in enumerate([] if self.W is None else self.W[...], 1):
            h = self.phi(aggregated(h @ W, x.edges, x.scale) + b[None, None, layer])
        return h

    def start(self, x: Injected) -> Float[Array, "batch nodes width"]:
        """Zero."""
        return jnp.zeros_like(x.nodes)
