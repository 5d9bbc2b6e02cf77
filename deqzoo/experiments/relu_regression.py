"""One rectifier from corrupted labels: the matching loss, and the scheme that is no rectifier."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import scipy.optimize
from jaxtyping import Float

from deqzoo.analysis.chow_gap import chow_gap
from deqzoo.analysis.experiment import Experiment, Say
from deqzoo.identification import improper, regress
from deqzoo.settings import In

__all__ = ["ReluRegression"]

_EXPECTED = {  # loss over that of the best rectifier, of both methods, by other code
    "gaussian noise": (1.0004, None),
    "10 % of the signs": (1.0000, 0.997),
    "top 15 % zeroed": (1.0000, None),
    "mixture": (1.0313, 0.92),
    "adversarial": (1.77, 0.446),
}


@dataclass(frozen=True)
class ReluRegression(Experiment):
    """E(ŷ - y)² over that of the best rectifier found: 1 is best, but an improper ŷ may go below.

    x is standard normal and y = max(x₁, 0), then corrupted: noise of deviation 0.3; a tenth of the
    signs turned; zero above the 85 % quantile; a fifth of the examples of another rectifier; y = 1
    where x₁ < -1, which the theorem's constant before the best loss is for. The best rectifier is
    that of descent on the square loss from the truth, the matching loss and random starts.
    "Expected" was found earlier with other code and draws. Takes about 12 seconds.

    Attributes:
        examples: n.
        dimension: d.
        degree: of the polynomial of ``improper``.
        starts: random ones.
        seed: of all of it.

    References:
        Diakonikolas et al., "Approximation Schemes for ReLU Regression", arXiv 2005.12844.
    """

    examples: Annotated[int, In("[20, inf)")] = 5000
    dimension: Annotated[int, In("[2, inf)")] = 6
    degree: Annotated[int, In("[0, inf)")] = 3
    starts: Annotated[int, In("[0, inf)")] = 8
    seed: Annotated[int, In("[0, inf)")] = 0

    def run(self, folder: Path, say: Say = print) -> dict[str, Any]:
        """One cell per corruption."""
        with self.cells(folder, say) as cells:
            return {"table": [cells.get(n, functools.partial(self._row, n)) for n in _EXPECTED]}

    def _row(self, name: str) -> dict[str, Any]:
        rng = np.random.default_rng(self.seed)
        x = rng.standard_normal((self.examples, self.dimension))
        y = _corrupted(name, x, rng)
        w = regress("relu", x, y)
        rectified = np.maximum(x @ w, 0)
        other = improper(x, y, degree=self.degree)(x)
        starts = [np.eye(self.dimension)[0], w, *rng.standard_normal((self.starts, len(w)))]
        best = min(_descended(x, y, start) for start in starts)
        surrogate, scheme = _EXPECTED[name]
        return {
            "labels": name,
            "best loss": best,
            "matching / best": float(np.mean((rectified - y) ** 2)) / best,
            "expected": surrogate,
            "improper / best": float(np.mean((other - y) ** 2)) / best,
            "expected of it": scheme,
            "Chow gap": chow_gap(x, rectified, y).gap,
        }

    def draw(self, results: dict[str, Any], path: Path) -> Path:
        """Both ratios, and those expected."""
        from deqzoo.analysis.figure import figure

        rows = results["table"]
        pairs = (("matching / best", "expected"), ("improper / best", "expected of it"))
        with figure(path, 1, 1, (8, 3.8)) as (_, axes):
            axis = axes[0, 0]
            for i, (measured, expected) in enumerate(pairs):
                places = np.arange(len(rows)) + 0.36 * (i - 0.5)
                axis.bar(places, [row[measured] for row in rows], 0.34, label=measured)
                known = [
                    (at, row[expected])
                    for at, row in zip(places, rows, strict=True)
                    if row[expected] is not None
                ]
                axis.plot(*zip(*known, strict=True), "k_", markersize=16)
            axis.axhline(1, color="black", linestyle=":", linewidth=1)
            axis.set_xticks(range(len(rows)), [row["labels"] for row in rows])
            axis.set(ylabel="square loss / best rectifier", title="bars: here; ticks: expected")
            axis.legend(frameon=False)
        return path


def _corrupted(
    name: str, x: Float[np.ndarray, "n d"], rng: np.random.Generator
) -> Float[np.ndarray, " n"]:
    reached = x[:, 0]
    y = np.maximum(reached, 0)
    chance = rng.random(len(y))
    return {
        "gaussian noise": y + 0.3 * rng.standard_normal(len(y)),
        "10 % of the signs": np.where(chance < 0.1, -y, y),
        "top 15 % zeroed": np.where(reached > np.quantile(reached, 0.85), 0, y),
        "mixture": np.where(chance < 0.8, y, np.maximum(x[:, 1], 0)),
        "adversarial": np.where(reached < -1, 1.0, y),
    }[name]


def _descended(x: np.ndarray, y: np.ndarray, start: np.ndarray) -> float:
    """The square loss where descent from a start ends."""

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        reached = x @ w
        error = np.maximum(reached, 0) - y
        return float(np.mean(error**2)), 2 * (error * (reached > 0)) @ x / len(x)

    return float(scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B").fun)
