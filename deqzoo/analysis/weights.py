"""The contraction factor L‖W‖₂ along training, and the singular values behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from deqzoo.analysis.finding import Finding, InapplicableError
from deqzoo.analysis.history import history
from deqzoo.nn.model import Model
from deqzoo.runs.run import Run
from deqzoo.training.promises import guarantees
from deqzoo.training.step import split_model

_LARGEST = 4096  # rows up to which all singular values are computed


@dataclass(frozen=True)
class Weights(Finding):
    """‖W‖₂ over its limit, L‖W‖₂ for z = φ(Wz + b), at every checkpoint.

    Attributes:
        step: steps of the checkpoints; 0 is the start.
        contraction: matrix -> factor at those steps, computed anew in float64.
        recorded: (step, largest factor) as training wrote it.
        singular: matrix -> singular values over the limit, at the first and the last of the steps;
            empty for matrices of more than 4096 rows.
    """

    step: tuple[int, ...]
    contraction: dict[str, Float[np.ndarray, " steps"]]
    recorded: tuple[tuple[int, float], ...]
    singular: dict[str, tuple[Float[np.ndarray, " n"], ...]]

    healthy: ClassVar[str] = (
        "every point lies below 1, where the equilibrium exists and is unique for every input"
    )

    @property
    def largest(self) -> Float[np.ndarray, " steps"]:
        """The largest factor at every step."""
        return np.max(np.stack([*self.contraction.values()]), axis=0)

    @property
    def facts(self) -> dict[str, float | int | str]:
        """Start and end."""
        highest = max([*self.largest, *(value for _, value in self.recorded)])
        return {
            "L‖W‖₂, first": float(self.largest[0]),
            "L‖W‖₂, last": float(self.largest[-1]),
            "L‖W‖₂, largest": float(highest),
        }

    @property
    def seen(self) -> str:
        """Where the factor began and ended."""
        return (
            "Left: the contraction factor L‖W‖₂ along training, as recorded and as computed again "
            f"from the checkpoints; it went from {self.largest[0]:.4f} at step {self.step[0]} to "
            f"{self.largest[-1]:.4f} at step {self.step[-1]}. Right: all singular values of W, "
            "times L, at these two steps."
        )

    def draw(self, path: Path) -> Path:
        """The factor against the step, and the singular values."""
        from deqzoo.analysis.figure import figure

        with figure(path, 1, 2, (9, 3.5)) as (_, axes):
            left, right = axes[0]
            if self.recorded:
                left.plot(*zip(*self.recorded, strict=True), color="C7", label="recorded")
            for name, values in self.contraction.items():
                left.plot(self.step, values, "o", markersize=5, label=f"from checkpoints: {name}")
            left.axhline(1, color="C3", linestyle="--", label="no guarantee above")
            left.set(xlabel="training step", ylabel="L ‖W‖₂")
            left.set_ylim(0, 1.1 * max(1.0, float(np.max(self.largest))))
            for name, spectra in self.singular.items():
                ends = zip((self.step[0], self.step[-1]), spectra, (3.0, 1.2), strict=True)
                for step, values, width in ends:  # curves may coincide
                    right.plot(values, linewidth=width, label=f"{name}, step {step}")
            right.axhline(1, color="C3", linestyle="--")
            right.set(xlabel="index", ylabel="L times singular value")
            right.set_ylim(bottom=0)
            for axis in (left, right):
                if axis.get_legend_handles_labels()[0]:
                    axis.legend(frameon=False)
        return path


def weights(run: Run) -> Weights:
    """The contraction factors of a run.

    Raises:
        InapplicableError: no bound on the weights makes this model well posed.
    """
    limits = run.model.norm_limits()
    if not limits:
        raise InapplicableError("no bound on the weights of this model makes it well posed")
    steps, factors, ends = [], [], []
    for step, model in history(run):
        parameters = split_model(model)[1]
        steps.append(step)
        factors.append(guarantees.contraction_factors(parameters, limits))
        ends = [*ends[:1], model]
    return Weights(
        step=tuple(steps),
        contraction={"/".join(p): np.array([f[p] for f in factors]) for p in limits},
        recorded=tuple(
            (row["step"], row["contraction"])
            for row in run.metrics
            if row.get("contraction") is not None
        ),
        singular=_singular(ends[0], ends[-1], limits),
    )


def _singular(first: Model, last: Model, limits: dict[tuple[str, ...], float]) -> dict[str, Any]:
    """Singular values over the limit, for every constrained matrix of moderate size."""
    found = {}
    for path, limit in limits.items():
        pair = [_at(split_model(model)[1], path) for model in (first, last)]
        if max(pair[0].shape) <= _LARGEST:
            found["/".join(path)] = tuple(
                np.linalg.svd(weight, compute_uv=False) / limit for weight in pair
            )
    return found


def _at(parameters: dict[str, Any], path: tuple[str, ...]) -> Float[np.ndarray, "m n"]:
    node: Any = parameters
    for key in path:
        node = node[key]
    return np.asarray(node, np.float64)
