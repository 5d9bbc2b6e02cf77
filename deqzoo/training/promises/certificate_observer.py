"""Holds a run to the certificate of its start."""

from __future__ import annotations

from typing import Any

from deqzoo.nn.pure_model import PureModel
from deqzoo.storage import files
from deqzoo.storage.workdir import CERTIFICATE
from deqzoo.theory import Certificate
from deqzoo.training.devices import layout, processes
from deqzoo.training.observer import Observer, Report
from deqzoo.training.promises import certified
from deqzoo.training.promises.watch import Watch


class CertificateObserver(Observer):
    """Bound, prediction and alarms in every line, λ_min(G) and distances at evaluations.

    Args:
        certificate: of the start.
    """

    reads_every_step = True

    def __init__(self, certificate: Certificate):
        self._certificate = certificate
        self._losses: dict[int, float] = {}  # of steps that no line has told of

    def at_start(self, start):
        """Write certificate.json, and say where the theorem does not speak of the run."""
        setup, last = start.setup, start.last
        wide, _ = certified.require_wide_square(setup.model, setup.loss)
        missing = certified.what_is_missing(setup.config, setup.optimizer, setup.data)
        self._pure = PureModel(setup.model)
        self._watch = Watch(
            self._certificate,
            wide.network(),
            setup.train.x,
            start.record["resolved"]["learning_rate"],
            applies=not missing,
            predicts=certified.is_descent(setup.config, setup.optimizer, setup.data),
            before=None if last is None else last["loss"],
        )
        if processes.is_lead():
            files.write(start.folder / CERTIFICATE, self._certificate.to_json())
        return [f"no certified bound for this run: it needs {', '.join(missing)}"] * bool(missing)

    def each_step(self, step):
        """Keep its loss; the next one may come before the line of this step."""
        self._losses[step.number] = (step.numbers or {})["loss"]

    def at_report(self, report):
        """Bound, prediction and worst ratio of the steps since the last line."""
        for step in [step for step in self._losses if step <= report["step"]]:
            self._watch.see(self._losses.pop(step))
        # The loss of a line is that of the weights before its step.
        return _without_empty_alarms(self._watch.line(report["step"] - 1, report["loss"]))

    def at_evaluation(self, evaluation):
        """What the theorem says of the weights, measured."""
        wide: Any = self._pure.rebuild(layout.fetch(evaluation.state.model))
        return _without_empty_alarms(self._watch.measure(wide.network()))

    def summary(self, end):
        """Whether the start was certified, and how the run compares."""
        return {
            "certified": self._certificate.certified,
            "loss_ratio": max((line.get("loss_ratio", 0.0) for line in end.lines), default=0.0),
            "alarms": sum(len(line.get("alarms", ())) for line in end.lines),
        }


def _without_empty_alarms(report: Report) -> Report:
    return {name: value for name, value in report.items() if name != "alarms" or value}
