"""The kernels of wide DEQs in high dimension beside their equivalents and explicit networks."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float, Int

from deqzoo import catalog
from deqzoo.analysis.experiment import (
    Experiment,
    Say,
    papers_s_w,
    require_activations,
    require_increasing,
)
from deqzoo.settings import In
from deqzoo.theory import WideLimit, centred, equivalent, matching_net

__all__ = ["Equivalents"]

_RANKS = 60  # of the eigenvalues that are kept
_CURVES = {"DEQ": "-", "equivalent": "--", "explicit": ":"}


@dataclass(frozen=True)
class Equivalents(Experiment):
    """‖G* - G̃‖/‖G*‖ falls with the dimension: of a DEQ two classes see four numbers of φ.

    G* is the Gram matrix of the infinitely wide DEQ with the centred φ, G̃ its equivalent; the
    explicit network has one or two layers and the same four numbers. Two Gaussian classes of means
    8 e_a and covariances (1 + 8a/√p) I, a = 0, 1, with n = 0.8 p inputs as in the authors' code.
    Takes about 5 minutes on a busy machine of two cores.

    Attributes:
        activations: recipes.
        dimensions: p, increasing.
        share: n/p.
        seed: of the inputs.

    References:
        Ling, Li, Feng, Zhang, Zhou, Qiu and Liao, "Deep Equilibrium Models are Almost Equivalent to
        Not-so-deep Explicit Models for High-dimensional Gaussian Mixtures", arXiv 2402.02697, whose
        activations and scales are others.
    """

    activations: tuple[str, ...] = ("relu", "tanh", "gelu")
    dimensions: tuple[Annotated[int, In("[4, inf)")], ...] = (500, 1000, 2000)
    share: Annotated[float, In("(0, inf)")] = 0.8
    seed: Annotated[int, In("[0, inf)")] = 0

    def __post_init__(self):
        super().__post_init__()
        require_activations("activations", self.activations)
        require_increasing("dimensions", self.dimensions, 2)

    def run(self, folder: Path, say: Say = print) -> dict[str, Any]:
        """One cell per activation and dimension."""
        with self.cells(folder, say) as cells:
            found = [
                cells.get(f"{recipe}, p = {p}", functools.partial(self._compare, recipe, p))
                for recipe in self.activations
                for p in self.dimensions
            ]
        return {
            "cells": found,
            "table": [
                {
                    "activation": each["activation"],
                    "p": each["dimension"],
                    **{name: round(value, 4) for name, value in each["distances"].items()},
                    "layers": each["layers"],
                }
                for each in found
            ],
        }

    def _compare(self, recipe: str, p: int) -> dict[str, Any]:
        act = catalog.activations.get(recipe)
        rng = np.random.default_rng(self.seed)
        x, labels = mixture(rng, math.ceil(self.share * p), p)
        square = float(np.mean(np.square(x)))
        limit = centred(WideLimit(act, papers_s_w(act)), square)
        exact, of = limit.gram(x), equivalent(limit, square)
        net = matching_net(of)
        kernels = {
            "DEQ": exact,
            "equivalent": of.matrix(x, labels),
            "explicit": net.gram(x),
        }
        tangent, tangents = limit.ntk(x), equivalent(limit, square, "ntk").matrix(x, labels)
        spectra = {name: np.linalg.eigvalsh(kernel)[::-1] for name, kernel in kernels.items()}
        ranks = np.unique(np.geomspace(1, len(x), _RANKS).astype(int))
        return {
            "activation": recipe,
            "dimension": p,
            "layers": len(net.layers),
            "distances": {
                "equivalent": _distance(exact, kernels["equivalent"]),
                "explicit": _distance(exact, kernels["explicit"]),
                "tangent kernel": _distance(tangent, tangents),
            },
            "ranks": ranks.tolist(),
            "spectra": {name: values[ranks - 1].tolist() for name, values in spectra.items()},
        }

    def draw(self, results: dict[str, Any], path: Path) -> Path:
        """Left the distances against p, then the spectra at the largest p, an activation each."""
        from deqzoo.analysis.figure import figure

        count = len(self.activations)
        with figure(path, 1, 1 + count, (2.9 * (1 + count), 3.6)) as (drawn, axes):
            for i, recipe in enumerate(self.activations):
                cells = [each for each in results["cells"] if each["activation"] == recipe]
                for name, style in (("equivalent", "o--"), ("explicit", "s:")):
                    distances = [each["distances"][name] for each in cells]
                    label = f"{recipe}, {name}"
                    axes[0, 0].plot(self.dimensions, distances, style, color=f"C{i}", label=label)
                _draw_spectra(axes[0, 1 + i], cells[-1])
            left = axes[0, 0]
            left.set(xscale="log", yscale="log", xlabel="dimension p", ylabel="‖G* - G̃‖/‖G*‖")
            left.set_xticks(self.dimensions, [str(p) for p in self.dimensions])
            left.minorticks_off()
            handles, names = left.get_legend_handles_labels()
            drawn.legend(handles, names, loc="outside lower center", ncols=6, frameon=False)
        return path


def mixture(
    rng: np.random.Generator, examples: int, dimension: int
) -> tuple[Float[np.ndarray, "n p"], Int[np.ndarray, " n"]]:
    """Inputs of two Gaussian classes, and which they are of."""
    labels = np.arange(examples) % 2
    spread = np.sqrt(1 + 8 * labels / math.sqrt(dimension))
    x = rng.standard_normal((examples, dimension)) * spread[:, None]
    x[np.arange(examples), labels] += 8
    return x, labels


def _distance(exact: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(exact - other, 2) / np.linalg.norm(exact, 2))


def _draw_spectra(axis: Any, cell: dict[str, Any]) -> None:
    for name, style in _CURVES.items():
        axis.plot(cell["ranks"], cell["spectra"][name], style, label=name, linewidth=1.8)
    axis.set(xscale="log", yscale="log", xlabel="rank", ylabel="eigenvalue")
    axis.set_title(f"{cell['activation']}, p = {cell['dimension']}")
    axis.legend(frameon=False)
