"""Batches that Grain reads ahead, in every process its own share of each."""

from __future__ import annotations

from typing import Any

import jax

from deqzoo.training.batches import Drawn
from deqzoo.training.config import ConfigError
from deqzoo.training.devices.layout import Layout

_STEPS = 2**62  # more than any run takes
_THREADS = 8
_AHEAD = 8  # batches in memory besides the one in use


class GrainBatches:
    """``batches(step)`` as in ``Batches``: the same examples in the same order, read ahead.

    Threads of Grain read the rows of the next batches while the devices compute, and only those
    rows that live on devices of this process. So a batch is the same array whatever the number of
    processes and devices. Grain's own shuffle is not used: it handles every example by itself in
    Python, which took ten times as long as the rest and made the training wait.

    Args:
        drawn: what a step sees, in all processes together.
        layout: which rows of a batch live here.

    Raises:
        ConfigError: Grain is not installed.
    """

    def __init__(self, drawn: Drawn, layout: Layout):
        grain = require_grain()
        own = layout.own_rows(drawn.batch_size)

        def read(step: int) -> tuple[Any, Any]:
            x, y = drawn(step, own)
            return x, y

        steps = grain.MapDataset.range(_STEPS).map(read)
        ahead = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_AHEAD)
        self._batches = iter(steps.to_iter_dataset(ahead))
        self._layout, self._size = layout, drawn.batch_size
        self._next = 0

    def __call__(self, step: int) -> tuple[jax.Array, ...]:
        """The batch of step ``step``, counted from 0; in turn, or else the reading starts anew."""
        self._go_to(step)
        self._next += 1
        return self._layout.put_own(self._size, *next(self._batches))

    def state(self, step: int) -> dict[str, Any]:
        """Grain's own state before step ``step``: how many batches were used, not how many read."""
        self._go_to(step)
        return self._batches.get_state()

    def restore(self, step: int, state: dict[str, Any]) -> None:
        """Go on before step ``step``, from what ``state(step)`` returned."""
        self._batches.set_state(state or {"next_index": step})
        self._next = step

    def close(self) -> None:
        """Stop reading ahead."""
        self._batches.close()

    def _go_to(self, step: int) -> None:
        """Where a step was refused (its loss was not finite), the next one has its number."""
        if step != self._next:
            self.restore(step, {})


def require_grain() -> Any:
    """The package grain.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import grain
    except ImportError as error:
        raise ConfigError(
            f"--loader=grain needs the package grain ({error}): pip install 'deqzoo[data]'"
        ) from error
    return grain
