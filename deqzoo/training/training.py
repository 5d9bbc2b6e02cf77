"""A run in its folder: opened or resumed, trained, reported, saved."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NoReturn

import jax

from deqzoo.storage import checkpoint
from deqzoo.storage.checkpoint import Checkpoints, Keep, require_writable
from deqzoo.storage.workdir import Workdir, WorkdirError
from deqzoo.training import provenance
from deqzoo.training.advance import advance
from deqzoo.training.batches import Batches
from deqzoo.training.config import TrainConfig
from deqzoo.training.devices import mesh, processes
from deqzoo.training.devices.layout import Layout, fetch
from deqzoo.training.devices.preemption import Stop
from deqzoo.training.given import Given
from deqzoo.training.grain_batches import GrainBatches, require_grain
from deqzoo.training.observer import Complaint, End, Evaluation, Observer, Report, Start, Step
from deqzoo.training.observer_list import ObserverError
from deqzoo.training.observers.standard import standard
from deqzoo.training.options import GRAIN, RunOptions
from deqzoo.training.packed import PackedStep
from deqzoo.training.program import Program
from deqzoo.training.reporter import Reporter
from deqzoo.training.setup import Setup
from deqzoo.training.sink import open_sinks


class TrainingError(RuntimeError):
    """Training cannot go on; the message says where the last good state is and what to try."""


class Training:
    """A run in its folder: new, or continued from its last good checkpoint.

    Everything that can be wrong with the settings is found here, before any compilation of a step.
    With several processes every one of them makes the same calls; the first one writes the files.

    Args:
        config: the settings.
        options: where and how it runs.
        observers: what else watches it, in the order in which they are asked.
        given: the model and data that the settings name as objects.

    Attributes:
        setup: what the settings come to.
        layout: where the arrays live.
        notes: sentences about how the run was opened (resumed, damaged checkpoints set aside).
        record: what stands in config.json.
        state: the current ``TrainState``.

    Raises:
        ConfigError, CatalogError, TaskError: settings or data that cannot be used.
        WorkdirError: the folder belongs to another configuration or process.
        CheckpointError: every checkpoint is damaged.
        TrainingError: an observer cannot start.
    """

    def __init__(
        self,
        config: TrainConfig,
        options: RunOptions | None = None,
        observers: Iterable[Observer] = (),
        given: Given | None = None,
    ):
        self.config, self.options = config, options or RunOptions()
        self.workdir = Workdir(config.resolved_workdir)
        require_writable(self.workdir.checkpoints)
        config.import_plugins()
        sinks = open_sinks(self.options)
        if self.options.loader == GRAIN:
            require_grain()
        self.setup = Setup(config, given)
        self.notes = [*self.setup.notes]
        self.layout = self._lay_out()
        with contextlib.ExitStack() as undo:
            undo.callback(self.workdir.unlock)
            self.record = processes.decided_by_lead(self._claim)
            self.setup.take_tuned(self.record["resolved"]["optimizer"])
            self._build(self.record["resolved"]["learning_rate"])
            self._batches = self._open_batches()
            undo.callback(self._batches.close)
            keep = Keep(config.keep, config.keep_best, config.keep_every)
            self._checkpoints = Checkpoints(
                self.workdir.checkpoints, writable=True, keep=keep, run=self.record
            )
            undo.callback(self._checkpoints.close)
            self._restore()
            self._reporter = Reporter(self.setup, self.layout)
            watching = [*observers, *(sinks if processes.is_lead() else ())]
            self._observers = standard(self.setup, self.options, self.workdir, watching)
            undo.callback(self._observers.close)
            self._start()
            self._undo = undo.pop_all()

    @property
    def step(self) -> int:
        """Steps taken."""
        return int(self.state.step)

    @property
    def finished(self) -> bool:
        """Whether all steps were taken and the summary is written."""
        return self.step >= self.config.steps and self.workdir.read_summary() is not None

    def reports(self, stop: Stop | None = None) -> Iterator[Report]:
        """Train to the end; yields a report every ``log_every`` steps and at every evaluation.

        A report without evaluation is yielded when the step after it is under way, so that the
        devices never wait for it. The last report has ``"summary": True`` and is what stands in
        summary.json.

        Args:
            stop: ``stop(step)`` is asked after every step; once true, the generator ends without a
                summary.

        Raises:
            TrainingError: an observer complains, for example of a loss that is not finite, or
                fails; the last good state is saved.
        """
        if self.finished:
            yield {**(self.workdir.read_summary() or {})}
            return
        try:
            yield from self._train(stop)
        except Complaint as complaint:
            self._give_up(complaint)

    def _train(self, stop: Stop | None) -> Iterator[Report]:
        if (yield from advance(self, self.config, stop)):
            self._checkpoints.wait()
            yield self._summarise()

    # What the loop asks of a run.

    ended = False  # before its last step a run ends by a complaint

    def take_step(self, number: int) -> jax.Array:
        """Hand the next step to the devices; returns its numbers, which stay there."""
        self.state, numbers = self._step(self.state, *self._batches(number - 1))
        read = self._packed.read(numbers) if self._observers.reads_every_step else None
        self._observers.each_step(Step(number, self.state, read))
        return numbers

    def report(self, step: int, numbers: jax.Array, *, evaluated: bool = False) -> Report:
        """Write the line of a step; an evaluation looks at the present state."""
        line = self._reporter.line(step, self._packed.read(numbers))
        if evaluated:
            line |= self._reporter.evaluation(self.state)
            line = self._observers.at_evaluation(Evaluation(self.state, line))
        return self._observers.at_report(line)

    def checkpoint(self, report: Report) -> None:
        """Save the present state, of which ``report`` tells."""
        self._save(report["step"], self._reporter.score(report))

    def save(self, score: float | None = None) -> None:
        """Save the present state, whatever the intervals say, and wait until it is on disk."""
        if self.step not in self._checkpoints.steps():
            if score is None:
                score = self._reporter.score(self._measured())
            self._save(self.step, score)
        self._checkpoints.wait()

    def _measured(self) -> Report:
        """Of the present state, what it is scored by."""
        return self._reporter.measured(self.state, self.setup.data.chooser)

    def close(self) -> None:
        """Finish writing and release the folder."""
        self._undo.close()

    # Opening a run.

    def _lay_out(self) -> Layout:
        devices = mesh.build(self.options.mesh, self.setup.batch_size)
        return Layout(devices, self.setup.model)

    def _claim(self) -> dict[str, Any]:
        self.workdir.lock()
        data = self.setup.data
        record = provenance.claim(self.workdir, self.config, data.fingerprint, self.setup.resolve)
        if self.workdir.drop_damaged_summary():
            self.notes.append("summary.json was damaged and is written anew")
        if data.constants is not None:
            self.workdir.keep_constants(jax.tree.leaves(data.constants))
        return record

    def _build(self, learning_rate: float) -> None:
        program = Program(self.setup, learning_rate, self.config.seed, self.layout.mesh)
        self.state = self.layout.put_state(program.start())
        self._packed = PackedStep(program.step)
        self._step = self.layout.jit_step(self._packed, self.state)

    def _open_batches(self) -> Batches | GrainBatches:
        part = self.setup.batch_size < self.setup.train.examples  # all of them are not read ahead
        kind = GrainBatches if self.options.loader == GRAIN and part else Batches
        return kind(self.setup.drawn(self.config.seed), self.layout)

    def _restore(self) -> None:
        restored = self._checkpoints.restore_latest()
        found = -1 if restored is None else restored.step
        self._require_same_everywhere(found)
        if restored is not None:
            for step, reason in restored.skipped:
                aside = partial(self._checkpoints.set_aside, step)
                place = processes.decided_by_lead(aside)
                self._checkpoints.reload()
                self.notes.append(f"checkpoint {reason}; kept as {place.name}")
            self.state = self.layout.put_state(checkpoint.fill(self.state, restored.state))
            about = self._checkpoints.about(restored.step)
            self._batches.restore(restored.step, about.get("data", {}))
            self.notes.append(f"resumed from step {restored.step} of {self.config.steps}")
        if processes.is_lead():
            damaged = self.workdir.damaged_metrics()
            self.notes += [f"{damaged} damaged lines of metrics.jsonl dropped"] * bool(damaged)
            self.workdir.keep_metrics_until(max(found, 0))

    def _require_same_everywhere(self, step: int) -> None:
        """All processes must see the same checkpoints."""
        steps = processes.numbers_of_all(step)
        if len({*steps}) > 1:
            raise WorkdirError(
                f"the processes see different checkpoints in {self.workdir.path} (steps {steps}): "
                "--workdir must be on a file system that all of them share"
            )

    def _start(self) -> None:
        if self.finished:
            return
        lines = self.workdir.read_metrics()
        last = lines[-1] if lines and lines[-1]["step"] == self.step else None
        start = Start(self.setup, self.record, self.workdir.path, self.step, last)
        try:
            self.notes += self._observers.at_start(start)
        except Complaint as complaint:
            raise TrainingError(f"{complaint}") from complaint

    # Ending a run.

    def _give_up(self, complaint: Complaint) -> NoReturn:
        """Save, where all processes know of the complaint, and end the run."""
        saved = jax.process_count() == 1 or not isinstance(complaint, ObserverError)
        if saved:
            self.save(score=float("inf"))
        raise TrainingError(
            f"stopped after step {self.step}: {complaint}. The last good state, to look at or to "
            f"begin again from with --init_from, is {'saved' if saved else 'the newest'} in "
            f"{self.workdir.path}"
        ) from complaint

    def _save(self, step: int, score: float) -> None:
        about = {"versions": provenance.versions(), "data": self._batches.state(step)}
        self.workdir.sync_metrics()
        self._checkpoints.save(step, fetch(self.state), score, about)

    def _summarise(self) -> Report:
        summary = self._reporter.summary(self.state)
        summary["best_step"] = self._checkpoints.best_step()
        return self._observers.summary(End(self.state, self.workdir.read_metrics(), summary))


def train(config: TrainConfig, options: RunOptions | None = None) -> Iterator[Report]:
    """Train and yield reports; the folder is released when the generator ends.

    Example:
        >>> import tempfile
        >>> from deqzoo.training import TrainConfig, train
        >>> config = TrainConfig(steps=2, width=16, workdir=tempfile.mkdtemp())
        >>> [report["step"] for report in train(config)]
        [2, 2]
    """
    training = Training(config, options)
    try:
        yield from training.reports()
    finally:
        training.close()
