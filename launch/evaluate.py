"""Evaluate a run: ``python -m launch.evaluate --workdir=runs/gelu --solver=picard --rtol=1e-6``.

Prints loss, metrics, solver steps, convergence and speed of the run's own solver and of every
--solver given besides, with the largest difference of their outputs, and writes them as JSON. With
--task it is another task of the same shapes, scaled in that task's own way. Examples that did not
converge are counted by status, with advice.

Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from deqzoo import catalog
from deqzoo.core.solver import Solver
from deqzoo.data.examples import SPLITS
from deqzoo.local_path import local_path
from deqzoo.runs import variants
from deqzoo.runs.evaluate import BATCH_SIZE, evaluate
from deqzoo.runs.evaluation import SolverResult
from deqzoo.runs.measures import metrics_of
from deqzoo.runs.run import Run
from deqzoo.storage import files
from deqzoo.storage.checkpoint import CheckpointError
from deqzoo.training.provenance import versions
from launch import _command, _output, _runs

__all__ = ["main"]

_KIND = "deqzoo evaluation"


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of ``launch.evaluate``."""

    workdir: str = _command.option("", "Folder of the run.")
    step: str = _command.option(
        "", "Checkpoint: a step or 'best'; the latest good one if not given."
    )
    task: str = _command.option("", "Task recipe, or npz:PATH; the run's own task if not given.")
    split: str = _command.option("test", "test, validation or train.")
    solver: tuple[str, ...] = _command.option(
        (), "Solver recipe to compare with the run's. Repeatable."
    )
    rtol: float | None = _command.option(
        None, "Relative tolerance of every --solver; of the run's solver if none is given."
    )
    max_steps: int | None = _command.option(None, "Largest number of evaluations, likewise.")
    precision: str | None = _command.option(
        None, "Precision of the products, likewise: bfloat16, float32."
    )
    batch_size: int = _command.option(BATCH_SIZE, "Examples in a call.")
    output: str = _command.option("", "JSON file to write; <workdir>/evaluation.json if not given.")
    plugin: tuple[str, ...] = _command.option(
        (),
        "Python modules to import first, among them those that the run names. Repeatable.",
    )

    def __post_init__(self):
        if self.split not in SPLITS:
            raise _command.UsageError(
                f"--split must be one of {', '.join(SPLITS)}; got {self.split!r}"
            )
        if self.batch_size < 1:
            raise _command.UsageError(f"--batch_size must be >= 1, got {self.batch_size}")

    @property
    def path(self) -> Path:
        """Where the results go."""
        return local_path(self.output or Path(self.workdir) / "evaluation.json")

    @property
    def changes(self) -> dict[str, Any]:
        """What is changed in every solver that is compared."""
        given = {name: getattr(self, name) for name in ("rtol", "max_steps", "precision")}
        return {name: value for name, value in given.items() if value is not None}


def main() -> None:
    """Entry point."""
    _command.start(show, EvaluateConfig, usage=__doc__ or "", errors=(CheckpointError,))


def show(config: EvaluateConfig) -> int:
    """Evaluate, print, and write the file."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.width = console.width if console.is_terminal else 160
    run = _runs.open_run(console, config.workdir, config.step, config.plugin)
    _output.claim(config.path, _is_evaluation, "evaluation")
    solvers = _solvers(config, run)
    task = config.task or run.config.task
    data = catalog.tasks.get(task).load()
    with _runs.plain_warnings(console):
        found = evaluate(
            run, data, split=config.split, solvers=solvers, batch_size=config.batch_size
        )
    rows, examples = found.results, found.examples
    console.print(
        f"step {run.step} of {run.path} on the {examples} {config.split} examples of {task}, "
        f"{jax.default_backend()}, {jax.devices()[0].device_kind}"
    )
    forms = {name: ".4f" if of.is_share else ".5g" for name, of in metrics_of(run).items()}
    console.print(_table(rows, forms))
    _print_failures(console, rows, examples)
    record = {
        "kind": _KIND,
        "workdir": str(run.path),
        "step": run.step,
        "task": task,
        "split": config.split,
        "examples": examples,
        "batch_size": config.batch_size,
        "device": jax.devices()[0].device_kind,
        "versions": versions(),
        "evaluations": [dataclasses.asdict(row) for row in rows],
    }
    files.write(config.path, files.to_json(record))
    console.print(f"written: {config.path}")
    return _command.DONE


def _is_evaluation(path: Path) -> bool:
    try:
        return json.loads(files.read(path)).get("kind") == _KIND
    except (ValueError, AttributeError, RecursionError):
        return False


def _solvers(config: EvaluateConfig, run: Run) -> list[Solver]:
    try:
        return variants.solvers(config.solver, run.model.deq.solver, config.changes)
    except catalog.CatalogError:
        raise
    except ValueError as error:
        raise _command.UsageError(str(error)) from None


def _table(rows: tuple[SolverResult, ...], metrics: dict[str, str]) -> Table:
    columns = {name.replace("_", " "): (name, form) for name, form in metrics.items()} | {
        "steps, mean": ("solver_steps", ".1f"),
        "max": ("solver_steps_max", ".0f"),
        "converged": ("converged", ".4f"),
        "worst residual": ("residual", ".1e"),
    }
    table = Table(title="the run's own solver first", title_justify="left")
    table.add_column("solver", overflow="fold")
    for head in (*columns, "difference", "examples/s"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        numbers = [format(row.metrics[key], form) for key, form in columns.values()]
        table.add_row(
            row.solver, *numbers, f"{row.difference:.1e}", f"{row.examples_per_second:.0f}"
        )
    return table


def _print_failures(console: Console, rows: tuple[SolverResult, ...], examples: int) -> None:
    for row in rows:
        for failure in row.failures:
            console.print(
                f"{row.solver}: {failure.examples} of {examples} examples ended {failure.status} "
                f"(first: example {failure.first}; worst relative residual "
                f"{failure.residual:.1e}): {failure.advice}"
            )


if __name__ == "__main__":
    main()
