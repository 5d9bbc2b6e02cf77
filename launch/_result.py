"""What a run has reached, as a table."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from deqzoo.training.observer import Report


def show(console: Console, summary: Report, folder: Path) -> None:
    """Print the table, and how to load the run."""
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
    console.print(f"load it with deqzoo.load_run({str(folder)!r})")
