"""Which examples a step sees: a pure function of (seed, step), so that a run can be resumed."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from deqzoo.data.augmentation import Augmentation
from deqzoo.data.examples import Split
from deqzoo.data.rows import Rows
from deqzoo.training.devices.layout import Layout


@dataclass(frozen=True)
class Drawn:
    """``drawn(step)``: the examples of a step, in the memory of the host.

    Attributes:
        examples: all of them, in the memory of the host or on disk (``Rows``).
        batch_size: examples a step.
        seed: of the order and of the augmentation.
        augmentation: what becomes of their inputs.
    """

    examples: Split
    batch_size: int
    seed: int
    augmentation: Augmentation | None = None

    def __call__(self, step: int, own: Any = slice(None)) -> Split:
        """Those of step ``step``, counted from 0, or ``own`` of them."""
        chosen = indices(self.seed, step, self.examples.examples, self.batch_size)[own]
        if self.augmentation is None:
            return self.examples.at(chosen)
        draws = self.augmentation.draws(self.seed, step, chosen)
        change = functools.partial(self.augmentation.moved, draws=draws)
        x, y = self.examples
        # Of images that are not scaled yet, black is zero.
        moved = x.changed(chosen, change) if isinstance(x, Rows) else change(x[chosen])
        return Split(moved, y[chosen])

    @property
    def is_one_for_all(self) -> bool:
        """Whether every step sees the same."""
        return self.batch_size == self.examples.examples and self.augmentation is None


class Batches:
    """``batches(step)``: inputs and targets of a step, as ``Layout.jit_step`` takes them.

    Every process reads the whole batch when the step asks for it.

    Args:
        drawn: what a step sees.
        layout: of the devices; a batch that is the same in every step is placed on them once.
    """

    def __init__(self, drawn: Drawn, layout: Layout):
        self._drawn, self._layout = drawn, layout
        self._whole = None
        if drawn.is_one_for_all:
            self._whole = layout.put_batch(*jax.tree.map(np.asarray, drawn.examples))

    def __call__(self, step: int) -> tuple[Any, ...]:
        """The batch of step ``step``, counted from 0."""
        if self._whole is not None:
            return self._whole
        return self._layout.feed(*self._drawn(step))

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
