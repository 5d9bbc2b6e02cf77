"""The base of models of sequences: tokens become vectors, every position has outputs."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.data.spec import Spec, described
from deqzoo.nn.model import Model

_TINY = 1e-6


class SequenceModel(Model):
    """Tokens (batch, length) -> outputs (batch, length, outputs), A z_t/rms(z_t) + c.

    To write one, derive from it, set ``deq`` and define ``stem``.

    Args:
        spec: of one example, a row of tokens.
        outputs: classes of a position.
        activation: φ, an activation or its recipe.
        embedding: numbers of a token.
        width: of the state of a position.
        rngs: the stream ``params`` draws the vectors of the tokens and A in this order.
        dtype: of all parameters.

    Raises:
        ValueError: an example is no row of tokens.
    """

    example_task = "parity(length=16, examples=256)"

    def __init__(
        self,
        spec: Any,
        outputs: int,
        *,
        activation: Activation | str,
        embedding: int,
        width: int,
        rngs: nnx.Rngs,
        dtype: DTypeLike,
    ):
        row = _row(spec)
        (self.length,) = row.shape
        self.activation = catalog.activations.get(activation)
        given = {"param_dtype": dtype, "dtype": dtype, "rngs": rngs}
        self.table = nnx.Embed(
            row.size, embedding, embedding_init=nnx.initializers.normal(1.0), **given
        )
        self.outputs = nnx.Linear(width, outputs, param_dtype=dtype, rngs=rngs)

    def head(
        self, z: Float[Array, "batch length width"], injected: Any
    ) -> Float[Array, "batch length outputs"]:
        """A z_t/rms(z_t) + c."""
        del injected
        return self.outputs(unit(z))


def unit(z: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
    """Vectors whose entries have a mean square of one: z/rms(z)."""
    square = jnp.mean(jnp.square(z), axis=-1, keepdims=True)
    return z * lax.rsqrt(square + jnp.asarray(_TINY, z.dtype))


def _row(spec: Any) -> Any:
    if isinstance(spec, Spec) and spec.size is not None and len(spec.shape) == 1:
        return spec
    raise ValueError(
        f"this model takes rows of tokens, and an example is {described(spec)}: choose a task of "
        "sequences, such as text or parity"
    )
