"""Which examples a step sees: a pure function of (seed, step), so that a run can be resumed."""

from __future__ import annotations

import functools
import threading
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from deqzoo.data.examples import Split
from deqzoo.training.devices.layout import Layout


class Batches:
    """``batches(step)``: inputs and targets of a step, as ``Layout.jit_step`` takes them.

    Every process reads the whole batch when the step asks for it.

    Args:
        examples: all of them, in the memory of the host or on disk (``Rows``).
        batch_size: examples a step.
        seed: of the order.
        layout: of the devices; the full batch is placed on them once.
    """

    def __init__(self, examples: Split, *, batch_size: int, seed: int, layout: Layout):
        self._examples, self._size = examples, batch_size
        self._seed, self._layout = seed, layout
        whole = batch_size == examples.examples
        self._whole = layout.put_batch(*jax.tree.map(np.asarray, examples)) if whole else None

    def __call__(self, step: int) -> tuple[Any, ...]:
        """The batch of step ``step``, counted from 0."""
        if self._whole is not None:
            return self._whole
        chosen = indices(self._seed, step, self._examples.examples, self._size)
        return self._layout.feed(*self._examples.at(chosen))

    def state(self, step: int) -> dict[str, Any]:
        """What a checkpoint before step ``step`` must hold of the data: nothing."""
        del step
        return {}

    def restore(self, step: int, state: dict[str, Any]) -> None:
        """Go on before step ``step``, from what ``state(step)`` returned."""

    def close(self) -> None:
        """Release what reads ahead: nobody."""


def indices(seed: int, step: int, examples: int, batch_size: int) -> Int[np.ndarray, " batch_size"]:
    """Indices of the batch of step ``step`` (counted from 0).

    Epochs are independent permutations laid end to end; batches are cut from that stream, all of
    one size.

    Args:
        seed: seed of the permutations.
        step: steps taken so far.
        examples: size of the training set.
        batch_size: examples a step; the whole set in its own order when equal to ``examples``.
    """
    if batch_size == examples:
        return np.arange(examples)
    first, last = step * batch_size, (step + 1) * batch_size
    epochs = range(first // examples, (last - 1) // examples + 1)
    parts = []
    for epoch in epochs:
        start = epoch * examples
        with _ONE_AT_A_TIME:
            order = _permutation(seed, epoch, examples)
        parts.append(order[max(first - start, 0) : last - start])
    return np.concatenate(parts)


_ONE_AT_A_TIME = threading.Lock()  # threads that read ahead need the same permutation


@functools.lru_cache(maxsize=2)  # two epochs meet in a batch
def _permutation(seed: int, epoch: int, examples: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(examples)
