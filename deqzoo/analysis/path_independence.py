"""Whether every start leads to the same equilibrium."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from deqzoo.analysis.equilibria import Solved, solve
from deqzoo.analysis.finding import Finding
from deqzoo.analysis.metric import Metric
from deqzoo.core import trees
from deqzoo.core.solution import Status
from deqzoo.core.trees import State
from deqzoo.nn.model import Model

_SCALES = (0.1, 1.0, 10.0)
_AGREE = 1e-3
_ROUNDINGS = 10  # of the dtype, if that is more
_FLOOR = 1e-17  # distances below are drawn here


@dataclass(frozen=True)
class PathIndependence(Finding):
    """Equilibria from several starts beside those from the cell's own start.

    The distance of two ends is ‖z - z'‖/max(‖z‖, ‖z'‖). The *asymptotic alignment score* is the
    mean cosine of the equilibrium from the cell's start and the one from another example's
    equilibrium: 1 for a model that forgets where it started.

    Attributes:
        starts: what each solve began from; the first is the cell's own start.
        distance: of every example's end to the one from the first start.
        cosine: of the same two ends.
        converged: whether the solve met the tolerance.
        tolerance: ends closer than this agree.
        metric: what ``score`` is.
        score: the task's first metric, or the loss, from each start.

    References:
        Anil et al., "Path Independent Equilibrium Models Can Better Exploit Test-Time Computation",
        arXiv 2211.09961, have the alignment score.
    """

    starts: tuple[str, ...]
    distance: Float[np.ndarray, "starts n"]
    cosine: Float[np.ndarray, "starts n"]
    converged: Bool[np.ndarray, "starts n"]
    tolerance: float
    metric: str
    score: tuple[float, ...]

    healthy: ClassVar[str] = (
        "all ends agree far within the tolerance, and the score does not depend on the start; "
        "where the model guarantees one equilibrium nothing else can be seen"
    )

    @property
    def agree(self) -> Bool[np.ndarray, " n"]:
        """Examples whose ends all agree."""
        return np.all(self.distance <= self.tolerance, axis=0)

    @property
    def dependent(self) -> Bool[np.ndarray, " n"]:
        """Examples with two different equilibria: converged ends that do not agree."""
        sound = self.converged & self.converged[:1]
        return np.any(sound & (self.distance > self.tolerance), axis=0)

    @property
    def alignment(self) -> float:
        """The asymptotic alignment score."""
        return float(np.mean(self.cosine[-1]))

    @property
    def facts(self) -> dict[str, float | int | str]:
        """Agreement, alignment, worst distance and the range of the score."""
        return {
            "share of examples whose ends all agree": float(np.mean(self.agree)),
            "share with two different equilibria": float(np.mean(self.dependent)),
            "largest distance of two ends": float(np.max(self.distance)),
            "asymptotic alignment score": self.alignment,
            f"{self.metric}, worst and best start": f"{min(self.score):.4g}, {max(self.score):.4g}",
        }

    @property
    def seen(self) -> str:
        """How many agree."""
        return (
            f"{self.distance.shape[1]} test examples solved from {len(self.starts)} starts. Left: "
            "relative distance of the end to the one from the cell's own start, median and range; "
            f"{np.mean(self.agree):.1%} of the examples agree from all starts (within "
            f"{self.tolerance:g}). Right: {self.metric} from each start."
        )

    def draw(self, path: Path) -> Path:
        """Distances of the ends, and the score, by start."""
        from deqzoo.analysis.figure import figure

        with figure(path, 1, 2, (9, 3.3), sharey=True) as (_, axes):
            left, right = axes[0]
            rows = np.arange(len(self.starts))
            distance = np.maximum(self.distance[1:], _FLOOR)
            middle = np.median(distance, axis=1)
            reach = np.stack([middle - distance.min(axis=1), distance.max(axis=1) - middle])
            left.errorbar(middle, rows[1:], xerr=reach, fmt="o", markersize=4, capsize=2)
            left.axvline(self.tolerance, color="C3", linestyle="--", label="agree below")
            left.set(xscale="log", xlabel="distance of the ends", xlim=(distance.min() / 3, 5))
            left.set_yticks(rows, self.starts)
            left.invert_yaxis()
            left.legend(frameon=False)
            right.plot(self.score, rows, "o", color="C1")
            finite = [score for score in self.score if np.isfinite(score)]
            top = max(finite, default=1.0)
            right.set(xlabel=f"{self.metric} from this start", xlim=(min(0, *finite), 1.05 * top))
        return path


def path_independence(
    model: Model, x: Any, metric: Metric, *, scales: tuple[float, ...] = _SCALES, seed: int = 0
) -> PathIndependence:
    """Solve from the cell's start, from normal draws of several sizes and from another's end.

    Args:
        model: the model.
        x: inputs.
        metric: judges the outputs from each start.
        scales: sizes of the random starts, in root mean squares of the equilibria.
        seed: of the draws.
    """
    first = solve(model, x)
    z = first.solution.value
    starts: dict[str, State] = {
        f"normal, size {scale:g}": _draw(z, scale, jax.random.key(seed + number))
        for number, scale in enumerate(scales)
    }
    starts["another's equilibrium"] = jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=0), z)
    ends: list[Solved] = [first, *(solve(model, x, z0=start) for start in starts.values())]
    pairs = [_compare(z, end.solution.value) for end in ends]
    return PathIndependence(
        starts=("the cell's start", *starts),
        distance=np.stack([distance for distance, _ in pairs]),
        cosine=np.stack([cosine for _, cosine in pairs]),
        converged=np.stack(
            [np.asarray(end.solution.stats.status) == Status.CONVERGED for end in ends]
        ),
        tolerance=max(_AGREE, _ROUNDINGS * trees.coarsest_eps(z)),
        metric=metric.name,
        score=tuple(metric(end.outputs) for end in ends),
    )


def _draw(z: State, scale: float, key: Any) -> State:
    """Normal numbers of ``scale`` times the root mean square of z (or of 1 if z is 0)."""
    rows = trees.ravel(z)
    size = float(jnp.sqrt(jnp.nanmean(jnp.square(rows))))
    noise = jax.random.normal(key, rows.shape, rows.dtype)
    return trees.unravel(noise * (scale * (size if size > 0 else 1.0)), z)


def _compare(a: State, b: State) -> tuple[np.ndarray, np.ndarray]:
    """Relative distance and cosine of every example; a NaN is as far as can be."""
    first, second = (np.asarray(trees.ravel(state), np.float64) for state in (a, b))
    norms = np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1)
    tiny = np.finfo(float).tiny
    distance = np.linalg.norm(first - second, axis=1) / np.maximum(np.maximum(*norms), tiny)
    both_zero = np.maximum(*norms) == 0
    cosine = np.sum(first * second, axis=1) / np.maximum(norms[0] * norms[1], tiny)
    return np.nan_to_num(distance, nan=2.0), np.nan_to_num(np.where(both_zero, 1.0, cosine))
