"""Train a deep equilibrium model: ``python -m launch.train --activation=gelu``.

With --certify the convergence theorems are checked at the start (--model=wide --loss=square) and
every certified inequality is watched.

The same command again resumes an interrupted run, or says that it is finished. The folder --workdir
holds config.json, metrics.jsonl, checkpoints, summary.json and plots; ``deqzoo.load_run(workdir)``
reads it.

Exit codes: 0 done, 1 failed, 2 wrong usage, 75 stopped by a signal and saved (run the same command
again).
"""

from __future__ import annotations

import os
import time
from typing import Any

import jax
from absl import flags
from rich.console import Console

from deqzoo import catalog
from deqzoo.local_path import local_path
from deqzoo.storage.checkpoint import CheckpointError
from deqzoo.training import RunOptions, TrainConfig, Training, TrainingError, provenance
from deqzoo.training.devices import processes
from deqzoo.training.devices.preemption import watch_signals
from deqzoo.training.devices.processes import DistributedError
from launch import _command, _result
from launch._pictures import Pictures
from launch._progress import OnScreen

__all__ = ["main"]


def main() -> None:
    """Entry point."""
    errors = (TrainingError, CheckpointError, DistributedError)
    flags.DEFINE_string(
        "config", "", "A config.json whose settings are taken where no flag gives another."
    )
    flags.declare_key_flag("config")
    _command.start(
        train, TrainConfig, RunOptions, usage=__doc__ or "", errors=errors, recorded=_recorded
    )


def _recorded() -> dict[str, Any]:
    """The settings of the run that --config names."""
    path = flags.FLAGS["config"].value
    if not path:
        return {}
    settings = provenance.settings(local_path(path))
    asked = flags.FLAGS["plugin"].value or ()
    catalog.require_asked_for(f"--config={path}", settings["plugin"], asked)
    return settings


def train(config: TrainConfig, options: RunOptions) -> int:
    """Open the run, train it with a progress bar, and print what was reached."""
    started = time.perf_counter()
    joined = processes.join(options)
    stop = watch_signals()
    _set_precision(config)
    console = Console(highlight=False, soft_wrap=True, markup=False, quiet=not processes.is_lead())
    observers = [OnScreen(console), Pictures(console)] if processes.is_lead() else []
    training = Training(config, options, observers)
    try:
        _introduce(console, training, joined)
        if training.finished:
            console.print(f"finished: all {config.steps} steps of {training.workdir.path} are done")
            promised = training.setup.model.guarantees()
            _result.show(console, next(training.reports()), promised, training.workdir.path)
            return _command.DONE
        with processes.ending_together():
            ended = [report for report in training.reports(stop) if report.get("summary")]
        if not ended:
            training.save()
            console.print(
                f"stopped by a signal, saved at step {training.step}: run the same command again "
                "to continue"
            )
            return _command.PREEMPTED
        console.print(f"total time {time.perf_counter() - started:.1f} s, compilation included")
        return _command.DONE
    finally:
        training.close()


def _set_precision(config: TrainConfig) -> None:
    """64-bit arrays where asked for, and products of float32 in float32 on every accelerator."""
    if config.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    if "JAX_DEFAULT_MATMUL_PRECISION" not in os.environ:
        jax.config.update("jax_default_matmul_precision", "highest")


def _introduce(console: Console, training: Training, joined: str | None) -> None:
    config, setup = training.config, training.setup
    console.print(
        f"deqzoo: {config.model} with {config.activation} on {config.task}, {config.steps} steps "
        f"of {setup.batch_size} examples, {_machines(training)}, {config.precision} -> "
        f"{training.workdir.path}"
    )
    for line in (*setup.guarantees, *training.notes, *([joined] if joined else [])):
        console.print(f"  {line}")
    if setup.certificate is not None:
        console.print(f"certificate of the start: {setup.certificate}", markup=False)


def _machines(training: Training) -> str:
    shape = training.layout.mesh.shape
    axes = [f"{name}:{size}" for name, size in shape.items() if size > 1]
    return " ".join([jax.default_backend(), *axes])


if __name__ == "__main__":
    main()
