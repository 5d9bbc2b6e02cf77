"""Every sink: it takes the lines of a run, resumed or not, and changes none of them."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

from deqzoo import catalog
from deqzoo.testing.check import Check, require
from deqzoo.training import TrainConfig, Training
from deqzoo.training.sink import Sink

__all__ = ["check_sink"]

_RUN: dict[str, Any] = {
    "task": "sphere(examples=8, dimension=4)",
    "model": "wide",
    "width": 8,
    "loss": "square",
    "solver": "picard",
    "adjoint": "implicit(solver='picard')",
    "batch_size": "full",
    "log_every": 1,
    "eval_every": 2,
    "checkpoint_every": 2,
}


class _Watched:
    """A sink whose answers are looked at."""

    def __init__(self, sink: Sink):
        self.sink, self.lines, self.closed = sink, [], 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sink, name)

    def at_report(self, report: dict[str, Any]) -> dict[str, Any]:
        before = dict(report)
        added = self.sink.at_report(report)
        require(not added, f"a line is written when a sink sees it; it added {added}")
        require(report == before, f"it changed the line {before} to {report}")
        self.lines.append(report["step"])
        return {}

    def close(self) -> None:
        self.sink.close()
        self.closed += 1


def _a_missing_package_is_named(sink: Sink) -> None:
    if sink.package and importlib.util.find_spec(sink.package) is None:
        try:
            sink.require_installed()
        except ValueError as error:
            require(sink.package in str(error), f"the refusal does not name it: {error}")
        else:
            raise AssertionError(f"{sink.package} is missing, and nothing was said")


def _it_takes_the_lines_of_a_run_that_resumes(sink: Sink) -> None:
    if sink.package and importlib.util.find_spec(sink.package) is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        for turn, until in enumerate((2, 4), start=1):
            watched: Any = _Watched(sink)
            config = TrainConfig(steps=4, workdir=str(Path(folder) / "run"), **_RUN)
            training = Training(config, observers=[watched])
            list(training.reports(lambda step, until=until: step >= until))
            training.close()
            expected = [2 * turn - 1, 2 * turn]
            require(watched.lines == expected, f"lines of steps {watched.lines}, not {expected}")
            require(watched.closed == 1, f"it was closed {watched.closed} times")


check_sink = Check(
    "sink",
    catalog.sinks.get,
    (_a_missing_package_is_named, _it_takes_the_lines_of_a_run_that_resumes),
)
