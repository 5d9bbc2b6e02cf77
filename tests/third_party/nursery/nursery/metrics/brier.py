"""The Brier score."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from deqzoo.data.metric import CLASSES, Metric


@dataclass(frozen=True)
class Brier(Metric):
    """The mean over the labelled entries of Σ_k (p_k - 1[k = label])²; labels -1 are none."""

    takes = (CLASSES,)

    def entries(self, outputs, targets):
        """One a label."""
        right = jax.nn.one_hot(targets, outputs.shape[-1])
        error = jnp.sum(jnp.square(jax.nn.softmax(outputs) - right), axis=-1)
        return error, targets >= 0
