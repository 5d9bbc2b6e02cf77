"""Two or more runs side by side: settings, final metrics, curves, and means over seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from deqzoo.analysis.curves import last_of
from deqzoo.analysis.finding import Finding
from deqzoo.analysis.shared_metric import measured, shared_metric
from deqzoo.data.examples import SPLITS
from deqzoo.runs.run import Run

_FINAL = (
    "loss",
    "bound",
    "test_solver_steps",
    "test_converged",
    "lambda_min",
)
_SEED = "seed"
_DECIDE = ("task", "loss")  # what must be equal for losses to be comparable


@dataclass(frozen=True)
class Group:
    """Runs whose settings differ in nothing but the seed.

    Attributes:
        runs: their names.
        mean: metric -> mean of the final values.
        deviation: metric -> standard deviation over the seeds (with n - 1).
    """

    runs: tuple[str, ...]
    mean: dict[str, float]
    deviation: dict[str, float]


@dataclass(frozen=True)
class Comparison(Finding):
    """Runs side by side.

    Attributes:
        names: the shortest ends of the paths that tell the runs apart.
        settings: setting -> its value in every run, where they differ.
        final: metric -> its last value in every run, None where it was not written.
        groups: sets of runs that differ in the seed alone.
        notes: why numbers are not comparable.
        curves: the metrics of every run.
    """

    names: tuple[str, ...]
    settings: dict[str, tuple[Any, ...]]
    final: dict[str, tuple[float | None, ...]]
    groups: tuple[Group, ...]
    notes: tuple[str, ...]
    curves: tuple[list[dict[str, Any]], ...]

    healthy: ClassVar[str] = (
        "runs that differ in the seed alone lie close together; a difference between settings "
        "counts where it exceeds that spread"
    )

    @property
    def facts(self) -> dict[str, float | int | str]:
        """Means over seeds; the tables hold the rest."""
        found: dict[str, float | int | str] = {}
        for group in self.groups:
            for key in group.mean:
                label = f"{key} over {len(group.runs)} seeds ({', '.join(group.runs)})"
                found[label] = f"{group.mean[key]:.4g} ± {group.deviation[key]:.2g}"
        return found

    @property
    def seen(self) -> str:
        """What differs, and the curves."""
        keys = ", ".join(self.settings) or "nothing but their folders"
        return (
            f"Training loss (thin) and {self._split} loss (dots) of {len(self.names)} runs, and "
            f"{self._second()} on the {self._split} split. The settings differ in {keys}."
        )

    @property
    def _split(self) -> str:
        return shared_metric(self.curves)[0]

    def _second(self) -> str:
        return (self._metric() or "solver_steps").replace("_", " ")

    def _metric(self) -> str | None:
        return shared_metric(self.curves)[1]

    def draw(self, path: Path) -> Path:
        """Loss curves in one panel; a metric, or solver steps, in the other."""
        from deqzoo.analysis.figure import figure

        key = f"{self._split}_{self._metric() or 'solver_steps'}"
        with figure(path, 1, 2, (9, 3.8)) as (drawn, axes):
            left, right = axes[0]
            for number, (name, rows) in enumerate(zip(self.names, self.curves, strict=True)):
                colour = f"C{number % 10}"
                left.plot(*_points(rows, "loss"), color=colour, linewidth=0.9, alpha=0.7)
                left.plot(*_points(rows, f"{self._split}_loss"), "o-", color=colour, markersize=3)
                right.plot(*_points(rows, key), "o-", color=colour, markersize=3, label=name)
            left.set(yscale="log", xlabel="training step", ylabel="loss")
            right.set(xlabel="training step", ylabel=f"{self._split} {self._second()}")
            drawn.legend(loc="outside lower center", ncols=min(4, len(self.names)), frameon=False)
        return path

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the curves stand in the folders of the runs."""
        return {key: value for key, value in super().to_dict().items() if key != "curves"}


def compare(runs: Sequence[Run]) -> Comparison:
    """Settings and metrics of two or more runs.

    Raises:
        ValueError: fewer than two.
    """
    if len(runs) < 2:
        raise ValueError(f"a comparison needs at least two runs, got {len(runs)}")
    names = short_names([run.path for run in runs])
    settings = [run.config.to_dict() for run in runs]
    named = (f"{s}_{n}" for s in SPLITS for run in runs for n in measured(run.metrics, s))
    keys = (*dict.fromkeys(named), *_FINAL)
    final = {key: tuple(last_of(run.metrics, key) for run in runs) for key in keys}
    final = {key: values for key, values in final.items() if any(v is not None for v in values)}
    return Comparison(
        names=names,
        settings=_differing(settings),
        final=final,
        groups=_groups(names, settings, final),
        notes=_notes(runs),
        curves=tuple(run.metrics for run in runs),
    )


def short_names(paths: Sequence[Path]) -> tuple[str, ...]:
    """The ends of the paths, as long as it takes to tell them apart.

    Example:
        >>> from pathlib import Path
        >>> from deqzoo.analysis.compare import short_names
        >>> short_names([Path("a/runs/tanh"), Path("b/runs/tanh")])
        ('a/runs/tanh', 'b/runs/tanh')
        >>> short_names([Path("runs/relu"), Path("runs/tanh")])
        ('relu', 'tanh')
    """
    longest = max(len(path.parts) for path in paths)
    for length in range(1, longest + 1):
        names = tuple("/".join(path.parts[-length:]) for path in paths)
        if len({*names}) == len(names):
            return names
    return tuple(map(str, paths))


def _differing(settings: Sequence[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    keys = sorted({key for each in settings for key in each})
    rows = {key: tuple(each.get(key) for each in settings) for key in keys}
    return {key: row for key, row in rows.items() if any(value != row[0] for value in row)}


def _groups(
    names: Sequence[str],
    settings: Sequence[dict[str, Any]],
    final: dict[str, tuple[float | None, ...]],
) -> tuple[Group, ...]:
    """Runs that agree in everything but the seed, with at least two seeds."""
    alike: dict[str, list[int]] = {}
    for number, each in enumerate(settings):
        rest = json.dumps({k: v for k, v in each.items() if k != _SEED}, sort_keys=True)
        alike.setdefault(rest, []).append(number)
    seeds = lambda rows: {settings[row][_SEED] for row in rows}  # noqa: E731
    return tuple(
        _group(names, rows, final) for rows in alike.values() if 1 < len(seeds(rows)) == len(rows)
    )


def _group(
    names: Sequence[str], rows: list[int], final: dict[str, tuple[float | None, ...]]
) -> Group:
    columns = {key: [values[row] for row in rows] for key, values in final.items()}
    known = {key: np.array(v, float) for key, v in columns.items() if None not in v}
    return Group(
        runs=tuple(names[row] for row in rows),
        mean={key: float(np.mean(values)) for key, values in known.items()},
        deviation={key: float(np.std(values, ddof=1)) for key, values in known.items()},
    )


def _notes(runs: Sequence[Run]) -> tuple[str, ...]:
    notes = []
    for key in _DECIDE:
        found = [run.config.task if key == "task" else run.resolved[key] for run in runs]
        if len({*found}) > 1:
            notes.append(f"the runs differ in their {key}: their losses are not comparable")
    if len({run.resolved["data"] for run in runs}) > 1 and not notes:
        notes.append("the runs saw different data under one name: they are not comparable")
    return tuple(notes)


def _points(rows: Sequence[dict[str, Any]], key: str) -> tuple[list[Any], list[Any]]:
    known = [row for row in rows if row.get(key) is not None]
    return [row["step"] for row in known], [row[key] for row in known]
