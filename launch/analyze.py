"""Analyse one run or compare several: ``python -m launch.analyze --workdir=runs/gelu``.

Writes report.html (one file, pictures included), analysis.json (the same numbers) and the pictures.
Checkpoints and metrics are only read. The data of the run are loaded again through its task; if
they are not those it was trained on, it is refused: the numbers would mislead.

Exit codes: 0 done, 1 an analysis failed (the others are in the report) or no checkpoint can be
read, 2 wrong usage, 75 stopped by a signal, 130 by Ctrl-C (nothing is half written; run the
same command again).
"""

from __future__ import annotations

import functools
import re
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from deqzoo import Run, catalog, load_run
from deqzoo.analysis.compare import compare, short_names
from deqzoo.analysis.finding import shown
from deqzoo.analysis.history import damaged
from deqzoo.analysis.report import Examined, Report, fact_rows
from deqzoo.analysis.sections import SECTIONS, Result, Section, examine
from deqzoo.analysis.subject import Subject, subject
from deqzoo.catalog import choices
from deqzoo.data.examples import Data, TaskError
from deqzoo.local_path import local_path
from deqzoo.runs.run import BEST
from deqzoo.storage import files
from deqzoo.storage.checkpoint import CheckpointError
from deqzoo.storage.workdir import Workdir, WorkdirError
from launch import _command

__all__ = ["main"]

_COMPARE = "compare"
_NAMES = (*(section.name for section in SECTIONS), _COMPARE)


@dataclass(frozen=True)
class AnalyzeConfig:
    """Settings of ``launch.analyze``."""

    workdir: tuple[str, ...] = _command.option(
        (), "Folder of a run. Repeatable: two or more runs are compared."
    )
    step: str = _command.option("", "Checkpoint: a step, 'best', or the latest.")
    examples: int = _command.option(256, "Examples of each split that are looked at, at most.")
    only: tuple[str, ...] = _command.option(
        (), f"Only these analyses: {', '.join(_NAMES)}. Repeatable."
    )
    output: str = _command.option(
        "", "Folder to write to; the run's own, or <first>-compared beside it for several."
    )
    plugin: tuple[str, ...] = _command.option(
        (),
        "Python modules to import first, among them those that the runs name. Repeatable.",
    )

    def __post_init__(self):
        if not self.workdir:
            raise _command.UsageError("--workdir is needed: the folder of a run")
        if len({local_path(path).resolve() for path in self.workdir}) < len(self.workdir):
            raise _command.UsageError("--workdir names one folder twice")
        if self.step not in ("", BEST) and not _is_number(self.step):
            raise _command.UsageError(
                f"--step must be a whole number, 'best' or nothing, got {self.step!r}"
            )
        if self.examples < 2:
            raise _command.UsageError(f"--examples must be >= 2, got {self.examples}")
        for name in self.only:
            if name not in _NAMES:
                raise _command.UsageError(f"no analysis is called {name!r}{choices(name, _NAMES)}")
        if self.only == (_COMPARE,) and len(self.workdir) == 1:
            raise _command.UsageError("--only=compare needs a second --workdir")

    @property
    def sections(self) -> list[Section]:
        """The analyses that are wanted."""
        return [each for each in SECTIONS if not self.only or each.name in self.only]

    @property
    def folder(self) -> Path:
        """Where the results go."""
        first = local_path(self.workdir[0])
        if self.output or len(self.workdir) == 1:
            return local_path(self.output) if self.output else first
        first = first if first.name.strip(".") else first.resolve()
        return first.with_name(f"{first.name}-compared")


def main() -> None:
    """Entry point."""
    _command.start(analyze, AnalyzeConfig, usage=__doc__ or "", errors=(CheckpointError,))


def analyze(config: AnalyzeConfig) -> int:
    """Load, measure, write, and print the main facts."""
    started = time.perf_counter()
    console = Console(highlight=False, soft_wrap=True, markup=False)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        runs = _load(config)
        subjects = _subjects(config, runs)
        _command.make_folder(config.folder, "--output")
        names = short_names([run.path.absolute() for run in runs])
        several = len(runs) > 1 and (not config.only or _COMPARE in config.only)
        comparison = compare(runs) if several else None
        examined = (
            _examine(config, console, *each) for each in zip(names, runs, subjects, strict=True)
        )
        report = Report(tuple(examined), comparison)
    report = _write(console, report, config.folder)
    for note in comparison.notes if comparison else ():
        console.print(f"note: {note}")
    for table in _tables(report):
        console.print(table)
    console.print(f"total time {time.perf_counter() - started:.1f} s, compilation included")
    return _command.FAILED if report.failed else _command.DONE


def _load(config: AnalyzeConfig) -> list[Run]:
    """All runs at the wanted step, in their own precision."""
    if any(_wants_float64(local_path(path)) for path in config.workdir):
        jax.config.update("jax_enable_x64", True)
    step = int(config.step) if _is_number(config.step) else config.step or None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # damaged checkpoints: told in the report
        try:
            return [load_run(path, step=step, plugins=config.plugin) for path in config.workdir]
        except CheckpointError as error:
            if step is None:
                raise
            raise _command.UsageError(f"--step={config.step}: {error}") from None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d{1,18}", text) is not None


def _wants_float64(path: Path) -> bool:
    """Whether a folder holds a run in float64.

    Raises:
        UsageError: it holds something else than a training run.
    """
    record = Workdir(path).read_config()
    settings = {} if record is None else record["config"]
    if record is not None and "plugin" not in settings:
        raise _command.UsageError(f"{path} holds no training run: expected one of launch.train")
    return settings.get("precision") == "float64"


def _subjects(config: AnalyzeConfig, runs: list[Run]) -> list[Subject | None]:
    """The runs with their examples, where any analysis needs them."""
    if not any(section.needs_data for section in config.sections):
        return [None] * len(runs)

    @functools.cache
    def data_of(task: str) -> Data:
        return catalog.tasks.get(task).load()

    try:
        return [subject(run, data_of(run.config.task), config.examples) for run in runs]
    except (TaskError, WorkdirError) as error:
        free = " ".join(f"--only={each.name}" for each in SECTIONS if not each.needs_data)
        raise _command.UsageError(f"{error}. Without the data: {free}") from None


def _examine(
    config: AnalyzeConfig, console: Console, name: str, run: Run, subject: Subject | None
) -> Examined:
    console.print(
        f"{run.path}: {run.config.model} with {run.config.activation} on {run.config.task}, step "
        f"{run.step}"
    )
    notes = tuple(_notes(run))
    for note in notes:
        console.print(f"  {note}")
    results = []
    for section in config.sections:
        started = time.perf_counter()
        results.append(examine(section, run, subject))
        console.print(f"  {_verdict(results[-1])} ({time.perf_counter() - started:.1f} s)")
    return Examined(name, run, tuple(results), notes)


def _notes(run: Run) -> Iterator[str]:
    yield from damaged(run)
    if run.summary is None:
        yield "the run is not finished: this is what it has come to so far"


def _verdict(result: Result) -> str:
    name = result.section.name
    if result.failure:
        return f"{name}: FAILED, {result.failure}"
    return f"{name}: left out, {result.omitted}" if result.omitted else name


def _write(console: Console, report: Report, folder: Path) -> Report:
    """The files; the report with what failed in drawing."""
    pictures = folder / "plots" / "analysis"
    try:
        report = report.drawn(pictures)
    except ModuleNotFoundError:
        console.print("no report.html: pip install 'deqzoo[plot]' draws its pictures")
    else:
        files.write(folder / "report.html", report.html(pictures))
        console.print(f"report: {folder / 'report.html'}")
    files.write(folder / "analysis.json", files.to_json(report.to_dict()))
    console.print(f"numbers: {folder / 'analysis.json'}")
    return report


def _tables(report: Report) -> Iterator[Table]:
    """The facts, a column for each run; and what the comparison adds."""
    names = [each.name for each in report.runs]
    found = report.comparison
    if found is not None:
        rows = [*found.settings.items(), *found.final.items()]
        yield _table("comparison", names, [(key, *values) for key, values in rows])
        if found.groups:
            yield _table("over seeds", [], [*found.facts.items()])
    rows = fact_rows(report.runs)
    if rows:
        yield _table("main facts", names if len(names) > 1 else [], rows)


def _table(title: str, names: list[str], rows: list[tuple[Any, ...]]) -> Table:
    table = Table(title=title, title_justify="left", show_header=bool(names))
    for heading in ("", *(names or [""])):
        table.add_column(heading)
    for label, *values in rows:
        table.add_row(label, *("-" if value is None else shown(value) for value in values))
    return table


if __name__ == "__main__":
    main()
