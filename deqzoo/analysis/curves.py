"""How the run went: loss, metrics, solver steps and bound against the training step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from deqzoo.analysis.finding import Finding, InapplicableError
from deqzoo.data.examples import SPLITS
from deqzoo.runs.run import Run
from deqzoo.training.evaluation import recorded
from deqzoo.training.promises import guarantees

_LAST = {
    "train loss (last batch)": "loss",
    "solver steps on the test split, mean": "test_solver_steps",
    "share converged on the test split": "test_converged",
}


@dataclass(frozen=True)
class Curves(Finding):
    """The lines of metrics.jsonl.

    Attributes:
        title: model, activation and task.
        metrics: the lines.
        bound: what the metric ``bound`` is of, in symbols; "" where nothing is proved.
    """

    title: str
    metrics: tuple[dict[str, Any], ...]
    bound: str

    healthy: ClassVar[str] = (
        "train and test loss fall together, the solver steps stay few, and the bound of the "
        "guarantee, where there is one, stays below 1"
    )

    @property
    def facts(self) -> dict[str, float | int | str]:
        """The last value of each metric."""
        names = [f"{s}_{n}" for row in self.metrics for s in SPLITS for n in recorded(row, s)]
        keys = {name.replace("_", " "): name for name in names} | _LAST
        last = {label: last_of(self.metrics, key) for label, key in keys.items()}
        return {label: value for label, value in last.items() if value is not None}

    @property
    def seen(self) -> str:
        """First and last loss."""
        losses = [row["loss"] for row in self.metrics if row.get("loss") is not None]
        fall = f"from {losses[0]:.3g} to {losses[-1]:.3g}" if losses else "without a finite value"
        return (
            "Loss, first metric (gradient norm where there is none), solver steps and "
            f"{self.bound or 'residual'} against the training step. The training loss went "
            f"{fall} in {self.metrics[-1]['step']} steps."
        )

    def draw(self, path: Path) -> Path:
        """Four panels over the training step."""
        from deqzoo.analysis import plots

        return plots.training(self.metrics, path, self.title, self.bound)


def curves(run: Run) -> Curves:
    """The curves of a run.

    Raises:
        InapplicableError: the run has written no metrics yet.
    """
    if not run.metrics:
        raise InapplicableError("metrics.jsonl holds no line yet")
    config = run.config
    title = f"{config.model}, {config.activation}, {config.task}"
    return Curves(title, tuple(run.metrics), guarantees.quantity(run.model.guarantees()))


def last_of(metrics: Any, key: str) -> float | None:
    """The last value of a metric that was written, or None."""
    values = [row[key] for row in metrics if row.get(key) is not None]
    return values[-1] if values else None
