"""How fast the equilibria are found: relative residual against evaluations of the cell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from deqzoo.analysis.equilibria import comparable, name_of, solve
from deqzoo.analysis.finding import Finding
from deqzoo.core.solution import Solution, Status
from deqzoo.core.solver import Solver
from deqzoo.nn.model import Model

_OTHERS = ("picard", "anderson")
_COLOURS, _WIDTHS = ("C0", "C1", "C2"), (3.5, 2.2, 1.2)


@dataclass(frozen=True)
class Trace:
    """The solves of one solver.

    Attributes:
        solver: its name.
        median: relative residual ‖f(z)-z‖/‖f(z)‖ after every evaluation, median over examples; a
            finished example counts with its last one.
        low: the smallest.
        high: the largest.
        steps: evaluations of every example.
        converged: whether it met the tolerance.
        rate: factor by which its residual fell per evaluation in the end.
    """

    solver: str
    median: Float[np.ndarray, " steps"]
    low: Float[np.ndarray, " steps"]
    high: Float[np.ndarray, " steps"]
    steps: Int[np.ndarray, " n"]
    converged: Bool[np.ndarray, " n"]
    rate: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Convergence(Finding):
    """Traces of the run's own solver, first, and of others under the same tolerance.

    Attributes:
        traces: one of each solver.
        rtol: the tolerance; None for the default of the dtype.
    """

    traces: tuple[Trace, ...]
    rtol: float | None

    healthy: ClassVar[str] = (
        "straight lines down to the tolerance within a few tens of evaluations, all examples "
        "close together; a plateau means a map that does not contract"
    )

    @property
    def facts(self) -> dict[str, float | int | str]:
        """Steps and success of every solver."""
        found: dict[str, float | int | str] = {}
        for trace in self.traces:
            found[f"{trace.solver}: steps, median"] = float(np.median(trace.steps))
            found[f"{trace.solver}: steps, largest"] = int(np.max(trace.steps))
            found[f"{trace.solver}: share converged"] = float(np.mean(trace.converged))
        return found

    @property
    def seen(self) -> str:
        """Median steps of each."""
        each = ", ".join(
            f"{trace.solver} needs {np.median(trace.steps):g} evaluations in the median and "
            f"{np.max(trace.steps)} at most"
            for trace in self.traces
        )
        return (
            f"Relative residual against evaluations of the cell for {len(self.traces[0].steps)} "
            f"test examples: median (line) and range (shade). {each[0].upper()}{each[1:]}."
        )

    def draw(self, path: Path) -> Path:
        """Median and range of the residuals."""
        from deqzoo.analysis.figure import count_along, figure

        with figure(path, 1, 2, (9, 3.5), width_ratios=(2, 1)) as (_, axes):
            left, right = axes[0]
            styles = zip(self.traces, _COLOURS, _WIDTHS, strict=False)  # curves may coincide
            for trace, colour, width in styles:
                evaluations = np.arange(1, len(trace.median) + 1)
                left.plot(
                    evaluations, trace.median, color=colour, linewidth=width, label=trace.solver
                )
                left.fill_between(
                    evaluations, trace.low, trace.high, color=colour, alpha=0.18, linewidth=0
                )
            left.set(yscale="log", xlabel="evaluations of the cell", ylabel="relative residual")
            left.legend(frameon=False)
            steps = [trace.steps for trace in self.traces]
            right.boxplot(steps, tick_labels=[trace.solver for trace in self.traces], whis=(0, 100))
            right.set(ylabel="evaluations needed")
            right.set_ylim(bottom=0)
            count_along(left.xaxis)
            count_along(right.yaxis)
        return path


def convergence(model: Model, x: Any) -> Convergence:
    """Residuals of the model's solver, of Picard iteration and of Anderson acceleration."""
    solvers = comparable(model, *_OTHERS)
    traces = (_trace(each, solve(model, x, solver=each).solution) for each in solvers)
    return Convergence(tuple(traces), model.deq.solver.rtol)


def _trace(solver: Solver, solution: Solution) -> Trace:
    stats = solution.stats
    filled = filled_trace(solution)
    return Trace(
        solver=name_of(solver),
        median=np.median(filled, axis=0),
        low=np.min(filled, axis=0),
        high=np.max(filled, axis=0),
        steps=np.asarray(stats.steps),
        converged=np.asarray(stats.status) == Status.CONVERGED,
        rate=np.asarray(stats.rate, np.float64),
    )


def filled_trace(solution: Solution) -> Float[np.ndarray, "n steps"]:
    """The trace of every example up to the slowest, without gaps.

    Where products with the Jacobian took steps, the last residual stands; after the end, that of
    the value returned. Not finite residuals count as the largest number.
    """
    steps = np.asarray(solution.stats.steps)
    last = np.asarray(solution.stats.relative_residual, np.float64)
    length = int(steps.max()) + 1
    rows = np.full((len(steps), length), np.nan)
    known = np.asarray(solution.trace, np.float64).T[:, :length]
    rows[:, : known.shape[1]] = known
    for column in range(1, length):
        rows[:, column] = np.where(np.isnan(rows[:, column]), rows[:, column - 1], rows[:, column])
        rows[:, column] = np.where(column >= steps, last, rows[:, column])
    return np.nan_to_num(rows, nan=np.finfo(float).max, posinf=np.finfo(float).max)
