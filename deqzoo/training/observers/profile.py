"""A trace of some steps, for TensorBoard's profiler or Perfetto."""

from __future__ import annotations

import contextlib

import jax

from deqzoo.training.observer import Observer


class Profile(Observer):
    """Writes a trace of the steps in ``steps`` to ``<workdir>/profile``.

    Args:
        steps: numbers of steps, counted from 1.
    """

    def __init__(self, steps: range):
        self._steps, self._running = steps, False
        self._mark = contextlib.ExitStack()  # of the step that is next, in the trace

    def at_start(self, start):
        """Begin, if the first step is to be traced."""
        self._folder = start.folder / "profile"
        self._before(start.step + 1)
        return ()

    def each_step(self, step):
        """End with the last of the steps, when it is computed."""
        self._mark.close()
        if self._running and step.number == self._steps[-1]:
            jax.block_until_ready(step.state)
            self.close()
        self._before(step.number + 1)

    def close(self):
        """Write what there is, if a trace is running."""
        self._mark.close()
        if self._running:
            jax.profiler.stop_trace()
            self._running = False

    def _before(self, number: int) -> None:
        if number not in self._steps:
            return
        if not self._running:
            jax.profiler.start_trace(str(self._folder))
            self._running = True
        self._mark.enter_context(jax.profiler.StepTraceAnnotation("train", step_num=number))
