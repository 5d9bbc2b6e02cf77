"""The training loop: a generator of reports over a resumable run."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo import catalog
from deqzoo.task import Data, Split
from deqzoo.theory import Certificate
from deqzoo.training import batches, certified, checkpoint, guarantees, provenance
from deqzoo.training.certified import is_asked_for
from deqzoo.training.checkpoint import Checkpoints
from deqzoo.training.config import ConfigError, TrainConfig
from deqzoo.training.optimizer import CERTIFIED, NTK
from deqzoo.training.stable_step import ntk_step
from deqzoo.training.state import TrainState
from deqzoo.training.step import cold, make_evaluation, make_step, rebuilder, split_model
from deqzoo.training.watch import Watch
from deqzoo.training.workdir import CERTIFICATE, Workdir, WorkdirError

Report = dict[str, Any]
_CHUNK = 512


class TrainingError(RuntimeError):
    """Training cannot go on; the message says where the last good state is and what to try."""


class Training:
    """A run in its folder: new, or continued from its last good checkpoint.

    Everything that can be wrong with the settings is found here, before any compilation of a step.

    Args:
        config: the settings.

    Attributes:
        notes: sentences about how the run was opened (resumed, damaged checkpoints set aside).
        guarantees: what the activation's bounds guarantee for this model.
        certificate: what is proved of gradient descent from the start, if asked for, else None.
        model: the model as initialised; ``state`` holds the trained weights.
        record: what stands in config.json.
        state: the current ``TrainState``.

    Raises:
        ConfigError, CatalogError, TaskError: settings or data that cannot be used.
        WorkdirError: the folder belongs to another configuration or process.
        CheckpointError: every checkpoint is damaged.
    """

    def __init__(self, config: TrainConfig):
        self.config = config
        self.notes: list[str] = []
        self._prepare()
        self.workdir = Workdir(config.resolved_workdir)
        with contextlib.ExitStack() as undo:
            self.workdir.lock()
            undo.callback(self.workdir.unlock)
            self.record = self._claim()
            self._build(self.record["resolved"])
            self._checkpoints = Checkpoints(self.workdir.checkpoints, writable=True)
            undo.callback(self._checkpoints.close)
            self._restore()
            self._undo = undo.pop_all()

    @property
    def step(self) -> int:
        """Steps taken."""
        return int(self.state.step)

    @property
    def finished(self) -> bool:
        """Whether all steps were taken and the summary is written."""
        return self.step >= self.config.steps and self.workdir.read_summary() is not None

    def reports(self, stop: threading.Event | None = None) -> Iterator[Report]:
        """Train to the end; yields a report every ``log_every`` steps and at every evaluation.

        The last report has ``"summary": True`` and is what stands in summary.json.

        Args:
            stop: once set, the generator ends after the running step, without a summary.

        Raises:
            TrainingError: the loss is not finite.
        """
        if self.finished:
            yield {**(self.workdir.read_summary() or {})}
            return
        started = before = time.perf_counter()
        reported = self.step
        for done in range(self.step + 1, self.config.steps + 1):
            self.state, metrics = self._step(self.state, *self._batch(done - 1))
            if self._watch is not None:
                self._watch.see(float(metrics["loss"]))
            report = self._report(done, metrics)
            if report is not None:
                now = time.perf_counter()
                report["examples_per_second"] = (done - reported) * self.batch_size / (now - before)
                before, reported = now, done
                self._require_finite(report)
                self.workdir.append_metrics(report)
                yield report
                if self._due(done, self.config.checkpoint_every):
                    self._checkpoints.save(done, self.state, report["test_loss"])
            if stop is not None and stop.is_set():
                return
        self._checkpoints.wait()
        summary = self._summary(time.perf_counter() - started)
        self.workdir.write_summary(summary)
        yield summary

    def save(self) -> None:
        """Save the present state, whatever the intervals say, and wait until it is on disk."""
        if self.step not in self._checkpoints.steps():
            self._checkpoints.save(self.step, self.state, self._measure(self._data.test)["loss"])
        self._checkpoints.wait()

    def close(self) -> None:
        """Finish writing and release the folder."""
        self._undo.close()

    # Opening a run.

    def _prepare(self) -> None:
        config = self.config
        config.import_plugins()
        if config.dtype == "float64" and jnp.result_type(float) != jnp.float64:
            raise ConfigError(
                "--dtype=float64 needs 64-bit JAX: set JAX_ENABLE_X64=1 before it starts"
            )
        self._data: Data = catalog.tasks.get(config.task).load()
        self._loss = config.build_loss(self._data.classes)
        self._optimizer = config.build_optimizer(self._loss)
        self._constraint = catalog.constraints.get(config.constraint)
        self.batch_size = config.batch_of(len(self._data.train.x))
        self.model = config.build_model(self._data.input_shape, self._data.outputs)
        guarantees.require_true_bounds(self.model.activation)
        self._train = self._on_device(self._data.train)
        self.certificate = self._certify() if is_asked_for(config, self._optimizer) else None
        self._forward, parameters = split_model(self.model)
        self._parameters = parameters
        self.guarantees = guarantees.describe(self.model, parameters, self._constraint)

    def _certify(self) -> Certificate:
        """The certificate of the start, which ``--init=certified`` chooses first."""
        if self.config.init == CERTIFIED:
            self._loss, log = certified.certified_init(self.model, self._loss, *self._train)
            self.notes += log
        return certified.certificate_of(self.model, self._loss, *self._train)

    def _on_device(self, split: Split) -> tuple[jax.Array, jax.Array]:
        """Inputs and real targets in the dtype of the run, labels as they are."""
        x, y = split
        labels = np.issubdtype(y.dtype, np.integer)
        dtype = self.config.dtype
        return jnp.asarray(x, dtype), jnp.asarray(y, None if labels else dtype)

    def _claim(self) -> dict[str, Any]:
        """The record of this run: the one on disk if it is the same run, a new one otherwise."""
        record = self.workdir.read_config()
        if record is None:
            record = {
                "format": checkpoint.FORMAT,
                "config": self.config.to_dict(),
                "resolved": self._resolve(),
                "versions": provenance.versions(),
            }
            self.workdir.write_config(record)
            return record
        difference = provenance.difference(record["config"], self.config.to_dict())
        if difference:
            raise WorkdirError(
                f"{self.workdir.path} holds a run with other settings ({'; '.join(difference)}): "
                "choose another --workdir, or repeat the settings to resume it"
            )
        before, now = record["resolved"]["data"], self._data.fingerprint
        if before != now:
            raise WorkdirError(
                f"the data of {self.config.task} changed since the run in {self.workdir.path} "
                f"began (fingerprint {before}, now {now}): choose another --workdir"
            )
        return record

    def _resolve(self) -> dict[str, Any]:
        """What the settings came to, so that a run can be rebuilt without its data."""
        rate = self._optimizer.learning_rate
        if rate == CERTIFIED and self.certificate is not None:
            missing = certified.what_is_missing(self.config, self._optimizer)
            rate = certified.certified_step(self.certificate, missing)
        elif rate == NTK:
            rate = ntk_step(self._forward, self._parameters, self._train[0][: self.batch_size])
        return {
            "input_shape": list(self._data.input_shape),
            "outputs": self._data.outputs,
            "classes": self._data.classes,
            "examples": [len(self._data.train.x), len(self._data.test.x)],
            "data": self._data.fingerprint,
            "learning_rate": rate,
            "loss": repr(self._loss),
            "optimizer": repr(self._optimizer),
            "constraint": repr(self._constraint),
            "activation": repr(self.model.activation),
            "model": provenance.model_arguments(self.config),
        }

    def _build(self, resolved: dict[str, Any]) -> None:
        optimizer = self._optimizer.with_learning_rate(resolved["learning_rate"])
        transform = optimizer.build(self.config.steps)
        limits = self.model.norm_limits()
        step = make_step(
            rebuilder(self.model),
            self._loss,
            transform,
            self._constraint,
            limits,
            self.config.build_regularizer(),
            self.config.seed,
        )
        self._step = jax.jit(step, donate_argnums=0)
        chunk = min(_CHUNK, len(self._train[0]))
        self._evaluate = make_evaluation(self._forward, self._loss, chunk)
        # The step donates its state: a copy keeps the arrays of ``model`` alive.
        parameters = jax.tree.map(jnp.copy, self._constraint.apply(self._parameters, limits))
        warm = cold(self._forward, parameters, self._train[0]) if self.config.warm_start else None
        first = jnp.zeros((), jnp.int32)
        self.state = TrainState(parameters, transform.init(parameters), first, warm)

    def _restore(self) -> None:
        restored = self._checkpoints.restore_latest()
        if restored is None:
            self.workdir.keep_metrics_until(0)
            self._watch = self._start_watch()
            return
        for step, reason in restored.skipped:
            place = self._checkpoints.set_aside(step)
            self.notes.append(f"checkpoint {reason}; kept as {place.name}")
        self.state = jax.tree.map(jnp.asarray, checkpoint.fill(self.state, restored.state))
        self.workdir.keep_metrics_until(restored.step)
        self.notes.append(f"resumed from step {restored.step} of {self.config.steps}")
        self._watch = self._start_watch()

    def _start_watch(self) -> Watch | None:
        """The comparison with the certificate, going on where the metrics end."""
        if self.certificate is None:
            return None
        self.certificate.to_json(self.workdir.path / CERTIFICATE)
        network, _ = certified.require_wide_square(self.model, self._loss)
        missing = certified.what_is_missing(self.config, self._optimizer)
        if missing:
            self.notes.append(f"no certified bound for this run: it needs {', '.join(missing)}")
        rows = self.workdir.read_metrics()
        return Watch(
            self.certificate,
            network,
            self._train[0],
            self.record["resolved"]["learning_rate"],
            applies=not missing,
            predicts=certified.is_descent(self.config, self._optimizer),
            before=rows[-1]["loss"] if rows and rows[-1]["step"] == self.step else None,
        )

    # Taking steps.

    def _batch(self, step: int) -> tuple[jax.Array, jax.Array]:
        x, y = self._train
        if self.batch_size == len(x):
            return x, y
        chosen = batches.indices(self.config.seed, step, len(x), self.batch_size)
        return x[chosen], y[chosen]

    def _due(self, done: int, every: int) -> bool:
        return done % every == 0 or done == self.config.steps

    def _report(self, done: int, metrics: dict[str, jax.Array]) -> Report | None:
        """The line of this step, or None where no line is due."""
        evaluate = self._due(done, self.config.eval_every) or self._due(
            done, self.config.checkpoint_every
        )
        if not (evaluate or self._due(done, self.config.log_every)):
            return None
        report = {"step": done, "epoch": done * self.batch_size / len(self._train[0])}
        report |= {name: float(value) for name, value in metrics.items()}
        alarms = []
        if self._watch is not None:  # the loss is that of the weights before the step
            report |= self._watch.line(done - 1, report["loss"])
            alarms += report.pop("alarms", [])
        if evaluate:
            report |= {
                f"test_{name}": value for name, value in self._measure(self._data.test).items()
            }
            report["contraction"] = self._contraction()
            if self._watch is not None:
                report |= self._measure_certified()
                alarms += report.pop("alarms", [])
        return {**report, "alarms": alarms} if alarms else report

    def _measure_certified(self) -> Report:
        network = rebuilder(self.model)(self.state.parameters).network()
        return self._watch.measure(network) if self._watch and network else {}

    def _measure(self, split: Split) -> dict[str, float]:
        return self._evaluate(self.state.parameters, *self._on_device(split))

    def _contraction(self) -> float:
        """The largest L‖W‖₂ over the constrained matrices."""
        return max(
            guarantees.contraction_factors(
                self.state.parameters, self.model.norm_limits()
            ).values(),
            default=0.0,
        )

    def _require_finite(self, report: Report) -> None:
        if math.isfinite(report["loss"]) and math.isfinite(report["gradient_norm"]):
            return
        kept = self._checkpoints.steps()
        saved = f"the last checkpoint is step {kept[-1]}" if kept else "there is no checkpoint yet"
        raise TrainingError(
            f"the loss or its gradient is not finite at step {report['step']} (learning rate "
            f"{self.record['resolved']['learning_rate']:.3g}); {saved} in {self.workdir.path}. "
            "Lower --learning_rate, and keep --constraint=rescale"
        )

    def _summary(self, seconds: float) -> Report:
        train, test = self._measure(self._data.train), self._measure(self._data.test)
        return {
            "summary": True,
            "step": self.step,
            **{
                f"train_{name}": value
                for name, value in train.items()
                if name in ("loss", "accuracy")
            },
            **{f"test_{name}": value for name, value in test.items()},
            "contraction": self._contraction(),
            **self._promises(),
            "best_step": self._checkpoints.best_step(),
            "seconds": seconds,
        }

    def _promises(self) -> Report:
        """Whether the start was certified, and how the run compares."""
        if self.certificate is None:
            return {}
        rows = self.workdir.read_metrics()
        return {
            "certified": self.certificate.certified,
            "loss_ratio": max((row.get("loss_ratio", 0.0) for row in rows), default=0.0),
            "alarms": sum(len(row.get("alarms", ())) for row in rows),
        }


def fit(config: TrainConfig) -> Iterator[Report]:
    """Train and yield reports; the folder is released when the generator ends.

    Example:
        >>> import tempfile
        >>> from deqzoo.training import TrainConfig, fit
        >>> config = TrainConfig(steps=2, width=16, workdir=tempfile.mkdtemp())
        >>> [report["step"] for report in fit(config)]
        [2, 2]
    """
    training = Training(config)
    try:
        yield from training.reports()
    finally:
        training.close()
