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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from absl import flags
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from deqzoo import catalog
from deqzoo.storage.checkpoint import CheckpointError
from deqzoo.training import RunOptions, TrainConfig, Training, TrainingError, provenance
from deqzoo.training.devices import processes
from deqzoo.training.devices.preemption import Stop, watch_signals
from deqzoo.training.devices.processes import DistributedError
from launch import _command

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
    return provenance.settings(Path(path)) if path else {}


def train(config: TrainConfig, options: RunOptions) -> int:
    """Open the run, train it with a progress bar, and print what was reached."""
    started = time.perf_counter()
    joined = processes.join(options)
    stop = watch_signals()
    _set_precision(config)
    console = Console(highlight=False, soft_wrap=True, quiet=not processes.is_lead())
    training = Training(config, options)
    try:
        _introduce(console, training, joined)
        if training.finished:
            console.print(f"finished: all {config.steps} steps of {training.workdir.path} are done")
            _summarise(console, next(iter(training.reports())), training)
            return _command.DONE
        with processes.ending_together():
            summary = _follow(console, training, stop)
        if summary is None:
            training.save()
            console.print(
                f"stopped by a signal, saved at step {training.step}: run the same command again "
                "to continue"
            )
            return _command.PREEMPTED
        _summarise(console, summary, training)
        if processes.is_lead():
            _draw(console, training)
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


def _follow(console: Console, training: Training, stop: Stop) -> dict[str, Any] | None:
    """Train; the summary, or None if a signal came first."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[status]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(
            "training", total=training.config.steps, completed=training.step, status="compiling"
        )
        for report in training.reports(stop):
            if report.get("summary"):
                return report
            progress.update(bar, completed=report["step"], status=_status(report))
            if "test_loss" in report:
                progress.console.print(_evaluation(report))
            for alarm in report.get("alarms", ()):
                progress.console.print(
                    f"  ALARM at step {report['step']}: {alarm}", style="bold red"
                )
            for warning in _warnings(report):
                progress.console.print(f"  warning at step {report['step']}: {warning}")
    return None


def _warnings(report: dict[str, Any]) -> Iterator[str]:
    if report.get("contraction", 0.0) >= 1:
        yield (
            f"L‖W‖₂ = {report['contraction']:.4f}: the equilibrium is no longer guaranteed; "
            "--constraint=rescale keeps it"
        )
    if report.get("test_converged", 1.0) < 0.99:
        yield (
            f"{1 - report['test_converged']:.1%} of the test examples found no equilibrium within "
            "the tolerance: allow more steps, for example --solver='auto(max_steps=500)', "
            "or lower --learning_rate"
        )
    if report.get("backward_converged", 1.0) < 0.99:
        yield (
            f"{1 - report['backward_converged']:.1%} of the backward solves missed the tolerance "
            f"(worst relative residual {report['backward_residual']:.1e}): allow more steps, for "
            "example --adjoint=\"implicit(solver='auto(max_steps=500)')\""
        )


def _status(report: dict[str, Any]) -> str:
    return (
        f"loss {report['loss']:.3g}  solver {report['solver_steps']:.1f} + "
        f"{report['backward_solver_steps']:.1f}  "
        f"converged {min(report['converged'], report['backward_converged']):.0%}  "
        f"residual {max(report['residual'], report['backward_residual']):.0e}  "
        f"{report['examples_per_second']:.0f} ex/s"
    )


def _evaluation(report: dict[str, Any]) -> str:
    accuracy = f", accuracy {report['test_accuracy']:.4f}" if "test_accuracy" in report else ""
    return (
        f"  step {report['step']}: loss {report['loss']:.4g}; test loss "
        f"{report['test_loss']:.4g}{accuracy}; "
        f"solver steps {report['test_solver_steps']:.1f} (max "
        f"{report['test_solver_steps_max']:.0f}), "
        f"converged {report['test_converged']:.1%}; L‖W‖₂ = {report['contraction']:.4f}"
    )


def _summarise(console: Console, summary: dict[str, Any], training: Training) -> None:
    table = Table(title="result", title_justify="left", show_header=False)
    rows = {
        "test accuracy": ("test_accuracy", ".4f"),
        "test loss": ("test_loss", ".5g"),
        "train accuracy": ("train_accuracy", ".4f"),
        "train loss": ("train_loss", ".5g"),
        "solver steps, mean": ("test_solver_steps", ".1f"),
        "solver steps, max": ("test_solver_steps_max", ".0f"),
        "fraction converged": ("test_converged", ".4f"),
        "worst relative residual": ("test_residual", ".1e"),
        "L‖W‖₂ (< 1: well posed)": ("contraction", ".4f"),
        "start certified by Theorem A": ("certified", ""),
        "worst loss ratio of a step": ("loss_ratio", ".9f"),
        "violated certified inequalities": ("alarms", "d"),
        "best checkpoint": ("best_step", "d"),
        "training time, s": ("seconds", ".1f"),
    }
    for label, (key, form) in rows.items():
        if summary.get(key) is not None:
            table.add_row(label, format(summary[key], form))
    console.print(table)
    console.print(f"load it with deqzoo.load_run({str(training.workdir.path)!r})")


def _draw(console: Console, training: Training) -> None:
    """Pictures, where the extra ``plot`` is installed."""
    try:
        from deqzoo.analysis import plots
    except ModuleNotFoundError:
        console.print("no pictures: pip install 'deqzoo[plot]' draws them")
        return
    config, workdir = training.config, training.workdir
    title = f"{config.model}, {config.activation}, {config.task}"
    plots.training(workdir.read_metrics(), workdir.plots / "training.png", title)
    certificate = training.setup.certificate
    if certificate is not None:
        plots.promises(workdir.read_metrics(), certificate, workdir.plots / "certificate.png")
    plots.activation(catalog.activations.get(config.activation), workdir.plots / "activation.png")
    console.print(f"pictures in {workdir.plots}")


if __name__ == "__main__":
    main()
