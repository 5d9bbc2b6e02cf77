"""The bounds of the guarantees along training, and the numbers behind them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from deqzoo.activation.digits import at_least
from deqzoo.analysis.finding import Finding, InapplicableError
from deqzoo.analysis.history import history
from deqzoo.nn.guarantee import NOTHING
from deqzoo.nn.pure_model import PureModel
from deqzoo.runs.run import Run
from deqzoo.training.promises import guarantees


@dataclass(frozen=True)
class Weights(Finding):
    """The largest proved bound, of L‖W‖₂ for z = φ(Wz + b), at every checkpoint.

    Attributes:
        quantity: what is bounded, in symbols.
        step: steps of the checkpoints; 0 is the start.
        bound: at those steps, computed anew.
        recorded: (step, bound) as training wrote it.
        spectra: name of a parameter -> the numbers whose largest is bounded (L times the singular
            values of W), at the first and the last of the steps; empty where the guarantee has
            none.
    """

    quantity: str
    step: tuple[int, ...]
    bound: Float[np.ndarray, " steps"]
    recorded: tuple[tuple[int, float], ...]
    spectra: dict[str, tuple[Float[np.ndarray, " n"], ...]]

    healthy: ClassVar[str] = "every point lies below 1, where the guarantee holds"

    @property
    def facts(self) -> dict[str, float | int | str]:
        """Start and end."""
        highest = float(np.max([*self.bound, *(value for _, value in self.recorded)]))
        ends = {"first": self.bound[0], "last": self.bound[-1], "largest": highest}
        return {f"{self.quantity}, {name}": float(value) for name, value in ends.items()}

    @property
    def seen(self) -> str:
        """Where the bound began and ended."""
        first, last = (at_least(float(self.bound[i]), 4) for i in (0, -1))
        behind = f" Right: {self._behind} at these two steps." if self.spectra else ""
        return (
            f"Left: the proved bound of {self.quantity} along training, as recorded and as "
            f"computed again from the checkpoints; it went from {first} at step {self.step[0]} to "
            f"{last} at step {self.step[-1]}.{behind}"
        )

    @property
    def _behind(self) -> str:
        return f"the numbers whose largest is {self.quantity}, of {', '.join(self.spectra)},"

    def draw(self, path: Path) -> Path:
        """The bound against the step, and the numbers behind it."""
        from deqzoo.analysis.figure import figure

        with figure(path, 1, 2 if self.spectra else 1, (9, 3.5)) as (_, axes):
            left = axes[0, 0]
            if self.recorded:
                left.plot(*zip(*self.recorded, strict=True), color="C7", label="recorded")
            left.plot(self.step, self.bound, "o", markersize=5, label="from checkpoints")
            left.axhline(1, color="C3", linestyle="--", label="no guarantee above")
            left.set(xlabel="training step", ylabel=self.quantity)
            left.set_ylim(0, 1.1 * max(1.0, float(np.max(self.bound))))
            left.legend(frameon=False)
            if self.spectra:
                self._draw_spectra(axes[0, 1])
        return path

    def _draw_spectra(self, axis) -> None:
        for name, pair in self.spectra.items():
            ends = zip((self.step[0], self.step[-1]), pair, (3.0, 1.2), strict=True)
            for step, values, width in ends:  # curves may coincide
                axis.plot(values, linewidth=width, label=f"{name}, step {step}")
        axis.axhline(1, color="C3", linestyle="--")
        axis.set(xlabel="index", ylabel="what the bound is of")
        axis.set_ylim(bottom=0)
        axis.legend(frameon=False)


def weights(run: Run) -> Weights:
    """The bounds of a run.

    Raises:
        InapplicableError: the model has no guarantee.
    """
    promised = run.model.guarantees()
    if not promised:
        raise InapplicableError(f"{NOTHING}: the model declares no guarantee, hence no bound")
    found = [(step, PureModel(model).state.parameters) for step, model in history(run)]
    ends = found[0][1], found[-1][1]
    spectra = [[each.spectra(parameters) for parameters in ends] for each in promised]
    return Weights(
        quantity=guarantees.quantity(promised),
        step=tuple(step for step, _ in found),
        bound=np.array([guarantees.largest_bound(promised, weights) for _, weights in found]),
        recorded=tuple((r["step"], r["bound"]) for r in run.metrics if r.get("bound") is not None),
        spectra={name: (first[name], last[name]) for first, last in spectra for name in first},
    )
