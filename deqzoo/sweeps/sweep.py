"""A grid of cells, each trained for several seeds, in a folder that several processes may share."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from deqzoo import catalog
from deqzoo.activation.measured import require_true_bounds
from deqzoo.data.examples import Data
from deqzoo.storage import checkpoint
from deqzoo.storage.difference import difference
from deqzoo.storage.workdir import HeldError, Workdir, WorkdirError
from deqzoo.sweeps import cell as cells_folder
from deqzoo.sweeps import grid
from deqzoo.sweeps.grid import Cell
from deqzoo.training import provenance
from deqzoo.training.config import TrainConfig
from deqzoo.training.devices.preemption import Stop
from deqzoo.training.evaluation import recorded
from deqzoo.training.promises import guarantees
from deqzoo.training.setup import require_weights

Event = dict[str, Any]
RESULT, ERROR = "sweep.json", "error.json"
DONE, FAILED, HELD, OPEN = "done", "failed", "held", "unfinished"
_PATIENCE = 60.0  # seconds to wait for a process that holds the folder for a moment


class _Folder(Workdir):
    """The folder of a sweep or of a cell: besides what a run has, other files of JSON."""

    def write(self, name: str, value: Event) -> None:
        """Write a file of JSON."""
        self._write_json(name, value)

    def read(self, name: str) -> Event | None:
        """A file of JSON, or None."""
        return self._read_json(name)


class Sweep:
    """A sweep in its folder: new, or going on where it was left.

    Any number of processes may work on one sweep: a cell is trained by the first that comes.

    Args:
        cells: the grid.
        seeds: of every cell.
        workdir: the folder of the sweep.
        vmap: train the seeds of a cell as one program; by default each cell does what is faster.

    Raises:
        ConfigError, CatalogError, TaskError: settings that a cell cannot use; nothing is compiled.
        WorkdirError: the folder belongs to other settings.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        seeds: Sequence[int],
        workdir: str | Path,
        vmap: bool | None = None,
    ):
        self.cells, self.seeds = tuple(cells), tuple(seeds)
        _require_usable(self.cells)
        self.workdir = _Folder(workdir)
        checkpoint.require_writable(self.workdir.path)
        self.vmap = vmap
        with self.alone():
            self._claim()

    def folder(self, number: int) -> Path:
        """The folder of a cell."""
        return self.workdir.path / "cells" / self.cells[number].folder

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder for a moment, waiting for others that do.

        Raises:
            WorkdirError: it is no folder of a sweep, or another process does not let go of it.
        """
        patience = time.monotonic() + _PATIENCE
        while True:
            try:
                self.workdir.lock()
                break
            except HeldError:
                if time.monotonic() > patience:
                    raise
                time.sleep(0.05)
        try:
            yield
        finally:
            self.workdir.unlock()

    def run(
        self, numbers: Iterable[int] | None = None, stop: Stop | None = None
    ) -> Iterator[Event]:
        """Train cells one after another, whatever becomes of each.

        Yields the number of the cell with its progress (``fraction``, ``loss``, ``seeds``), a
        ``note`` on how it was opened, and at its end its ``state``: done, failed, held by another
        process, or unfinished because of ``stop``, after which nothing more comes.

        Args:
            numbers: of the cells; all by default.
            stop: asked after every step; once true, everything is saved and the generator ends.
        """
        for number in range(len(self.cells)) if numbers is None else numbers:
            if stop is not None and stop(0):
                return
            for report in self._train(number, stop):
                yield {"cell": number, **report}
                if report.get("state") == OPEN:
                    return

    def gather(self) -> Event:
        """Everything that is finished, as it is written to sweep.json; call it ``alone``."""
        cells = {cell.name: self._gathered(number) for number, cell in enumerate(self.cells)}
        result = {
            "format": checkpoint.FORMAT,
            "seeds": [*self.seeds],
            "cells": cells,
            "versions": provenance.versions(),
        }
        self.workdir.write(RESULT, result)
        return result

    def _claim(self) -> None:
        """Write the record of a new sweep, or find that the one on disk has the same settings."""
        settings = {**_settings(self.cells), "seeds": [*self.seeds], "vmap": self.vmap}
        record = self.workdir.read_config()
        if record is None:
            versions = provenance.versions()
            record = {"format": checkpoint.FORMAT, "config": settings, "resolved": {}}
            self.workdir.write_config({**record, "versions": versions})
            return
        provenance.require_format(self.workdir.path, record)
        changes = difference(record["config"], settings)
        if changes:
            raise WorkdirError(
                f"{self.workdir.path} holds a run or sweep with other settings "
                f"({'; '.join(changes)}): choose another --workdir, or repeat the settings to "
                "go on with it"
            )

    def _train(self, number: int, stop: Stop | None) -> Iterator[Event]:
        folder = _Folder(self.folder(number))
        try:
            yield from cells_folder.train(
                self.cells[number].config, self.seeds, folder.path, vmap=self.vmap, stop=stop
            )
            result = folder.read_summary()
        except HeldError:
            yield {"state": HELD}
            return
        except Exception as error:  # whatever it is, the other cells go on
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
            folder.write(ERROR, {"error": reason, "traceback": traceback.format_exc()})
            yield {"state": FAILED, "error": reason}
            return
        (folder.path / ERROR).unlink(missing_ok=True)
        if result is None:
            yield {"state": OPEN}
        else:
            yield {"state": FAILED if result["failed"] else DONE, "error": _reasons(result)}

    def _gathered(self, number: int) -> Event:
        cell, folder = self.cells[number], _Folder(self.folder(number))
        entry = {"settings": dict(cell.axes), "folder": f"cells/{cell.folder}"}
        try:
            result, error = folder.read_summary(), folder.read(ERROR)
            if result is not None:
                return {**entry, **_finished(result, folder.path)}
        except WorkdirError as damage:
            return {**entry, "state": FAILED, "error": str(damage)}
        state = {"state": OPEN} if error is None else {**error, "state": FAILED}
        return {**entry, "error": "", **state}


def _finished(result: Event, folder: Path) -> Event:
    """What is gathered of a cell that has its summary."""
    kept = ("failed", "mean", "deviation", "seconds", "vmap")
    return {
        "state": FAILED if result["failed"] else DONE,
        "error": _reasons(result),
        **{name: result[name] for name in kept},
        "seeds": {seed: cells_folder.judged(found) for seed, found in result["seeds"].items()},
        "curve": _curve([folder / f"seed-{seed}" for seed in result["seeds"]]),
    }


def _require_usable(cells: Sequence[Cell]) -> None:
    """Build everything that a run is made of but its arrays."""
    cells[0].config.import_plugins()
    tasks: dict[str, Data] = {}
    for cell in cells:
        config = cell.config
        try:
            if config.task not in tasks:
                tasks[config.task] = catalog.tasks.get(config.task).load()
            with cells_folder.exact(config):
                _require_buildable(config, tasks[config.task])
        except ValueError as error:
            raise grid.of_cell(cell.axes, error) from error


def _require_buildable(config: TrainConfig, data: Data) -> None:
    if config.init_from:
        require_weights(config.init_from)
    config.build_optimizer(config.build_loss(data))
    catalog.constraints.get(config.constraint)
    config.batch_of(data.train.examples)
    model = nnx.eval_shape(lambda: config.build_model(data.spec, data.outputs, data.constants))
    require_true_bounds(model.activation)
    guarantees.require_something_to_keep(model, config.constraint)


def _settings(cells: Sequence[Cell]) -> dict[str, Any]:
    """Flag -> its value, or the list of its values, as JSON reads them back."""
    axes = {flag for flag, _ in cells[0].axes}
    values = {
        flag: list(dict.fromkeys(getattr(cell.config, flag) for cell in cells)) for flag in axes
    }
    shared = {flag: value for flag, value in cells[0].config.to_dict().items() if flag != "seed"}
    return {**shared, **values}


def _reasons(result: Event) -> str:
    return "; ".join(f"seed {seed}: {reason}" for seed, reason in result["failed"].items())


def _curve(folders: Sequence[Path]) -> Event:
    """Mean and deviation over the runs of what evaluations have measured, step by step."""
    runs = [
        {row["step"]: row for row in Workdir(path).read_metrics() if "test_loss" in row}
        for path in folders
    ]
    steps = sorted(set.intersection(*(set(run) for run in runs))) if runs else []
    curve: Event = {"step": steps}
    rows = [row for run in runs for row in run.values()]
    keys = (f"{s}_{n}" for row in rows for s in ("validation", "test") for n in recorded(row, s))
    for name in dict.fromkeys(keys):
        table = [[run[step].get(name) for run in runs] for step in steps]
        if table and all(value is not None for row in table for value in row):
            values = np.asarray(table, np.float64)
            spread = values.std(axis=1, ddof=1) if len(runs) > 1 else np.zeros(len(steps))
            curve[name] = {"mean": values.mean(axis=1).tolist(), "deviation": spread.tolist()}
    return curve
