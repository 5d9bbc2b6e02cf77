"""Runs that differ only in seed and learning rate, trained as one program: a lane each.

The step of ``launch.train`` is mapped over the lanes with ``vmap``; seed and learning rate are
arguments, so that every lane draws its own batches and computes what its run alone would, up to
rounding. A solve goes on until the slowest lane is finished.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.data.examples import Split
from deqzoo.storage import checkpoint
from deqzoo.storage.checkpoint import Checkpoints, Keep
from deqzoo.storage.workdir import Workdir
from deqzoo.sweeps.kept import Kept
from deqzoo.sweeps.mapped import mapped
from deqzoo.training import batches
from deqzoo.training.advance import advance
from deqzoo.training.config import ConfigError, TrainConfig
from deqzoo.training.devices.layout import Layout
from deqzoo.training.devices.preemption import Stop
from deqzoo.training.options import RunOptions
from deqzoo.training.reporter import Reporter
from deqzoo.training.setup import Setup
from deqzoo.training.state import TrainState
from deqzoo.training.training import Training

Row = dict[str, Any]
_FREE: Any = {"seed": 0, "learning_rate": None, "workdir": ""}
_OURS = ("lane", "seconds")  # what the lines of one run do not hold


class Lanes:
    """Several runs in lock step: new, or continued from the last good checkpoint of all.

    Every run has its own folder, opened as ``launch.train`` opens it; ``leave`` gives it its
    metrics, its checkpoints and its summary. Until then checkpoints and metrics of all stand in
    ``workdir``. A lane whose loss or gradient is not finite stays at its last good state.

    Args:
        configs: of the runs, each with a folder of its own.
        workdir: where the unfinished runs are kept; locked by the caller.

    Attributes:
        step: steps taken.
        ended: whether the last report has shown that all lanes failed.
        notes: sentences about how the runs were opened.

    Raises:
        ConfigError: the runs differ in more than seed, learning rate and folder.
        WorkdirError: a folder belongs to another run or process.
        CheckpointError: every checkpoint is damaged.
    """

    def __init__(self, configs: Sequence[TrainConfig], workdir: Workdir):
        _require_alike(configs)
        self.configs = tuple(configs)
        self.workdir = workdir
        self.notes: list[str] = []
        self.ended = False
        self._config = configs[0]
        starts = [_open(each) for each in configs]
        self._setup = setup = starts[0].setup
        self._states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(s.state for s in starts))
        dtype = jax.tree.leaves(self._states.parameters)[0].dtype
        self._rates = jnp.asarray([start.rate for start in starts], dtype)
        self._seeds = jnp.asarray([each.seed for each in configs], jnp.uint32)
        self._drawn = [setup.drawn(each.seed) for each in configs]
        # Images that every lane moves in its own way are handed to it step by step.
        shared = setup.data.augmentation is None
        self._data = Split(*jax.tree.map(jnp.asarray, setup.train)) if shared else None
        self._reporter = Reporter(setup, starts[0].layout)
        self._step = mapped(setup)
        with contextlib.ExitStack() as undo:
            self._keep = Keep(self._config.keep, self._config.keep_best, self._config.keep_every)
            self._kept = Kept(self._keep, len(configs))
            self._checkpoints = _checkpoints(workdir, self._kept)
            undo.callback(self._checkpoints.close)
            self.step = self._restore()
            self._undo = undo.pop_all()

    @property
    def finished(self) -> bool:
        """Whether there is no step left that any lane could take."""
        return self.step >= self._config.steps or len(self.failures()) == len(self.configs)

    def failures(self) -> dict[int, str]:
        """Lane -> why it stopped before the others."""
        return {
            lane: f"the loss or its gradient was not finite at step {taken + 1}"
            for lane, taken in enumerate(np.asarray(self._states.step).tolist())
            if taken < self.step
        }

    def reports(self, stop: Stop | None = None) -> Iterator[Row]:
        """Train; yields step, mean loss and number of good lanes every ``log_every`` steps.

        Args:
            stop: asked after every step; once true, the generator ends.
        """
        rows, now = self.workdir.read_metrics(), time.perf_counter()
        self._clock = now, self.step
        self._began = now - (rows[-1]["seconds"] if rows else 0.0)
        yield from advance(self, self._config, stop)

    # What the loop asks of them.

    def take_step(self, number: int) -> dict[str, jax.Array]:
        """Hand the next step of all lanes to the devices; returns its numbers, which stay there."""
        chosen, data = (None, self._own()) if self._data is None else (self._chosen(), self._data)
        self._states, numbers = self._step(
            self._rates, self._seeds, self._states, chosen, self.step, *data
        )
        self.step = number
        return numbers

    def report(self, step: int, numbers: dict[str, jax.Array], *, evaluated: bool = False) -> Row:
        """Write the lines of a step; an evaluation looks at the present states."""
        rows, times = self._rows(step, numbers, evaluated), self._times(step)
        if evaluated:
            self._judge(rows)
        for row in rows:
            self.workdir.append_metrics(row | times)
        failed = self.failures()
        losses = [row["loss"] for row in rows if row["lane"] not in failed]
        self.ended = not losses
        loss = float(np.mean(losses)) if losses else None
        return {"step": step, "loss": loss, "lanes": len(losses)}

    def checkpoint(self, report: Row) -> None:
        """Save the present states."""
        del report
        self.save()

    def save(self) -> None:
        """Save the states of all lanes and wait until they are on disk."""
        if self.step not in self._checkpoints.steps():
            self.workdir.sync_metrics()
            self._checkpoints.save(self.step, self._states, -self.step)  # each lane has its own
        self._checkpoints.wait()

    def leave(self) -> None:
        """Give every run its metrics, its last good state and, unless it failed, its summary."""
        # First of all lanes: a run is found in its folder only when all of them are saved here.
        self.save()
        rows, failed = self.workdir.read_metrics(), self.failures()
        with contextlib.ExitStack() as stack:
            folders = [
                stack.enter_context(contextlib.closing(self._opened(each))) for each in self.configs
            ]
            self._hand_over(folders)
            for lane, (config, kept) in enumerate(zip(self.configs, folders, strict=True)):
                own = [row for row in rows if row["lane"] == lane]
                left = _Left(Workdir(config.workdir), kept, self._lane(lane), lane in failed)
                left.write(own, self._reporter)

    def _opened(self, config: TrainConfig) -> Checkpoints:
        return _checkpoints(Workdir(config.workdir), self._keep)

    def _hand_over(self, folders: Sequence[Checkpoints]) -> None:
        """Give every run the earlier states that it would have kept."""
        saved = self._checkpoints.steps()
        for step in saved[:-1]:
            states = checkpoint.fill(self._states, self._checkpoints.read(step))
            for lane, kept in enumerate(folders):
                own = self._kept.of(lane, saved)
                state = jax.tree.map(lambda leaf, lane=lane: leaf[lane], states)
                # A lane that has failed stands still at a step of its own.
                if step in own and state.step == step and step not in kept.steps():
                    kept.save(step, state, own[step])

    def close(self) -> None:
        """Finish writing."""
        self.workdir.close_metrics()
        self._undo.close()

    def _restore(self) -> int:
        restored = self._checkpoints.restore_latest()
        if restored is None:
            self.workdir.keep_metrics_until(0)
            return 0
        for step, reason in restored.skipped:
            place = self._checkpoints.set_aside(step)
            self.notes.append(f"checkpoint {reason}; kept as {place.name}")
        self._states = jax.tree.map(jnp.asarray, checkpoint.fill(self._states, restored.state))
        self.workdir.keep_metrics_until(restored.step)
        self._judge(self.workdir.read_metrics())
        self.notes.append(f"resumed from step {restored.step} of {self._config.steps}")
        return restored.step

    def _chosen(self) -> np.ndarray | None:
        """The examples of every lane; None where every step takes all."""
        examples, size = self._setup.train.examples, self._setup.batch_size
        if size == examples:
            return None
        of = lambda config: batches.indices(config.seed, self.step, examples, size)  # noqa: E731
        return np.stack([of(config) for config in self.configs]).astype(np.int32)

    def _own(self) -> Split:
        """The batch of every lane."""
        return jax.tree.map(lambda *each: np.stack(each), *(d(self.step) for d in self._drawn))

    def _rows(self, step: int, numbers: dict[str, jax.Array], evaluated: bool) -> list[Row]:
        """The line of every run as it would write it alone, and its lane."""
        values = {name: np.asarray(value) for name, value in numbers.items()}
        rows = []
        for lane in range(len(self.configs)):
            own = {name: float(value[lane]) for name, value in values.items()}
            row = self._reporter.line(step, own) | {"lane": lane}
            rows.append(row | (self._reporter.evaluation(self._lane(lane)) if evaluated else {}))
        return rows

    def _judge(self, rows: Sequence[Row]) -> None:
        """Take down what evaluations have found of lanes that had not failed."""
        taken = np.asarray(self._states.step)
        for row in rows:
            if row["step"] <= taken[row["lane"]]:
                self._kept.judge(row["lane"], row["step"], self._reporter.score(row))

    def _times(self, step: int) -> Row:
        """How fast it went since the lines before, and seconds since the start, without breaks."""
        now = time.perf_counter()
        before, reported = self._clock
        self._clock = now, step
        rate = (step - reported) * self._setup.batch_size / (now - before)
        return {"examples_per_second": rate, "seconds": now - self._began}

    def _lane(self, lane: int) -> TrainState:
        return jax.tree.map(lambda leaf: leaf[lane], self._states)


class _Start(NamedTuple):
    """What opening a run gives."""

    setup: Setup
    layout: Layout
    state: TrainState
    rate: float


def _checkpoints(workdir: Workdir, keep: Keep | Kept) -> Checkpoints:
    run = workdir.read_config()
    return Checkpoints(workdir.checkpoints, writable=True, keep=keep, run=run)


def _open(config: TrainConfig) -> _Start:
    with contextlib.closing(Training(config, RunOptions(mesh="data:1"))) as training:
        rate = training.record["resolved"]["learning_rate"]
        return _Start(training.setup, training.layout, training.state, rate)


def _require_alike(configs: Sequence[TrainConfig]) -> None:
    if len({replace(config, **_FREE) for config in configs}) != 1:
        raise ConfigError(
            "runs that are trained as one program may differ in seed, learning_rate and workdir "
            f"only, got {list(configs)}"
        )


class _Left(NamedTuple):
    """What a run has when the others are left."""

    workdir: Workdir
    checkpoints: Checkpoints
    state: TrainState
    failed: bool

    def write(self, rows: list[Row], reporter: Reporter) -> None:
        """Its metrics, last checkpoint and, unless it has failed, summary."""
        found = reporter.summary(self.state)
        step = found["step"]
        self.workdir.keep_metrics_until(0)
        for row in rows:
            if row["step"] <= step:
                own = {key: value for key, value in row.items() if key not in _OURS}
                self.workdir.append_metrics(own)
        self.workdir.close_metrics()
        if step not in self.checkpoints.steps():
            self.checkpoints.save(step, self.state, reporter.score(found))
        self.checkpoints.wait()
        if not self.failed:
            seconds = rows[-1]["seconds"] if rows else 0.0
            ends = {"best_step": self.checkpoints.best_step(), "seconds": seconds}
            self.workdir.write_summary({**found, **ends})
