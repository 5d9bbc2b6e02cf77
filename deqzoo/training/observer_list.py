"""The observers of one run, asked one after another."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import jax

from deqzoo.settings import told
from deqzoo.training.observer import Complaint, End, Evaluation, Observer, Report, Start, Step


class ObserverError(Complaint):
    """An observer failed; the message names it and what it was asked."""


class ObserverList:
    """Asks every observer in turn and joins what they answer.

    Args:
        observers: in the order in which they are asked.

    Raises:
        Complaint: an observer says that the run should stop; from every method.
        ObserverError: it failed.
    """

    def __init__(self, observers: Iterable[Observer]):
        self._observers = tuple(observers)
        self._started = contextlib.ExitStack()

    @property
    def reads_every_step(self) -> bool:
        """Whether any of them does."""
        return any(each.reads_every_step for each in self._observers)

    def at_start(self, start: Start) -> list[str]:
        """The sentences of all of them."""
        notes: list[str] = []
        for each in self._observers:
            notes += _ask(each.at_start, start)
            self._started.callback(each.close)
        return notes

    def each_step(self, step: Step) -> None:
        """Tell them of the step."""
        for each in self._observers:
            _ask(each.each_step, step)

    def at_evaluation(self, evaluation: Evaluation) -> Report:
        """The line with their entries."""
        for each in self._observers:
            entries = _ask(each.at_evaluation, evaluation)
            evaluation = replace(evaluation, report=_joined(evaluation.report, entries, each))
        return evaluation.report

    def at_report(self, report: Report) -> Report:
        """The line with their entries."""
        for each in self._observers:
            report = _joined(report, _ask(each.at_report, report), each)
        return report

    def summary(self, end: End) -> Report:
        """The summary with their entries."""
        for each in self._observers:
            end = replace(end, summary=_joined(end.summary, _ask(each.summary, end), each))
        return end.summary

    def close(self) -> None:
        """Close those that were started, the last one first."""
        self._started.close()


def _ask(question: Callable[[Any], Any], about: Any) -> Any:
    try:
        return question(about)
    except (Complaint, jax.errors.JaxRuntimeError):  # a lost device is no fault of the observer
        raise
    except Exception as error:
        observer, name = type(question.__self__).__name__, question.__name__  # pyright: ignore
        raise ObserverError(f"the observer {observer} failed in {name} ({told(error)})") from error


def _joined(report: Report, entries: Report, observer: Observer) -> Report:
    """Both; lists of one name end to end."""
    ours = {name: value for name, value in entries.items() if name in report}
    for name, value in ours.items():
        if not (isinstance(value, list) and isinstance(report[name], list)):
            raise ObserverError(
                f"the observer {type(observer).__name__} adds {name!r}, which the report has "
                f"already ({report[name]!r}, now {value!r}): give the entry another name"
            )
    return {**report, **entries, **{name: [*report[name], *ours[name]] for name in ours}}
