"""By what several runs are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deqzoo.training.evaluation import LOSS, recorded

Rows = Sequence[Mapping[str, Any]]


def shared_metric(runs: Sequence[Rows]) -> tuple[str, str | None]:
    """The split, and the first metric on it besides the loss that all runs recorded, if any.

    The split is that of validation, by which one chooses, or of test where a run holds nothing out.

    Args:
        runs: the reports of each.

    Example:
        >>> from deqzoo.analysis.shared_metric import shared_metric
        >>> shared_metric([[{"test_loss": 2.3, "test_accuracy": 0.1}], [{"test_loss": 1.0}]])
        ('test', None)
    """
    split = "validation" if all(measured(rows, "validation") for rows in runs) else "test"
    first, *others = (measured(rows, split) for rows in runs)
    shared = (name for name in first if all(name in other for other in others))
    return split, next((name for name in shared if name != LOSS), None)


def measured(rows: Rows, split: str) -> list[str]:
    """The names of all metrics that some report holds of a split."""
    return list(dict.fromkeys(name for row in rows for name in recorded(row, split)))
