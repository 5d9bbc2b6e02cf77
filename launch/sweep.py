"""Sweep over settings and seeds: ``python -m launch.sweep --activation=relu,tanh --seeds=5``.

Every flag of ``launch.train`` may name several values; each combination is a cell, trained for all
seeds. The folder --workdir holds sweep.json, sweep.png and cells/<name>/seed-<s>, each a run that
``deqzoo.load_run`` reads.

The same command again goes on where it was left and tries failed cells anew. Started several times,
also on several machines that share the folder, every process takes the cells that no other holds;
--part=K/N gives a process every N-th cell instead.

Exit codes: 0 done, 1 a cell or seed failed (the others are done), 2 wrong usage, 75 stopped by a
signal and saved (run the same command again).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from deqzoo.activation.digits import at_least
from deqzoo.nn.guarantee import NOTHING
from deqzoo.sweeps import grid
from deqzoo.sweeps.grid import Cell
from deqzoo.sweeps.sweep import DONE, FAILED, HELD, OPEN, RESULT, Sweep
from deqzoo.training.devices.preemption import Stop, watch_signals
from deqzoo.training.evaluation import recorded
from launch import _command, _grid_flags

__all__ = ["main"]

_BOUND = "guarantee, bound (< 1)"
_COLUMNS = {
    "train loss": ("train_loss", ".4g"),
    "test solver steps": ("test_solver_steps", ".1f"),
    _BOUND: ("bound", ".4f"),
}


@dataclass(frozen=True)
class SweepConfig:
    """Settings of ``launch.sweep`` besides those of a run."""

    seeds: str = _command.option("3", "How many seeds (from 0), or which: 0,3,7.")
    workdir: str = _command.option("", "Folder of the sweep; runs/sweep-<axes> if not given.")
    part: str = _command.option("", "K/N: only the cells K, K + N, ... counted from 0.")
    vmap: bool | None = _command.option(
        None, "Train the seeds of a cell as one program; by default each cell does what is faster."
    )
    plugin: tuple[str, ...] = _command.option(
        (), "Python modules to import first; they register plug-ins. Repeatable."
    )


def main() -> None:
    """Entry point."""
    _grid_flags.define()
    _command.start(sweep, SweepConfig, usage=__doc__ or "")


def sweep(config: SweepConfig) -> int:
    """Train what is not finished, and print and write what there is."""
    started = time.perf_counter()
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.width = console.width if console.is_terminal else 160
    cells = grid.cells(_grid_flags.read(), config.plugin)
    numbers = grid.part(config.part, len(cells))
    folder = config.workdir or default_workdir(cells[0])
    opened = Sweep(cells, grid.seeds(config.seeds), folder, config.vmap)
    stop = watch_signals()
    console.print(
        f"deqzoo: {len(cells)} cells of {len(opened.seeds)} seeds, {jax.default_backend()} -> "
        f"{folder}"
    )
    states = _follow(console, opened, numbers, stop)
    with opened.alone():
        result = opened.gather()
        _draw(console, opened, result)
    console.print(_table(result))
    for name, cell in result["cells"].items():
        if cell["error"]:
            console.print(f"FAILED {name}: {cell['error']}", style="bold red")
    console.print(f"written: {opened.workdir.path / RESULT}")
    if OPEN in states.values() or len(states) < len(numbers):
        console.print("stopped by a signal and saved: run the same command again to continue")
        return _command.PREEMPTED
    _tell_rest(console, states, result)
    console.print(f"total time {time.perf_counter() - started:.1f} s, compilation included")
    return _command.FAILED if FAILED in states.values() else _command.DONE


def default_workdir(cell: Cell) -> str:
    """``runs/sweep-activation-width``, or ``runs/sweep`` without axes."""
    return "-".join(["runs/sweep", *(flag for flag, _ in cell.axes)])


def _follow(console: Console, opened: Sweep, numbers: range, stop: Stop) -> dict[int, str]:
    """Train; cell -> its state at the end."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:.0f} %  {task.fields[status]}", markup=False),
        TimeRemainingColumn(),
    )
    states: dict[int, str] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("sweep", total=len(numbers), status="compiling")
        for event in opened.run(numbers, stop):
            number, name = event["cell"], opened.cells[event["cell"]].name
            if "fraction" in event:
                place = numbers.index(number) + event["fraction"]
                progress.update(bar, completed=place, status=f"{name}  {_status(event)}")
            elif "note" in event:
                progress.console.print(f"  {name}: {event['note']}")
            else:
                states[number] = event["state"]
                progress.update(bar, completed=numbers.index(number) + 1)
                progress.console.print(f"  {name}: {event['state']}")
    return states


def _status(event: dict[str, Any]) -> str:
    loss = "-" if event["loss"] is None else f"{event['loss']:.3g}"
    return f"loss {loss}  seeds {event['seeds']}"


def _table(result: dict[str, Any]) -> Table:
    """Mean ± deviation over the seeds; an empty place where nothing was measured."""
    cells = result["cells"]
    keys = dict.fromkeys(
        f"{split}_{name}"
        for split in ("validation", "test")
        for cell in cells.values()
        for name in recorded(cell.get("mean", {}), split)
    )
    columns = {key.replace("_", " "): (key, "#.4g") for key in keys} | _COLUMNS
    shown = {
        heading: column
        for heading, column in columns.items()
        if any(column[0] in cell.get("mean", ()) for cell in cells.values())
    }
    if any(_is_unproved(cell) for cell in cells.values()):
        shown[_BOUND] = _COLUMNS[_BOUND]
    table = Table(title="mean ± deviation over seeds", title_justify="left")
    for heading in ("cell", "seeds", *shown, "s"):
        table.add_column(heading, no_wrap=heading != "cell", overflow="fold")
    for name, cell in cells.items():
        good = f"{len(cell['seeds'])} of {len(result['seeds'])}" if "seeds" in cell else ""
        values = (_value(cell, *column) for column in shown.values())
        seconds = f"{cell['seconds']:.1f}" if cell.get("seconds") is not None else ""
        ending = "" if cell["state"] == DONE else f" ({cell['state']})"
        table.add_row(name + ending, good, *values, seconds)
    return table


def _value(cell: dict[str, Any], name: str, form: str) -> str:
    if name == "bound" and _is_unproved(cell):
        return NOTHING
    if name not in cell.get("mean", ()):
        return ""
    mean, spread = cell["mean"][name], cell["deviation"][name]
    shown = at_least(mean, 4) if name == "bound" else f"{mean:{form}}"
    return shown + ("" if spread is None else f" ± {spread:{form}}")


def _is_unproved(cell: dict[str, Any]) -> bool:
    """Whether its runs were measured and have no bound."""
    return bool(cell.get("mean")) and "bound" not in cell["mean"]


def _draw(console: Console, opened: Sweep, result: dict[str, Any]) -> None:
    """The picture, where there is something to see and the extra ``plot`` is installed."""
    if not any(cell.get("mean") for cell in result["cells"].values()):
        return
    try:
        from deqzoo.analysis import sweep_picture
    except ModuleNotFoundError:
        console.print("no picture: pip install 'deqzoo[plot]' draws it")
        return
    path = sweep_picture.draw(result, opened.workdir.path / "sweep.png", _title(opened))
    console.print(f"picture: {path}")


def _title(opened: Sweep) -> str:
    """``classifier, digits, 5 seeds of 200 steps``, without what differs between cells."""
    cell = opened.cells[0]
    shared = {
        "model": cell.config.model,
        "task": cell.config.task,
        "steps": f"{len(opened.seeds)} seeds of {cell.config.steps} steps",
    }
    return ", ".join(text for flag, text in shared.items() if flag not in dict(cell.axes))


def _tell_rest(console: Console, states: dict[int, str], result: dict[str, Any]) -> None:
    """What other processes have, and what nobody has begun."""
    held = [*states.values()].count(HELD)
    if held:
        console.print(f"{held} cells are in the hands of other processes")
    finished = sum(cell["state"] != OPEN for cell in result["cells"].values())
    if finished < len(result["cells"]):
        console.print(f"{finished} of {len(result['cells'])} cells are finished so far")


if __name__ == "__main__":
    main()
