"""What a run tells of itself: lines of metrics, and the summary at its end."""

from __future__ import annotations

from typing import Any

from deqzoo.data.examples import Split
from deqzoo.data.rows import thinned
from deqzoo.theory import Certificate
from deqzoo.training.devices import layout
from deqzoo.training.evaluation import Chunks, Judge
from deqzoo.training.promises import certified, guarantees
from deqzoo.training.promises.watch import Watch
from deqzoo.training.setup import Setup
from deqzoo.training.state import TrainState
from deqzoo.training.step import rebuilder

Report = dict[str, Any]
_CHUNK = 512
_TRAIN = 100_000  # examples of the training split that the summary measures


class Reporter:
    """Measures a state, and compares it with the certificate if there is one.

    Args:
        setup: of the run.
        learning_rate: as resolved.
        place: where the arrays of the run live.
        before: the last line of the metrics, of a run that is resumed.
    """

    def __init__(
        self, setup: Setup, learning_rate: Any, place: layout.Layout, before: Report | None = None
    ):
        self._setup, self._rate = setup, learning_rate
        chunk = min(_CHUNK, len(setup.train[0]))
        self._chunks = Chunks(setup.forward, chunk, place)
        self._judge = Judge(setup.loss)
        self.notes: list[str] = []
        self._watch = self._start_watch(before)

    @property
    def watches(self) -> bool:
        """Whether it wants to ``see`` the loss of every step."""
        return self._watch is not None

    def see(self, loss: float) -> None:
        """Compare the loss of a step with what is certified."""
        if self._watch is not None:
            self._watch.see(loss)

    def line(self, step: int, metrics: dict[str, float]) -> Report:
        """The line of a step that was taken."""
        examples = step * self._setup.batch_size
        report: Report = {"step": step, "epoch": examples / len(self._setup.train[0])}
        report |= metrics
        if self._watch is not None:  # the loss is that of the weights before the step
            report |= self._watch.line(step - 1, report["loss"])
        return _without_empty_alarms(report)

    def evaluation(self, state: TrainState) -> Report:
        """What an evaluation adds to the line of its step."""
        weights = layout.fetch(state.parameters)
        test = self.measure(state, self._setup.data.test)
        report: Report = {f"test_{name}": value for name, value in test.items()}
        report["contraction"] = self._contraction(weights)
        if self._watch is not None:
            network = rebuilder(self._setup.model)(weights).network()
            report |= self._watch.measure(network) if network else {}
        return _without_empty_alarms(report)

    def summary(self, state: TrainState, lines: list[Report]) -> Report:
        """What is reached at the end, on the training split by at most 100,000 examples of it."""
        train = self._measure_train(state)
        test = self.measure(state, self._setup.data.test)
        return {
            "summary": True,
            "step": int(state.step),
            **{f"train_{name}": train[name] for name in ("loss", "accuracy") if name in train},
            **{f"test_{name}": value for name, value in test.items()},
            "contraction": self._contraction(layout.fetch(state.parameters)),
            **self._promises(lines),
        }

    def measure(self, state: TrainState, split: Split) -> dict[str, float]:
        """Loss, accuracy and statistics of the solves on a split."""
        x, y = self._setup.on_host(split)
        return self._judge(*self._chunks(state.parameters, x), y)

    def _measure_train(self, state: TrainState) -> dict[str, float]:
        whole = self._setup.data.train
        some = Split(*(thinned(array, _TRAIN) for array in whole))
        found = self.measure(state, some)
        if self._setup.loss.is_sum:
            found["loss"] *= len(whole.x) / len(some.x)
        return found

    def _contraction(self, weights: dict[str, Any]) -> float:
        """The largest L‖W‖₂ over the constrained matrices."""
        limits = self._setup.model.norm_limits()
        return max(guarantees.contraction_factors(weights, limits).values(), default=0.0)

    def _promises(self, lines: list[Report]) -> Report:
        """Whether the start was certified, and how the run compares."""
        if self.certificate is None:
            return {}
        return {
            "certified": self.certificate.certified,
            "loss_ratio": max((line.get("loss_ratio", 0.0) for line in lines), default=0.0),
            "alarms": sum(len(line.get("alarms", ())) for line in lines),
        }

    @property
    def certificate(self) -> Certificate | None:
        """Of the start."""
        return self._setup.certificate

    def _start_watch(self, before: Report | None) -> Watch | None:
        """The comparison with the certificate, going on where the metrics end."""
        if self.certificate is None:
            return None
        config, optimizer = self._setup.config, self._setup.optimizer
        network, _ = certified.require_wide_square(self._setup.model, self._setup.loss)
        missing = certified.what_is_missing(config, optimizer)
        if missing:
            self.notes.append(f"no certified bound for this run: it needs {', '.join(missing)}")
        return Watch(
            self.certificate,
            network,
            self._setup.train[0],
            self._rate,
            applies=not missing,
            predicts=certified.is_descent(config, optimizer),
            before=None if before is None else before["loss"],
        )


def join(line: Report, evaluation: Report) -> Report:
    """One line of both, with the alarms of both."""
    alarms = [*line.get("alarms", ()), *evaluation.get("alarms", ())]
    return {**line, **evaluation, **({"alarms": alarms} if alarms else {})}


def _without_empty_alarms(report: Report) -> Report:
    return {name: value for name, value in report.items() if name != "alarms" or value}
