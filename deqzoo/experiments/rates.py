"""The rate of gradient descent: measured against certified, and against predicted."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np

from deqzoo import catalog
from deqzoo.analysis.experiment import (
    Experiment,
    Say,
    papers_s_w,
    require_activations,
    require_increasing,
    sphere_points,
)
from deqzoo.settings import In
from deqzoo.theory import Network, certified_start, certify
from deqzoo.theory.network import descend

__all__ = ["Rates"]

_MOST = 1024  # examples of a tangent kernel
_MARKERS = "ovsDP^X*"


@dataclass(frozen=True)
class Rates(Experiment):
    """Measured Φ(τ+1)/Φ(τ) against 1 - ηλ_0/2 (certified) and against the tangent kernel's ratio.

    Certified regime: a = 0, labels small enough for Theorem A, and the largest certified step; the
    worst ratio of all steps must not exceed the certified rate. Practical regime: a ~ N(0, 1/m),
    labels N(0, 1), η = 1/λ_max(H); the last ratio is near the one that the tangent kernel H of the
    start predicts. Both are full-batch gradient descent in float64 with gradients in closed form.

    The defaults take 2 to 4 minutes on two cores. The papers have no such figure.

    Attributes:
        activations: recipes.
        widths: m, increasing.
        examples: n points on the sphere of radius √d.
        dimension: d.
        steps: of gradient descent, at least 2.
        seed: of data and weights.

    References:
        Theorem A is deqzoo's own, in the manner of Ling et al., "Global Convergence of
        Over-parameterized Deep Equilibrium Models", arXiv 2205.13814, Theorem 1. The prediction:
        Jacot et al., "Neural Tangent Kernel", arXiv 1806.07572.
    """

    activations: tuple[str, ...] = (
        "relu",
        "tanh",
        "sin",
        "erf",
        "gelu",
        "silu",
        "softplus",
        "cos",
    )
    widths: tuple[Annotated[int, In("[1, inf)")], ...] = (128, 256, 512, 1024)
    examples: Annotated[int, In("[2, inf)")] = 8
    dimension: Annotated[int, In("[2, inf)")] = 8
    steps: Annotated[int, In("[2, inf)")] = 40
    seed: Annotated[int, In("[0, inf)")] = 1

    def __post_init__(self):
        super().__post_init__()
        require_activations("activations", self.activations)
        require_increasing("widths", self.widths)
        most = min(self.widths[0], _MOST)
        if self.examples > most:
            raise ValueError(
                "no width below the number of examples can be certified, and their tangent kernel "
                f"must fit: expected at most {most} examples for widths from {self.widths[0]}, got "
                f"{self.examples}"
            )

    def run(self, folder: Path, say: Say = print) -> dict[str, Any]:
        """One cell per activation and width, which holds both regimes."""
        with self.cells(folder, say) as cells:
            points = [
                {
                    "activation": recipe,
                    "width": m,
                    **cells.get(f"{recipe}, m = {m}", functools.partial(self._point, recipe, m)),
                }
                for recipe in self.activations
                for m in self.widths
            ]
        return {
            "points": points,
            "violations": sum(p["certified"]["measured"] > p["certified"]["bound"] for p in points),
            "table": [*map(_row, points)],
        }

    def _point(self, recipe: str, width: int) -> dict[str, Any]:
        with jax.enable_x64(True):
            return {
                "certified": self._certified(recipe, width),
                "practical": self._practical(recipe, width),
            }

    def _data(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(self.seed)
        x = sphere_points(rng, self.examples, self.dimension)
        return x, rng.standard_normal((self.examples, 1))

    def _certified(self, recipe: str, width: int) -> dict[str, float]:
        act = catalog.activations.get(recipe)
        options: dict[str, Any] = {"s_w": papers_s_w(act), "seed": self.seed, "max_width": width}
        x, y = self._data()
        start = certified_start(act, x, y, width=width, **options)
        descent = start.certificate.descent
        assert descent is not None  # of a start, which is certified
        ratios = self._descend(start.network, x, start.targets, descent.learning_rate)
        return {
            "learning_rate": descent.learning_rate,
            "label_scale": start.label_scale,
            "bound": descent.rate(),
            "measured": float(np.max(ratios)),
        }

    def _practical(self, recipe: str, width: int) -> dict[str, float]:
        act = catalog.activations.get(recipe)
        x, y = self._data()
        network = Network.draw(act, width, self.dimension, s_w=papers_s_w(act), seed=self.seed)
        prediction = certify(network, x, y).prediction
        assert prediction is not None  # of a kernel this small
        before, after = prediction.loss([self.steps - 1, self.steps], prediction.learning_rate)
        ratios = self._descend(network, x, y, prediction.learning_rate)
        return {
            "learning_rate": prediction.learning_rate,
            "predicted": float(after / before),
            "measured": float(ratios[-1]),
        }

    def _descend(self, start: Network, x, y, learning_rate: float) -> np.ndarray:
        """Φ(τ+1)/Φ(τ) of every step."""
        weights, losses = (start.W, start.U, start.a), []
        for _ in range(self.steps + 1):
            weights, loss, _ = descend(start.activation, *weights, x, y, learning_rate)
            losses.append(float(loss))
        return np.array(losses[1:]) / np.array(losses[:-1])

    def draw(self, results: dict[str, Any], path: Path) -> Path:
        """Decrease a step, measured against certified (left) and against predicted (right)."""
        from deqzoo.analysis.figure import figure

        with figure(path, 1, 2, (10, 4.6)) as (drawn, axes):
            drawn.suptitle(
                f"Gradient descent on wide DEQs: n = {self.examples}, d = {self.dimension}, "
                f"{self.steps} steps"
            )
            self._scatter(axes[0, 0], results["points"], "certified", "bound")
            axes[0, 0].set(
                title=f"certified (Theorem A): {results['violations']} below the diagonal",
                xlabel="certified decrease a step, ηλ₀/2",
                ylabel="least measured decrease a step",
            )
            self._scatter(axes[0, 1], results["points"], "practical", "predicted")
            axes[0, 1].set(
                title="practical, η = 1/λ_max(H)",
                xlabel=f"decrease of step {self.steps} predicted by the tangent kernel",
                ylabel=f"measured decrease of step {self.steps}",
            )
            self._legend(drawn)
        return path

    def _scatter(self, axis: Any, points: list[dict], regime: str, told: str) -> None:
        """1 - Φ(τ+1)/Φ(τ) measured against told, and the diagonal."""
        from deqzoo.analysis.figure import label_plainly

        for point in points:
            at = 1 - point[regime][told], 1 - point[regime]["measured"]
            axis.plot(*at, linestyle="none", markersize=6, alpha=0.85, **self._style(point))
        axis.set(xscale="log", yscale="log")
        ends = [*axis.get_xlim(), *axis.get_ylim()]
        span = min(ends), max(ends)
        axis.plot(span, span, color="black", linestyle="--", linewidth=1, zorder=0)
        axis.set(xlim=span, ylim=span, aspect="equal")
        label_plainly(axis)

    def _style(self, point: dict) -> dict[str, Any]:
        """Colours tell the activations, markers the widths."""
        return {
            "color": _colour(self.activations.index(point["activation"])),
            "marker": _marker(self.widths.index(point["width"])),
            "markeredgewidth": 0,
        }

    def _legend(self, drawn: Any) -> None:
        from matplotlib.lines import Line2D

        dot: dict[str, Any] = {"linestyle": "none", "markeredgewidth": 0}
        colours = [
            Line2D([], [], color=_colour(i), marker="o", label=recipe, **dot)
            for i, recipe in enumerate(self.activations)
        ]
        markers = [
            Line2D([], [], color="0.4", marker=_marker(i), label=f"m = {width}", **dot)
            for i, width in enumerate(self.widths)
        ]
        drawn.legend(handles=[*colours, *markers], loc="outside right center", frameon=False)


def _colour(place: int) -> str:
    return f"C{place % 10}"


def _marker(place: int) -> str:
    return _MARKERS[place % len(_MARKERS)]


def _row(point: dict[str, Any]) -> dict[str, Any]:
    certified, practical = point["certified"], point["practical"]
    return {
        "activation": point["activation"],
        "width": point["width"],
        "certified decrease": 1 - certified["bound"],
        "measured at least": 1 - certified["measured"],
        "predicted ratio": practical["predicted"],
        "measured ratio": practical["measured"],
    }
