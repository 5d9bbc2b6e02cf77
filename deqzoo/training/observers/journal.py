"""The record of a run in its own folder, where a resumed run goes on."""

from __future__ import annotations

from deqzoo.storage.workdir import Workdir
from deqzoo.training.devices import processes
from deqzoo.training.observer import Observer


class Journal(Observer):
    """Writes metrics.jsonl line by line, and summary.json at the end, in the first process.

    Args:
        workdir: of the run.
    """

    def __init__(self, workdir: Workdir):
        self._workdir = workdir

    def at_report(self, report):
        """Add the line."""
        if processes.is_lead():
            self._workdir.append_metrics(report)
        return {}

    def summary(self, end):
        """Write it."""
        if processes.is_lead():
            self._workdir.write_summary(end.summary)
        return {}
