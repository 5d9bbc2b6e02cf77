"""The Gram matrix of the equilibria along training: its smallest eigenvalue and its spectrum."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Float

from deqzoo.analysis.equilibria import solve
from deqzoo.analysis.finding import Finding
from deqzoo.analysis.history import history
from deqzoo.core import trees
from deqzoo.nn.model import Model
from deqzoo.runs.run import Run
from deqzoo.theory import TheoremNetwork


@dataclass(frozen=True)
class Gram(Finding):
    """Eigenvalues of G = Z Zᵀ, one row of Z per training example.

    λ_min(G) > 0 is what makes gradient descent on the square loss converge at a linear rate: the
    gradient in the readout alone is at least √(2 λ_min Φ).

    Attributes:
        examples: n, the rows of Z.
        units: numbers of a state; the rank of G is at most this.
        step: steps of the checkpoints; 0 is the start.
        eigenvalues: decreasing, of every step.

    References:
        Ling et al., "Global Convergence of Over-parameterized Deep Equilibrium Models", arXiv
        2205.13814; Truong, arXiv 2302.05797.
    """

    examples: int
    units: int
    step: tuple[int, ...]
    eigenvalues: Float[np.ndarray, "steps n"]

    healthy: ClassVar[str] = (
        "λ_min stays well above 0 and does not collapse during training; a long flat spectrum "
        "tells examples apart, a steep one hardly does"
    )

    @property
    def smallest(self) -> Float[np.ndarray, " steps"]:
        """λ_min at every step."""
        return self.eigenvalues[:, -1]

    @property
    def facts(self) -> dict[str, float | int | str]:
        """Both ends of the spectrum at both ends of training."""
        return {
            "training examples in G": self.examples,
            "λ_min(G), first": float(self.smallest[0]),
            "λ_min(G), last": float(self.smallest[-1]),
            "λ_max(G), last": float(self.eigenvalues[-1, 0]),
        }

    @property
    def seen(self) -> str:
        """How λ_min moved."""
        return (
            f"The Gram matrix of the equilibria of {self.examples} training examples "
            f"({self.units} units). Left: its largest and smallest eigenvalue along training; "
            f"λ_min went from {self.smallest[0]:.3g} at step {self.step[0]} to "
            f"{self.smallest[-1]:.3g} at step {self.step[-1]}. Right: the whole spectrum at every "
            "checkpoint."
        )

    def draw(self, path: Path) -> Path:
        """λ_min and λ_max against the step, and the spectra."""
        import matplotlib

        from deqzoo.analysis.figure import figure, label_plainly

        positive = np.where(self.eigenvalues > 0, self.eigenvalues, np.nan)
        with figure(path, 1, 2, (9, 3.5)) as (_, axes):
            left, right = axes[0]
            left.plot(self.step, positive[:, 0], "o-", markersize=4, color="C7", label="λ_max(G)")
            left.plot(self.step, positive[:, -1], "o-", markersize=4, color="C0", label="λ_min(G)")
            left.set(yscale="log", xlabel="training step", ylabel="eigenvalue")
            shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(self.step)))
            widths = np.linspace(3, 1, len(self.step))  # spectra may coincide
            index = np.arange(1, self.eigenvalues.shape[1] + 1)
            for step, values, shade, width in zip(self.step, positive, shades, widths, strict=True):
                right.plot(
                    index,
                    values,
                    ".-",
                    markersize=3,
                    linewidth=width,
                    color=shade,
                    label=f"step {step}",
                )
            right.set(xscale="log", yscale="log", xlabel="index", ylabel="eigenvalue of G")
            label_plainly(right)
            for axis in (left, right):
                axis.legend(frameon=False)
        return path


def gram(run: Run, x: Any) -> Gram:
    """The spectrum of G over the inputs x at every stored checkpoint.

    With more examples than units G is singular whatever the weights: half as many examples as
    units are taken then.
    """
    first = lambda count: jax.tree.map(lambda array: array[:count], x)  # noqa: E731
    units = trees.example_size(run.model.deq.cell.start(run.model.injection(first(1))))
    examples = trees.batch_size(x)
    rows = first(examples if examples <= units else max(1, units // 2))
    found = [(step, spectrum(model, rows)) for step, model in history(run)]
    steps, values = zip(*found, strict=True)
    return Gram(trees.batch_size(rows), units, steps, np.stack(values))


def spectrum(model: Model, x: Any) -> Float[np.ndarray, " n"]:
    """Eigenvalues of Z Zᵀ, decreasing: the squared singular values of Z.

    A wide model is solved in float64 to the rounding floor, as ``Network.gram`` does; another as it
    is, and eigenvalues below the square of its tolerance are noise.
    """
    if isinstance(model, TheoremNetwork):
        Z = model.network().equilibrium(np.asarray(x))[0]
    else:
        Z = np.asarray(trees.ravel(solve(model, x).solution.value), np.float64)
    values = np.square(np.linalg.svd(Z, compute_uv=False))
    return np.concatenate([values, np.zeros(trees.batch_size(x) - len(values))])
