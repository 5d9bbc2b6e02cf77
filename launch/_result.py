"""What a run has reached, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deqzoo.activation.digits import at_least
from deqzoo.data.examples import SPLITS
from deqzoo.nn.guarantee import NOTHING, Guarantee
from deqzoo.training.evaluation import recorded
from deqzoo.training.observer import Report
from deqzoo.training.promises import guarantees


def show(console: Console, summary: Report, promised: Sequence[Guarantee], folder: Path) -> None:
    """Print the table, and how to load the run."""
    table = Table(title="result", title_justify="left", show_header=False)
    rows = {
        f"{split} {name.replace('_', ' ')}": (f"{split}_{name}", "#.5g")
        for split in SPLITS
        for name in recorded(summary, split)
    }
    rows |= {
        "test solver steps, mean": ("test_solver_steps", ".1f"),
        "test solver steps, max": ("test_solver_steps_max", ".0f"),
        "test fraction converged": ("test_converged", ".4f"),
        "test worst relative residual": ("test_residual", ".1e"),
        "start certified by Theorem A": ("certified", ""),
        "worst loss ratio of a step": ("loss_ratio", ".9f"),
        "violated certified inequalities": ("alarms", "d"),
        "best checkpoint": ("best_step", "d"),
        "training time, s": ("seconds", ".1f"),
    }
    for label, (key, form) in rows.items():
        if summary.get(key) is not None:
            table.add_row(label, format(summary[key], form))
    table.add_row(*_guarantee(summary, promised))
    console.print(table)
    console.print(f"load it with deqzoo.load_run({str(folder)!r})")


def _guarantee(summary: Report, promised: Sequence[Guarantee]) -> tuple[str, str]:
    """The bound that was reached, or that there is none."""
    if not promised:
        return "guarantee", NOTHING
    claims = " and ".join(dict.fromkeys(each.claim for each in promised))
    return f"{guarantees.quantity(promised)} (< 1: {claims})", at_least(summary["bound"], 4)
