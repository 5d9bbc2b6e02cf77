"""Evaluation: outputs of a whole split in chunks of one size, and what they are worth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from deqzoo.core.solution import Solution, Stats
from deqzoo.training.devices.layout import Layout
from deqzoo.training.loss import Loss

Forward = Callable[[Any, Array], tuple[Array, Solution]]


class Chunks:
    """``chunks(state, x) -> (outputs, statistics)`` of all examples, on the host.

    Inputs pass in chunks of ``size`` examples, the last one filled up, so that one program serves
    every split and inputs may stay on disk (``Rows``).

    Args:
        forward: ``(state, x) -> (outputs, solution)``, of the arrays of a model.
        size: examples in a call.
        place: a mesh, over which each chunk is shared out; all processes have the same result.
    """

    def __init__(self, forward: Forward, size: int, place: Layout | None = None):
        def apply(state, x):
            outputs, solution = forward(state, x)
            return outputs, solution.stats

        if place is None:
            self._apply, self._put = jax.jit(apply), lambda x: x
        else:
            size = -(-size // place.shares) * place.shares
            self._apply = place.over_examples(apply)
            self._put = lambda x: place.put_batch(x)[0]
        self._size = size

    def __call__(self, state: Any, x: Any) -> tuple[np.ndarray, Stats]:
        """Every example once."""
        starts = range(0, len(x), self._size)
        parts = [jax.device_get(self.one(state, x, start)) for start in starts]
        return jax.tree.map(lambda *leaf: np.concatenate(leaf)[: len(x)], *parts)

    def one(self, state: Any, x: Any, start: int = 0) -> tuple[Array, Stats]:
        """The chunk that begins at ``start``, on the devices; the first call compiles."""
        piece = np.asarray(x[start : start + self._size])
        missing = self._size - len(piece)
        filling = np.broadcast_to(piece[:1], (missing, *piece.shape[1:]))
        return self._apply(state, self._put(np.concatenate([piece, filling])))


class Judge:
    """``judge(outputs, statistics, y)`` -> loss, accuracy (of labels) and solver statistics."""

    def __init__(self, loss: Loss):
        self._loss = loss
        self._compiled = jax.jit(self._numbers)

    def __call__(self, outputs: np.ndarray, stats: Stats, y: Any) -> dict[str, float]:
        """Over all examples at once."""
        found = jax.device_get(self._compiled(outputs, stats, np.asarray(y)))
        return {name: float(value) for name, value in found.items()}

    def _numbers(self, outputs: Array, stats: Stats, y: Array) -> dict[str, Array]:
        means, largest = solve_metrics(stats)
        return {"loss": self._loss(outputs, y), **_accuracy(outputs, y), **means, **largest}


def solve_metrics(
    stats: Stats, backward: Stats | None = None
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Means over the batch, and maxima."""
    means, largest = {}, {}
    for prefix, of in (("", stats), ("backward_", backward)):
        if of is not None:
            means[f"{prefix}solver_steps"] = jnp.mean(of.steps, dtype=jnp.float32)
            means[f"{prefix}converged"] = of.fraction_converged
            largest[f"{prefix}residual"] = worst = jnp.max(of.relative_residual)
            # In the dtype of the residual devices exchange both at once.
            largest[f"{prefix}solver_steps_max"] = jnp.max(of.steps).astype(worst.dtype)
    return means, largest


def _accuracy(outputs: Array, y: Array) -> dict[str, Array]:
    """The share of labels that are the largest output; nothing without labels."""
    if not jnp.issubdtype(y.dtype, jnp.integer):
        return {}
    return {"accuracy": jnp.mean(jnp.argmax(outputs, axis=1) == y, dtype=jnp.float32)}
