"""Training loss and ‖W‖₂ against epochs for several widths: Figure 1 of Ling et al."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deqzoo import catalog
from deqzoo.experiment import (
    Cells,
    Experiment,
    Say,
    file_name,
    papers_s_w,
    require_activations,
    require_increasing,
)
from deqzoo.task import require_whole
from deqzoo.theory import WideLimit
from deqzoo.training import TrainConfig, fit
from deqzoo.training.workdir import Workdir

__all__ = ["LossCurves"]

_DATA = ("sphere", "mnist")
_POINTS = 200  # of a curve in the results
_COLUMNS = 4


@dataclass(frozen=True)
class LossCurves(Experiment):
    """Φ(τ) = ½ Σ (ŷ - y)² and ‖W(τ)‖₂ under full-batch gradient descent: wider falls faster.

    Every width takes the same step, 1/λ_max of the tangent kernel that the population kernel gives
    the largest width, and ‖W‖₂ stays near 2 s_w and below 1/L. s_w = 0.4 as in the papers (0.4/L
    where 2·0.4·L >= 1). Weights, inputs and losses are float32.

    ``sphere`` is uniform on the sphere of radius √d with N(0, 1) labels; ``mnist`` is 500 + 500
    real images of 0 and 1 with labels -1 and +1 (n = 1000, d = 784). Each pair of activation and
    data takes 2 to 4 minutes on two cores. The paper's sizes are

        python -m launch.reproduce --experiment="loss_curves(widths=(3000, 3500, 4000, 4500, 5000),
            examples=1000, dimension=1000, epochs=2000)"
        python -m launch.reproduce --experiment="loss_curves(data='mnist',
            widths=(21000, 22000, 23000, 24000, 25000), epochs=2000)"

    Their cost is an estimate, not a measurement: an epoch takes about 25 products of W with the
    m x n states, 50 m² n operations, in all 8·10¹⁵ on the sphere and 2.7·10¹⁷ on MNIST. At 30·10¹²
    float32 operations a second of an H100 these are 5 minutes and 2.5 hours, with about 15 GB of
    its memory, 15 GB of the host's and 40 GB of checkpoints; the norms of W, found on the host by
    Lanczos, may take as long again.

    Attributes:
        activation: a recipe, or a tuple of recipes: a column of panels each.
        data: ``sphere`` or ``mnist``, or a tuple of both.
        widths: m, increasing.
        examples: n of the sphere.
        dimension: d of the sphere.
        epochs: steps of gradient descent.
        seed: of the weights and of the sphere.

    References:
        Ling et al., "Global Convergence of Over-parameterized Deep Equilibrium Models", arXiv
        2205.13814, Figure 1. Truong, "Global Convergence Rate of Deep Equilibrium Models with
        General Activations", arXiv 2302.05797, for other activations.
    """

    activation: str | tuple[str, ...] = "relu"
    data: str | tuple[str, ...] = "sphere"
    widths: tuple[int, ...] = (200, 300, 400, 500, 600)
    examples: int = 100
    dimension: int = 100
    epochs: int = 200
    seed: int = 0

    def __post_init__(self):
        require_activations("activation", _tuple(self.activation))
        data = _tuple(self.data)
        if not (data and len({*data}) == len(data) and {*data} <= {*_DATA}):
            raise ValueError(f"data must be 'sphere', 'mnist' or both in a tuple; got {data!r}")
        require_increasing("widths", self.widths)
        require_whole("examples", self.examples, 1)
        require_whole("dimension", self.dimension, 2)
        require_whole("epochs", self.epochs, 1)
        require_whole("seed", self.seed, 0)

    def run(self, folder: Path, say: Say = print) -> dict[str, Any]:
        """One cell per activation, data and width; an unfinished one resumes its training."""
        pairs = itertools.product(_tuple(self.data), _tuple(self.activation))
        with self.cells(folder, say) as cells:
            panels = [self._panel(recipe, data, Path(folder), cells) for data, recipe in pairs]
        rows = [_row(panel, curve) for panel in panels for curve in panel["curves"]]
        return {"panels": panels, "table": rows}

    def _panel(self, recipe: str, data: str, folder: Path, cells: Cells) -> dict[str, Any]:
        act = catalog.activations.get(recipe)
        rate = cells.get(
            f"{recipe}, {data}, learning rate",
            functools.partial(self._learning_rate, recipe, data),
        )
        curves = [
            cells.get(
                f"{recipe}, {data}, m = {m}",
                functools.partial(self._train, recipe, data, m, rate, folder / "training"),
            )
            for m in self.widths
        ]
        return {
            "activation": recipe,
            "data": data,
            "learning_rate": rate,
            "s_w": papers_s_w(act),
            "limit": 1 / act.lipschitz,
            "curves": curves,
        }

    def _learning_rate(self, recipe: str, data: str) -> float:
        """1/λ_max of the tangent kernel in the limit, read at the largest width."""
        act = catalog.activations.get(recipe)
        x = catalog.tasks.get(self._task(data)).load().train.x
        kernel = WideLimit(act, papers_s_w(act)).ntk(x, width=self.widths[-1])
        return 1 / float(np.linalg.eigvalsh(kernel)[-1])

    def _task(self, data: str) -> str:
        if data == "mnist":
            return "mnist(test_per_class=0, signs=True)"
        return f"sphere(examples={self.examples}, dimension={self.dimension}, seed={self.seed})"

    def _train(self, recipe: str, data: str, width: int, rate: float, folder: Path) -> Any:
        """Losses Φ(0) ... Φ(epochs), thinned, and the norms of W in between."""
        act = catalog.activations.get(recipe)
        config = TrainConfig(
            activation=recipe,
            model=f"wide(s_w={papers_s_w(act)!r})",
            task=self._task(data),
            width=width,
            optimizer=f"gd(learning_rate={rate!r})",
            loss="square",
            constraint="monitor",
            batch_size="full",
            steps=self.epochs,
            seed=self.seed,
            log_every=1,
            eval_every=max(1, self.epochs // 10),
            checkpoint_every=max(1, self.epochs // 4),
            workdir=str(folder / file_name(f"{recipe}, {data}, m = {width}")),
        )
        *_, summary = fit(config)
        rows = Workdir(config.workdir).read_metrics()
        return _curve(rows, summary, act.lipschitz) | {"width": width}

    def draw(self, results: dict[str, Any], path: Path) -> Path:
        """A column per activation and data: above the loss, below ‖W‖₂."""
        from deqzoo.analysis.figure import figure, plt

        panels = results["panels"]
        columns = min(_COLUMNS, len(panels))
        blocks = math.ceil(len(panels) / columns)
        size = (1.6 + (3.9 if columns == 1 else 2.9) * columns, 4.9 * blocks)
        colours = plt.get_cmap("viridis_r")(np.linspace(0.12, 1, len(self.widths)))
        ratios = [1.6, 1] * blocks
        with figure(path, 2 * blocks, columns, size, height_ratios=ratios) as (drawn, axes):
            for place, panel in enumerate(panels):
                row, column = 2 * (place // columns), place % columns
                self._draw_loss(axes[row, column], panel, colours)
                self._draw_norm(axes[row + 1, column], panel, colours)
            for place in range(len(panels), blocks * columns):
                axes[2 * (place // columns), place % columns].axis("off")
                axes[2 * (place // columns) + 1, place % columns].axis("off")
            for row, name in enumerate(["loss ½ Σ (ŷ - y)²", "‖W‖₂"] * blocks):
                axes[row, 0].set_ylabel(name)
            handles, labels = axes[0, 0].get_legend_handles_labels()
            drawn.legend(handles, labels, loc="outside right upper", frameon=False, title="width m")
        return path

    def _draw_loss(self, axis: Any, panel: dict[str, Any], colours: Any) -> None:
        for curve, colour in zip(panel["curves"], colours, strict=True):
            axis.plot(curve["epochs"], curve["losses"], color=colour, label=curve["width"])
        n, d = (1000, 784) if panel["data"] == "mnist" else (self.examples, self.dimension)
        axis.set(yscale="log", title=f"{panel['activation']}, {panel['data']}\nn = {n}, d = {d}")
        axis.tick_params(labelbottom=False)

    def _draw_norm(self, axis: Any, panel: dict[str, Any], colours: Any) -> None:
        for curve, colour in zip(panel["curves"], colours, strict=True):
            epochs, norms = zip(*curve["norms"], strict=True)
            axis.plot(epochs, norms, color=colour, marker="o", markersize=2)
        axis.axhline(panel["limit"], color="C3", linestyle="--", linewidth=1)
        axis.axhline(2 * panel["s_w"], color="black", linestyle=":", linewidth=1)
        for height, name in ((panel["limit"], "1/L"), (2 * panel["s_w"], "2 s_w")):
            axis.annotate(name, (0, height), (2, 2), textcoords="offset points", fontsize=7)
        axis.set(xlabel="epoch", ylim=(0.95 * 2 * panel["s_w"], 1.06 * panel["limit"]))


def _tuple(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _curve(rows: list[dict[str, Any]], summary: dict[str, Any], lipschitz: float) -> dict[str, Any]:
    """Losses at thinned epochs, the first and the last included, and (epoch, ‖W‖₂)."""
    losses = [row["loss"] for row in rows] + [summary["train_loss"]]  # before every step, and after
    thin = math.ceil(len(losses) / _POINTS)
    kept = sorted({*range(0, len(losses), thin), len(losses) - 1})
    norms = [[r["step"], r["contraction"] / lipschitz] for r in rows if "contraction" in r]
    return {"epochs": kept, "losses": [losses[i] for i in kept], "norms": norms}


def _row(panel: dict[str, Any], curve: dict[str, Any]) -> dict[str, Any]:
    return {
        "activation": panel["activation"],
        "data": panel["data"],
        "width": curve["width"],
        "learning rate": panel["learning_rate"],
        "first loss": curve["losses"][0],
        "last loss": curve["losses"][-1],
        "largest ‖W‖₂": max(norm for _, norm in curve["norms"]),
        "1/L": panel["limit"],
    }
