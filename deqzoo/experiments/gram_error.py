"""How fast the Gram matrix of a finite network reaches the population matrix."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.analysis.experiment import (
    Experiment,
    Say,
    papers_s_w,
    require_activations,
    require_increasing,
    sphere_points,
)
from deqzoo.core.fixed_point import fixed_point
from deqzoo.settings import In
from deqzoo.theory import population_gram

__all__ = ["GramError"]

_LAW = -0.5


@dataclass(frozen=True)
class GramError(Experiment):
    """‖G/m - K‖ falls as 1/√m for every activation: G = ZᵀZ of a drawn network, K its limit.

    The error is the root mean square over all entries and all draws. One W of standard normal
    numbers serves every activation of a draw, scaled to s_w = 0.4 (0.4/L where 2·0.4·L >= 1), so
    that the curves share their chance. The inputs are n points on the sphere of radius √d.

    The defaults, all activations of the catalog up to m = 8192, take about 10 minutes on two cores
    (16 where others used them too) and 3.2 GB; the longest cell, one draw at m = 8192, about one.
    With three draws the slopes still scatter over -0.61 ... -0.53, with eight over -0.54 ... -0.47.

    Attributes:
        activations: recipes; None stands for every activation of the catalog.
        widths: m, increasing.
        draws: networks per width.
        examples: n.
        dimension: d.
        seed: of the inputs; draw t at width m takes the seed 1000 m + t + seed.

    References:
        Ling et al., "Global Convergence of Over-parameterized Deep Equilibrium Models", arXiv
        2205.13814, Theorem 5, for the rectifier; the limit for general activations: deqzoo.
    """

    activations: tuple[str, ...] | None = None
    widths: tuple[Annotated[int, In("[1, inf)")], ...] = (256, 512, 1024, 2048, 4096, 8192)
    draws: Annotated[int, In("[1, inf)")] = 8
    examples: Annotated[int, In("[1, inf)")] = 24
    dimension: Annotated[int, In("[2, inf)")] = 8
    seed: Annotated[int, In("[0, inf)")] = 0

    def __post_init__(self):
        super().__post_init__()
        if self.activations is None:
            object.__setattr__(self, "activations", catalog.activations.names())
        require_activations("activations", self._recipes)
        require_increasing("widths", self.widths, 2)

    def run(self, folder: Path, say: Say = print) -> dict[str, Any]:
        """One cell per width and draw, which holds the errors of all activations."""
        with self.cells(folder, say) as cells:
            errors = [
                [
                    cells.get(f"m = {m}, draw {t}", functools.partial(self._errors, m, t))
                    for t in range(self.draws)
                ]
                for m in self.widths
            ]
        curves = [self._curve(recipe, errors) for recipe in self._recipes]
        return {"widths": list(self.widths), "curves": curves, "table": [*map(_row, curves)]}

    @property
    def _recipes(self) -> tuple[str, ...]:
        return self.activations or ()

    def _errors(self, width: int, draw: int) -> dict[str, float]:
        """The rms error of every activation with one draw of W and U."""
        x = sphere_points(np.random.default_rng(self.seed), self.examples, self.dimension)
        rng = np.random.default_rng(1000 * width + draw + self.seed)
        normal = rng.standard_normal((width, width))
        U = rng.standard_normal((width, self.dimension)) * math.sqrt(2 / self.dimension)
        W, scale, found = None, None, {}
        for recipe in self._recipes:
            act = catalog.activations.get(recipe)
            if papers_s_w(act) != scale:
                scale = papers_s_w(act)
                W = jnp.asarray(normal * (scale / math.sqrt(width)), jnp.float32)
            found[recipe] = _rms_error(act, W, U, x)
        return found

    def _curve(self, recipe: str, errors: list[list[dict[str, float]]]) -> dict[str, Any]:
        """Errors over the widths, the slope fitted to them, and that of every single draw."""
        each = np.array([[draw[recipe] for draw in row] for row in errors])
        rms = np.sqrt(np.mean(np.square(each), axis=1))
        return {
            "activation": recipe,
            "rms": rms.tolist(),
            "slope": self._slope(rms),
            "slope_of_draws": [self._slope(draw) for draw in each.T],
            "constant": float(np.exp(np.mean(np.log(rms * np.sqrt(self.widths))))),
        }

    def _slope(self, errors: np.ndarray) -> float:
        return float(np.polyfit(np.log(self.widths), np.log(errors), 1)[0])

    def draw(self, results: dict[str, Any], path: Path) -> Path:
        """Left the errors against the width, right the slopes, in the same colours."""
        import matplotlib

        from deqzoo.analysis.figure import figure

        curves = sorted(results["curves"], key=lambda curve: curve["constant"])
        colours = matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, len(curves)))
        size = (9.5, max(4.0, 1.2 + 0.165 * len(curves)))
        with figure(path, 1, 2, size, width_ratios=(1.35, 1)) as (drawn, axes):
            drawn.suptitle(
                "Gram matrix of a wide DEQ against its infinite-width limit: "
                f"n = {self.examples}, d = {self.dimension}, {self.draws} draws a width"
            )
            _draw_errors(axes[0, 0], results["widths"], curves, colours)
            _draw_slopes(axes[0, 1], curves, colours)
        return path


def _rms_error(act: Activation, W: Any, U: np.ndarray, x: np.ndarray) -> float:
    with jax.default_matmul_precision("highest"):
        Z = np.asarray(_equilibrium(act, W, jnp.asarray(x @ U.T, jnp.float32)), np.float64)
    K = population_gram(act, x, s_w=papers_s_w(act))
    return float(np.sqrt(np.mean(np.square(Z @ Z.T / len(W) - K))))


@functools.partial(jax.jit, static_argnums=0)
def _equilibrium(act: Activation, W: Any, b: Any) -> Any:
    """Z in float32: its roundings, 1e-6, are far below the errors to be measured."""
    solver = "picard(rtol=1e-6, max_steps=200)"
    return fixed_point(
        lambda z, args: act(z @ args[0].T + args[1]), jnp.zeros_like(b), (W, b), solver=solver
    ).value


def _row(curve: dict[str, Any]) -> dict[str, Any]:
    return {
        "activation": curve["activation"],
        "slope": round(curve["slope"], 3),
        "least of a draw": round(min(curve["slope_of_draws"]), 3),
        "largest of a draw": round(max(curve["slope_of_draws"]), 3),
        "rms error times √m": round(curve["constant"], 3),
        "rms error at largest m": curve["rms"][-1],
    }


def _draw_errors(axis: Any, widths: list[int], curves: list[dict[str, Any]], colours: Any) -> None:
    for curve, colour in zip(curves, colours, strict=True):
        axis.plot(widths, curve["rms"], color=colour, marker="o", markersize=2.5, linewidth=1)
    top = 1.5 * max(curve["rms"][0] for curve in curves)
    law = top * (np.array(widths) / widths[0]) ** _LAW
    axis.plot(widths, law, color="black", linestyle="--", label="proportional to 1/√m")
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="width m",
        ylabel="root mean square of the entries of G/m - K",
    )
    axis.set_xticks(widths, [str(width) for width in widths])
    axis.minorticks_off()
    axis.legend(frameon=False, loc="upper right")


def _draw_slopes(axis: Any, curves: list[dict[str, Any]], colours: Any) -> None:
    """A dot for the fitted slope, a bar from the least to the largest slope of a single draw."""
    for place, (curve, colour) in enumerate(zip(curves, colours, strict=True)):
        ends = min(curve["slope_of_draws"]), max(curve["slope_of_draws"])
        axis.plot(ends, [place, place], color=colour, alpha=0.45, linewidth=3)
        axis.plot(curve["slope"], place, color=colour, marker="o", markersize=5)
    axis.axvline(_LAW, color="black", linestyle="--")
    axis.set_yticks(range(len(curves)), [curve["activation"] for curve in curves], fontsize=8)
    every = [slope for curve in curves for slope in curve["slope_of_draws"]]
    axis.locator_params(axis="x", nbins=5)
    axis.set_xlim(min(_LAW - 0.2, min(every) - 0.02), max(_LAW + 0.2, max(every) + 0.02))
    axis.set(xlabel="slope fitted to all draws (bars: to single draws)", ylim=(-1, len(curves)))
