"""The error of a field as a share of the field."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp

from deqzoo.data.metric import TARGETS, Metric

__all__ = ["RelativeL2"]


@dataclass(frozen=True)
class RelativeL2(Metric):
    """The mean over the examples of ‖ŷ - y‖₂ / ‖y‖₂, every example as one vector.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo import catalog
        >>> relative = catalog.metrics.get("relative_l2")
        >>> float(relative(jnp.array([[3.0, 0.0]]), jnp.array([[3.0, 4.0]])))
        0.800000011920929
    """

    takes = (TARGETS,)

    def entries(self, outputs, targets):
        """One ratio an example."""
        axes = tuple(range(1, targets.ndim))
        norm = lambda a: jnp.sqrt(jnp.sum(jnp.square(a), axis=axes))  # noqa: E731
        ratio = norm(outputs - targets) / norm(targets)
        return ratio, jnp.ones(ratio.shape, bool)
