"""A sum and how much it is a sum of: what parts of a data set add up to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Shaped


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Tally:
    """(sum, count) of every example, or of all of them; the tally of a whole is that of its parts.

    Means of means are wrong where parts differ in size: sums and counts are added up, over
    examples, batches and devices, and divided once.

    Attributes:
        sum: (batch,), or a scalar once it is merged.
        count: of the entries that were summed, likewise.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo.data.tally import Tally
        >>> values = jnp.array([[1.0, 2.0], [3.0, 9.0]])
        >>> each = Tally.over(values, values < 5, each=True)
        >>> each.sum.tolist(), each.count.tolist()
        ([3.0, 3.0], [2.0, 1.0])
        >>> whole = each.merged()
        >>> float(whole.sum), float(whole.count)
        (6.0, 3.0)
    """

    sum: Any
    count: Any

    @classmethod
    def over(
        cls, values: Shaped[Array, "batch ..."], kept: Bool[Array, "batch ..."], *, each: bool
    ) -> Tally:
        """Of the values that are kept, summed in at least float32.

        Args:
            values: of any rank.
            kept: which of them count, of the same shape.
            each: of every example by itself, or of all at once.
        """
        axes = tuple(range(int(each), values.ndim))
        values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
        return cls(
            jnp.sum(jnp.where(kept, values, 0), axis=axes),
            jnp.sum(kept, axis=axes, dtype=values.dtype),
        )

    def merged(self) -> Tally:
        """Of all examples."""
        return jax.tree.map(lambda leaf: leaf.sum(axis=0), self)
