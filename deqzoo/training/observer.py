"""The contract of an observer: it watches a run, adds to what the run reports, and may end it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from deqzoo.training.state import TrainState

if TYPE_CHECKING:
    from deqzoo.training.setup import Setup

Report = dict[str, Any]


class Complaint(Exception):
    """Raised by an observer: why the run should not go on, with advice.

    All processes of a run must raise it at the same report, as they do when it follows from what
    is reported.
    """


@dataclass(frozen=True)
class Start:
    """A run before the first step that it takes here.

    Attributes:
        setup: what the settings come to.
        record: what stands in config.json; ``record["resolved"]["learning_rate"]`` is a number.
        folder: of the run.
        step: steps taken before, of a run that is resumed.
        last: the line of that step, if there is one.
    """

    setup: Setup
    record: dict[str, Any]
    folder: Path
    step: int
    last: Report | None


@dataclass(frozen=True)
class Step:
    """A step that was handed to the devices.

    Attributes:
        number: of the step, counted from 1.
        state: after it, on the devices, which may still be computing it; the next step takes its
            arrays over.
        numbers: loss, norms and statistics of the solves; None unless an observer of the run
            ``reads_every_step``.
    """

    number: int
    state: TrainState
    numbers: dict[str, float] | None


@dataclass(frozen=True)
class Evaluation:
    """A step after which the validation and test splits were measured.

    Attributes:
        state: after it, on the devices.
        report: the line so far; not to be changed.
    """

    state: TrainState
    report: Report


@dataclass(frozen=True)
class End:
    """A run that has taken all its steps.

    Attributes:
        state: the last one, on the devices.
        lines: all lines of metrics.jsonl, those from before a resumption too.
        summary: so far; not to be changed.
    """

    state: TrainState
    lines: list[Report]
    summary: Report


class Observer:
    """What watches a run; every method does nothing until it is defined.

    To write an observer, derive from this class and give it to ``Training(..., observers=[...])``.
    A run asks its observers in the order: clock, certificate, those given to it, health, then,
    once the line stands in metrics.jsonl, sinks (``deqzoo.training.sink``). With several processes
    every one of them has the same observers, but for sinks.

    What an observer raises ends the run: the state is saved, and ``TrainingError`` says what a
    ``Complaint`` says, or names the observer and its error. The line it was asked about is not
    written. Where another process knows nothing of the error, the newest checkpoint is what stays.

    Attributes:
        reads_every_step: whether ``each_step`` needs the numbers of every step on the host, which
            then waits for the devices after every step instead of running ahead of them.

    Example:
        >>> import tempfile
        >>> from deqzoo.training import TrainConfig, Training
        >>> from deqzoo.training.observer import Observer
        >>> class Slope(Observer):
        ...     last = None
        ...     def at_report(self, report):
        ...         before, self.last = self.last, report["loss"]
        ...         return {} if before is None else {"slope": self.last - before}
        >>> config = TrainConfig(steps=2, log_every=1, width=16, workdir=tempfile.mkdtemp())
        >>> training = Training(config, observers=[Slope()])
        >>> ["slope" in report for report in training.reports()]
        [False, True, False]
        >>> training.close()
    """

    reads_every_step: ClassVar[bool] = False

    def at_start(self, start: Start) -> Sequence[str]:
        """Before the first step; returns sentences to tell. A finished run has no start."""
        del start
        return ()

    def each_step(self, step: Step) -> None:
        """After every step, as soon as it is handed to the devices."""

    def at_evaluation(self, evaluation: Evaluation) -> Report:
        """After the steps that are evaluated; returns entries for their lines."""
        del evaluation
        return {}

    def at_report(self, report: Report) -> Report:
        """For every line, evaluated or not, when the next step is under way; returns entries.

        Args:
            report: the line so far, with the numbers of its step and what ``at_evaluation`` and the
                observers before this one have added; not to be changed. An entry has a name of its
                own; only lists, such as ``"alarms"``, are joined.
        """
        del report
        return {}

    def summary(self, end: End) -> Report:
        """When all steps are taken; returns entries for summary.json."""
        del end
        return {}

    def close(self) -> None:
        """Write what is held back; called where ``at_start`` was, however the run ended."""
