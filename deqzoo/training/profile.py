"""A trace of some steps, for TensorBoard's profiler or Perfetto."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import jax


class Profile:
    """Writes a trace of the steps in ``steps`` to ``folder``.

    Args:
        steps: numbers of steps, counted from 1.
        folder: created when the trace begins.
    """

    def __init__(self, steps: range, folder: Path):
        self._steps, self._folder = steps, folder
        self._running = False

    def step(self, number: int) -> contextlib.AbstractContextManager:
        """Around the dispatch of a step."""
        if number in self._steps and not self._running:
            jax.profiler.start_trace(str(self._folder))
            self._running = True
        if not self._running:
            return contextlib.nullcontext()
        return jax.profiler.StepTraceAnnotation("train", step_num=number)

    def done(self, number: int, state: Any) -> None:
        """After a step: the trace ends when the last of its steps is computed."""
        if self._running and number >= self._steps[-1]:
            jax.block_until_ready(state)
            self.close()

    def close(self) -> None:
        """Write what there is, if a trace is running."""
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
