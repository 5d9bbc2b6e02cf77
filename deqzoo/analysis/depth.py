"""How many iterations the model really needs: its metric after K steps, and its effective depth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from deqzoo.analysis.convergence import filled_trace
from deqzoo.analysis.equilibria import comparable, name_of, solve, step_by_step
from deqzoo.analysis.finding import Finding
from deqzoo.analysis.metric import Metric
from deqzoo.core.solution import Solution
from deqzoo.core.solver import Solver
from deqzoo.nn.model import Model

_EVERY = 12  # up to here every K is looked at
_PER_OCTAVE = 4  # beyond
_RESIDUAL = 1e-3


@dataclass(frozen=True)
class Depth(Finding):
    """The metric of z_K, the iterate after K evaluations of the cell.

    A model cut at K is a weight-tied network of K layers. Its *effective depth* is the smallest K
    from which on the metric stays within the tolerance of that of the equilibrium.

    Attributes:
        metric: the task's first metric, or the loss.
        is_share: whether it lies in [0, 1].
        tolerance: what counts as equal, in words.
        equilibrium: the metric of the equilibrium.
        solvers: the run's solver, then Picard iteration.
        steps: the K that were looked at, of each solver.
        scores: the metric after them.
        effective: effective depth with each solver; None if it is not reached.
        picard: Picard steps of every example to a relative residual of 1e-3; NaN if it is not
            reached.

    References:
        Bai, Kolter and Koltun, "Deep Equilibrium Models", arXiv 1909.01377: the equilibrium is the
        limit of the depth.
    """

    metric: str
    is_share: bool
    tolerance: str
    equilibrium: float
    solvers: tuple[str, ...]
    steps: tuple[Int[np.ndarray, " k"], ...]
    scores: tuple[Float[np.ndarray, " k"], ...]
    effective: tuple[int | None, ...]
    picard: Float[np.ndarray, " n"]

    healthy: ClassVar[str] = (
        "the metric settles well before the solver stops and does not get worse with more steps; "
        "an effective depth of one or two says that the equilibrium hardly does more than a layer"
    )

    @property
    def facts(self) -> dict[str, float | int | str]:
        """Effective depth with each solver, Picard steps."""
        found: dict[str, float | int | str] = {
            f"{self.metric} of the equilibrium": self.equilibrium
        }
        for solver, depth in zip(self.solvers, self.effective, strict=True):
            found[f"effective depth, {solver}"] = "not reached" if depth is None else depth
        median = float(np.median(np.nan_to_num(self.picard, nan=math.inf)))
        found["Picard steps to residual 1e-3, median"] = median
        return found

    @property
    def seen(self) -> str:
        """Effective depths."""
        depths = ", ".join(
            f"{'not reached' if depth is None else depth} with {solver}"
            for solver, depth in zip(self.solvers, self.effective, strict=True)
        )
        return (
            f"Left: {self.metric} of the iterate after K evaluations of the cell, on "
            f"{len(self.picard)} test examples; the dotted line is the equilibrium "
            f"({self.equilibrium:.4g}). The effective depth, from which on it stays within "
            f"{self.tolerance}, is {depths}. Right: Picard steps that each example takes to a "
            "relative residual of 1e-3."
        )

    def draw(self, path: Path) -> Path:
        """The metric against K, and the Picard steps."""
        from deqzoo.analysis.figure import count_along, figure

        with figure(path, 1, 2, (9, 3.5), width_ratios=(2, 1)) as (_, axes):
            left, right = axes[0]
            rows = zip(self.solvers, self.steps, self.scores, self.effective, strict=True)
            for number, (solver, steps, scores, depth) in enumerate(rows):
                colour = f"C{number}"
                width = 1.2 if number else 3.0  # curves may coincide
                left.plot(steps, scores, ".-", color=colour, linewidth=width, label=solver)
                if depth is not None:
                    left.axvline(depth, color=colour, linestyle=":", linewidth=1)
            left.axhline(self.equilibrium, color="C7", linestyle=":", label="equilibrium")
            left.set(xlabel="evaluations of the cell, K", ylabel=f"{self.metric} of z_K")
            if self.is_share:
                left.set_ylim(0, 1.02)
            else:
                left.set(yscale="log")
            left.legend(frameon=False)
            reached = self.picard[np.isfinite(self.picard)]
            if len(reached):
                last = int(reached.max())
                right.hist(reached, bins=np.arange(0.5, last + 1.5, max(1, last // 25)), color="C2")
            right.set(xlabel="Picard steps to residual 1e-3", ylabel="examples")
            for axis in (left.xaxis, right.xaxis, right.yaxis):
                count_along(axis)
        return path


def depth(model: Model, x: Any, metric: Metric) -> Depth:
    """The metric along the iterations of the run's solver and of Picard's."""
    solvers = comparable(model, "picard")
    whole = [solve(model, x, solver=solver) for solver in solvers]
    equilibrium = metric(whole[0].outputs)
    along = [
        _along(model, x, metric, solver, int(np.max(solved.solution.stats.steps)))
        for solver, solved in zip(solvers, whole, strict=True)
    ]
    return Depth(
        metric=metric.name,
        is_share=metric.of.is_share,
        tolerance=metric.tolerance,
        equilibrium=equilibrium,
        solvers=tuple(map(name_of, solvers)),
        steps=tuple(steps for steps, _ in along),
        scores=tuple(scores for _, scores in along),
        effective=tuple(
            effective_depth(steps, metric.agrees(scores, equilibrium)) for steps, scores in along
        ),
        picard=steps_to(_RESIDUAL, whole[-1].solution),
    )


def steps_to(residual: float, solution: Solution) -> Float[np.ndarray, " n"]:
    """Evaluations of each example until its relative residual was this small; NaN if never."""
    reached = filled_trace(solution) <= residual
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1.0, np.nan)


def effective_depth(steps: Int[np.ndarray, " k"], agrees: Any) -> int | None:
    """The smallest K from which on all agree; None if the last does not.

    Example:
        >>> import numpy as np
        >>> from deqzoo.analysis.depth import effective_depth
        >>> effective_depth(np.array([0, 1, 2, 4, 8]), [False, True, False, True, True])
        4
    """
    found = None
    for step, close in zip(reversed(steps.tolist()), reversed(list(agrees)), strict=True):
        if not close:
            break
        found = step
    return found


def _along(
    model: Model, x: Any, metric: Metric, solver: Solver, last: int
) -> tuple[np.ndarray, np.ndarray]:
    """The K that are looked at, and the metric after each."""
    counts = step_counts(last)
    cut = step_by_step(solver, trace=False, trajectory=tuple(counts.tolist()))
    along = solve(model, x, solver=cut).along
    return counts, np.array([metric(outputs) for outputs in along])


def step_counts(last: int) -> Int[np.ndarray, " k"]:
    """0 ... 12, then four an octave, and the last."""
    octaves = math.log2(max(last, _EVERY) / _EVERY)
    beyond = _EVERY * 2 ** (np.arange(1, math.ceil(_PER_OCTAVE * octaves) + 1) / _PER_OCTAVE)
    counts = np.concatenate([np.arange(_EVERY + 1), np.round(beyond).astype(int), [last]])
    return np.unique(counts[counts <= last])
