"""How fast a run goes."""

from __future__ import annotations

import time

from deqzoo.training.observer import Observer


class Clock(Observer):
    """Adds ``examples_per_second`` since the line before, and ``seconds`` at the end.

    Args:
        batch_size: examples a step.
    """

    def __init__(self, batch_size: int):
        self._batch_size = batch_size

    def at_start(self, start):
        """Begin."""
        self._started = self._before = time.perf_counter()
        self._reported = start.step
        return ()

    def at_report(self, report):
        """Examples of the steps since the line before, over the seconds since then."""
        now, done = time.perf_counter(), report["step"]
        examples = (done - self._reported) * self._batch_size
        seconds = max(now - self._before, 1e-9)
        self._before, self._reported = now, done
        return {"examples_per_second": examples / seconds}

    def summary(self, end):
        """All in all, compilation included."""
        del end
        return {"seconds": time.perf_counter() - self._started}
