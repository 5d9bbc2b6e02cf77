"""The convex loss that belongs to a monotone activation of the outputs."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from deqzoo import catalog
from deqzoo.data.loss import Loss

if TYPE_CHECKING:
    from deqzoo.activation.contract import Activation

__all__ = ["Matching"]


@dataclass(frozen=True)
class Matching(Loss):
    """Mean over all entries of Φ(ŷ) - y ŷ, Φ = ∫₀ φ: φ(ŷ) is to be y. Labels become one-hot rows.

    Its slope φ(ŷ) - y does not vanish where φ is flat, as that of the square loss does, and of φ
    that do not fall it is convex in the outputs, and so in an affine read-out. ``sigmoid`` gives
    the binary cross-entropy of every class, less log 2. It may be negative. Entries labelled -1 do
    not count.

    Attributes:
        activation: the recipe of φ, monotone; a learnable one is taken as it starts.

    References:
        Diakonikolas et al., "Approximation Schemes for ReLU Regression", arXiv 2005.12844.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo import catalog
        >>> loss = catalog.losses.get("matching(activation='relu')")
        >>> print(loss(jnp.array([[3.0, -1.0]]), jnp.array([[3.0, 0.0]])))  # (9/2 - 9 + 0)/2
        -2.25
    """

    activation: str = "sigmoid"

    def __post_init__(self):
        super().__post_init__()
        if not self._plug_in.is_monotone:
            raise ValueError(
                f"activation must not fall, for the matching loss to be convex, and "
                f"{self.activation} does: take sigmoid, relu or another monotone one"
            )

    def entries(self, outputs, targets):
        """One a number."""
        if jnp.issubdtype(targets.dtype, jnp.integer):
            kept = jnp.broadcast_to(targets[..., None] >= 0, outputs.shape)
            targets = jax.nn.one_hot(targets, outputs.shape[-1], dtype=outputs.dtype)
        else:
            kept = jnp.ones(outputs.shape, bool)
        return self._plug_in.primitive(outputs) - targets.astype(outputs.dtype) * outputs, kept

    @functools.cached_property
    def _plug_in(self) -> Activation:
        return catalog.activations.get(self.activation)
