"""Reproduce a figure of the theory: ``python -m launch.reproduce --experiment=rates``.

An experiment is a recipe such as ``loss_curves(activation='tanh', data='mnist')``;
``python -m launch.list --catalog=experiments`` shows all. The folder --workdir holds config.json,
a file for every finished cell, results.json and the picture. The same command again reuses what is
finished.

Exit codes: 0 done, 1 failed, 2 wrong usage, 75 stopped by a signal, 130 by Ctrl-C (run the
same command again).
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deqzoo import catalog
from deqzoo.analysis.experiment import Experiment
from deqzoo.catalog import Recipe
from deqzoo.local_path import local_path
from deqzoo.storage import files
from deqzoo.storage.checkpoint import CheckpointError
from deqzoo.theory import InitialisationError
from deqzoo.training import TrainingError
from launch import _command

__all__ = ["main"]


@dataclass(frozen=True)
class ReproduceConfig:
    """Settings of ``launch.reproduce``."""

    experiment: str = field(
        default="", metadata={"help": "Experiment recipe, for example gram_error(draws=1)."}
    )
    workdir: str = field(
        default="",
        metadata={"help": "Folder of the results; runs/reproduce-<recipe> if not given."},
    )
    plugin: tuple[str, ...] = field(
        default=(),
        metadata={"help": "Python modules to import first; they register plug-ins. Repeatable."},
    )


def main() -> None:
    """Entry point."""
    errors = (TrainingError, CheckpointError, InitialisationError)
    _command.start(reproduce, ReproduceConfig, usage=__doc__ or "", errors=errors)


def reproduce(config: ReproduceConfig) -> int:
    """Run the experiment, write its results and its picture, and print its table."""
    started = time.perf_counter()
    for module in config.plugin:
        catalog.import_plugin(module)
    experiment = _build(config.experiment)
    folder = local_path(config.workdir or default_workdir(config.experiment))
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.width = console.width if console.is_terminal else 160
    console.print(f"{experiment} -> {folder}", markup=False)
    console.print((experiment.__doc__ or "").strip().splitlines()[0], markup=False)
    _command.leave_on_signals(
        "stopped by a signal: finished cells are kept, run the same command again"
    )
    results = experiment.run(folder, lambda line: console.print(f"  {line}", markup=False))
    files.write(folder / "results.json", files.to_json(results))
    console.print(_table(experiment.name, results["table"]))
    _draw(console, experiment, results, folder / f"{experiment.name}.png")
    console.print(f"total time {time.perf_counter() - started:.1f} s, compilation included")
    return _command.DONE


def default_workdir(recipe: str) -> str:
    """``runs/reproduce-loss_curves-data=mnist`` for ``loss_curves(data='mnist')``."""
    parsed = Recipe.parse(recipe)
    settings = [*map(str, parsed.args), *(f"{key}={value}" for key, value in parsed.kwargs.items())]
    parts = (re.sub(r"[^\w.=-]+", "-", part).strip("-") for part in settings)
    return "-".join(["runs/reproduce", parsed.name, *parts])


def _build(recipe: str) -> Experiment:
    if not recipe:
        names = ", ".join(catalog.experiments.names())
        raise _command.UsageError(
            f"--experiment is needed: one of {names}, for example --experiment=rates"
        )
    return catalog.experiments.get(recipe)


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in rows[0]:
        table.add_column(heading, no_wrap=True)
    for row in rows:
        table.add_row(*map(_shown, row.values()))
    return table


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _draw(console: Console, experiment: Experiment, results: dict[str, Any], path: Path) -> None:
    """The picture, where the extra ``plot`` is installed."""
    try:
        experiment.draw(results, path)
    except ModuleNotFoundError:
        console.print("no picture: pip install 'deqzoo[plot]' draws it")
        return
    console.print(f"picture: {path}", markup=False)


if __name__ == "__main__":
    main()
