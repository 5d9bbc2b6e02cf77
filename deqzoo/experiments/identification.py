"""DEQs found from their states, with and without noise."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from deqzoo import catalog
from deqzoo.analysis.experiment import Experiment, Say, require_activations
from deqzoo.identification import Identified, identify
from deqzoo.settings import In

__all__ = ["Identification"]

_GAIN = 0.8  # L‖A‖₂ of what is to be found
_EXPECTED = {  # in the equilibria on new inputs, clean and with 5 % of noise, by other code
    "relu": (1e-4, 0.065),
    "tanh": (1e-4, 0.027),
    "softplus": (3e-4, 0.023),
}


@dataclass(frozen=True)
class Identification(Experiment):
    """A DEQ identified from n states has the equilibria of the one that made them, on new inputs.

    A°, B° and b° are drawn with L‖A°‖₂ = 0.8, x is standard normal, and ``deqzoo.identify`` sees z*
    with noise of a share of its deviation. The error is ‖z - z*‖ over ‖z*‖ at as many new inputs.
    A itself is not found under noise: the table says so. "Expected" was found earlier, with other
    code, networks and noise. Takes about 20 seconds on two cores.

    Attributes:
        activations: recipes.
        noises: shares of the deviation of the states.
        units: h.
        inputs: d.
        examples: n.
        kappa: L‖A‖₂ is at most this.
        seed: of all of it.

    References:
        The matching loss: Diakonikolas et al., "Approximation Schemes for ReLU Regression", arXiv
        2005.12844. Whole DEQs: deqzoo.
    """

    activations: tuple[str, ...] = ("relu", "tanh", "softplus", "gelu")
    noises: tuple[Annotated[float, In("[0, inf)")], ...] = (0.0, 0.05)
    units: Annotated[int, In("[1, inf)")] = 20
    inputs: Annotated[int, In("[1, inf)")] = 10
    examples: Annotated[int, In("[2, inf)")] = 1000
    kappa: Annotated[float, In("(0, 1)")] = 0.9
    seed: Annotated[int, In("[0, inf)")] = 0

    def __post_init__(self):
        super().__post_init__()
        require_activations("activations", self.activations)

    def run(self, folder: Path, say: Say = print) -> dict[str, Any]:
        """One cell per activation and noise."""
        with self.cells(folder, say) as cells:
            rows = [
                cells.get(f"{recipe}, noise {noise:g}", functools.partial(self._row, recipe, noise))
                for recipe in self.activations
                for noise in self.noises
            ]
        return {"table": rows}

    def _row(self, recipe: str, noise: float) -> dict[str, Any]:
        rng = np.random.default_rng(self.seed)
        true = self._draw(recipe, rng)
        X, new = rng.standard_normal((2, self.examples, self.inputs))
        Z, wanted = true(X), true(new)
        Z = Z + noise * np.std(Z) * rng.standard_normal(Z.shape)
        found = identify(Z, X, true.activation, self.kappa / true.activation.lipschitz)
        return {
            "activation": recipe,
            "noise": noise,
            "error of new equilibria": _relative(found(new), wanted),
            "expected": _expected(recipe, noise),
            "error of A": _relative(found.A, true.A),
            "L‖A‖₂": true.activation.lipschitz * float(np.linalg.norm(found.A, 2)),
            "steps": found.steps,
        }

    def _draw(self, recipe: str, rng: np.random.Generator) -> Identified:
        act = catalog.activations.get(recipe)
        A = rng.standard_normal((self.units, self.units))
        A *= _GAIN / (act.lipschitz * np.linalg.norm(A, 2))
        B = rng.standard_normal((self.units, self.inputs)) / np.sqrt(self.inputs)
        return Identified(act, A, B, 0.1 * rng.standard_normal(self.units), 0, 0.0, True)

    def draw(self, results: dict[str, Any], path: Path) -> Path:
        """The errors, and those expected."""
        from deqzoo.analysis.figure import figure

        rows = results["table"]
        with figure(path, 1, 1, (7, 4)) as (_, axes):
            axis = axes[0, 0]
            for i, noise in enumerate(self.noises):
                own = [row for row in rows if row["noise"] == noise]
                errors = [row["error of new equilibria"] for row in own]
                style: dict[str, Any] = {"color": f"C{i}", "linestyle": "none", "markersize": 8}
                axis.plot(self.activations, errors, "o", label=f"noise {noise:g}", **style)
                known = [row for row in own if row["expected"] is not None]
                names = [row["activation"] for row in known]
                marks = [row["expected"] for row in known]
                axis.plot(names, marks, "_", label="expected", **{**style, "markersize": 22})
            axis.set(yscale="log", ylabel="relative error of the equilibria at new inputs")
            axis.set_title(f"DEQs of {self.units} units from {self.examples} states")
            axis.legend(frameon=False)
        return path


def _relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def _expected(recipe: str, noise: float) -> float | None:
    known = dict(zip((0.0, 0.05), _EXPECTED.get(recipe, ()), strict=False))
    return known.get(noise)
