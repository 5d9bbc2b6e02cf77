"""Training loss and ‖W‖₂ against epochs for several widths: Figure 1 of Ling et al."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.analysis.experiment import (
    Cells,
    Experiment,
    Say,
    file_name,
    papers_s_w,
    require_activations,
    require_increasing,
)
from deqzoo.settings import In
from deqzoo.storage.workdir import Workdir
from deqzoo.theory import WideLimit
from deqzoo.training import TrainConfig, train

__all__ = ["LossCurves"]

_CHOICES = (("sphere",), ("mnist",), ("sphere", "mnist"), ("mnist", "sphere"))
_IMAGES = 1000
_POINTS = 200  # of a curve in the results
_COLUMNS = 4
_ROUNDING = (10 * float(np.finfo(np.float32).eps)) ** 2  # of Φ(0): the loss is a sum of squares


@dataclass(frozen=True)
class LossCurves(Experiment):
    """Φ(τ) = ½ Σ (ŷ - y)² and ‖W(τ)‖₂ under full-batch gradient descent: wider falls faster.

    Every width takes the same step, 1/λ_max of the tangent kernel that the population kernel gives
    the largest width, and ‖W‖₂ stays near 2 s_w and below 1/L. s_w = 0.4 as in the papers (0.4/L
    where 2·0.4·L >= 1). Weights, inputs and losses are float32; the picture ends at 10⁻¹² Φ(0),
    where roundings begin.

    ``sphere`` is uniform on the sphere of radius √d with N(0, 1) labels; ``mnist`` is real images,
    half of them 0 and half 1, with labels -1 and +1 (d = 784, at most n = 1000). Each pair of
    activation and data takes 1 to 2 minutes on two cores. The paper's sizes are

        python -m launch.reproduce --experiment="loss_curves(widths=(3000, 3500, 4000, 4500, 5000),
            examples=1000, dimension=1000, epochs=2000)"
        python -m launch.reproduce --experiment="loss_curves(data='mnist', examples=1000,
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
        examples: n; the theory wants m above it.
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
    widths: tuple[Annotated[int, In("[1, inf)")], ...] = (200, 300, 400, 500, 600)
    examples: Annotated[int, In("[2, inf)")] = 100
    dimension: Annotated[int, In("[2, inf)")] = 100
    epochs: Annotated[int, In("[1, inf)")] = 500
    seed: Annotated[int, In("[0, inf)")] = 0

    def __post_init__(self):
        super().__post_init__()
        require_activations("activation", _tuple(self.activation))
        data = _tuple(self.data)
        if data not in _CHOICES:
            raise ValueError(f"data must be 'sphere', 'mnist' or both in a tuple; got {data!r}")
        require_increasing("widths", self.widths)
        if "mnist" in data and (self.examples % 2 or self.examples > _IMAGES):
            raise ValueError(
                f"mnist has {_IMAGES // 2} images of each digit: examples must be an even number "
                f"up to {_IMAGES}, got {self.examples}"
            )

    def run(self, folder: Path, say: Say = print) -> dict[str, Any]:
        """One cell per activation, data and width; an unfinished one resumes its training."""
        pairs = itertools.product(_tuple(self.data), _tuple(self.activation))
        with self.cells(folder, say) as cells:
            panels = [self._panel(recipe, data, Path(folder), cells) for data, recipe in pairs]
        rows = [_row(panel, curve) for panel in panels for curve in panel["curves"]]
        return {"panels": panels, "table": rows}

    def _panel(self, recipe: str, data: str, folder: Path, cells: Cells) -> dict[str, Any]:
        act = catalog.activations.get(recipe)
        pair = f"{recipe}, {data}"
        rate = cells.get(
            f"{pair}, learning rate", functools.partial(self._learning_rate, recipe, data)
        )
        curves = []
        for width in self.widths:
            name = f"{pair}, m = {width}"
            config = self._config(recipe, data, width, rate, folder / "training" / file_name(name))
            curves.append(cells.get(name, functools.partial(_train, config, act, cells.say)))
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
            spare = (_IMAGES - self.examples) // 2
            return (
                f"mnist(digits=(0, 1), test_per_class={spare}, signs=True, scaling='sphere', "
                "validation=0)"
            )
        return f"sphere(examples={self.examples}, dimension={self.dimension}, seed={self.seed})"

    def _config(
        self, recipe: str, data: str, width: int, rate: float, workdir: Path
    ) -> TrainConfig:
        return TrainConfig(
            activation=recipe,
            model=f"wide(s_w={papers_s_w(catalog.activations.get(recipe))!r})",
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
            workdir=str(workdir),
        )

    def draw(self, results: dict[str, Any], path: Path) -> Path:
        """A column per activation and data: above the loss, below ‖W‖₂."""
        import matplotlib

        from deqzoo.analysis.figure import figure

        panels = results["panels"]
        columns = min(_COLUMNS, len(panels))
        blocks = math.ceil(len(panels) / columns)
        size = (1.3 + (4.2 if columns == 1 else 2.6) * columns, 4.6 * blocks)
        options: dict[str, Any] = {"height_ratios": [1.7, 1] * blocks, "sharex": True}
        colours = matplotlib.colormaps["viridis_r"](np.linspace(0.12, 1, len(self.widths)))
        with figure(path, 2 * blocks, columns, size, **options) as (drawn, axes):
            pairs = axes.reshape(blocks, 2, columns).swapaxes(1, 2).reshape(-1, 2)
            for (above, below), panel in itertools.zip_longest(pairs, panels):
                self._draw_panel(above, below, panel, colours)
            for above, below in pairs[::columns]:
                above.set_ylabel("training loss ½ Σ (ŷ - y)²")
                below.set_ylabel("‖W‖₂")
            legend = axes[0, 0].get_legend_handles_labels()
            drawn.legend(*legend, loc="outside right upper", frameon=False, title="width m")
        return path

    def _draw_panel(self, above: Any, below: Any, panel: dict[str, Any] | None, colours) -> None:
        if panel is None:
            above.axis("off")
            below.axis("off")
            return
        for curve, colour in zip(panel["curves"], colours, strict=True):
            above.plot(curve["epochs"], curve["losses"], color=colour, label=curve["width"])
            epochs, norms = zip(*curve["norms"], strict=True)
            below.plot(epochs, norms, color=colour)
        size = f"n = {self.examples}, d = {784 if panel['data'] == 'mnist' else self.dimension}"
        above.set(yscale="log", title=f"{panel['activation']}, {panel['data']}\n{size}")
        above.set_ylim(*_range(panel["curves"]))
        limit, expected = panel["limit"], 2 * panel["s_w"]
        for height, name, style in ((limit, "1/L", "--"), (expected, "2 s_w", ":")):
            below.axhline(height, color="black", linestyle=style, linewidth=1)
            below.annotate(
                name, (self.epochs, height), (0, 3), textcoords="offset points", ha="right"
            )
        below.tick_params(labelbottom=True)
        below.set(xlabel="epoch", ylim=(0.8 * expected, 1.12 * limit))


def _range(curves: list[dict[str, Any]]) -> tuple[float, float]:
    """From the lowest loss, or from where roundings begin, to the highest."""
    first = max(curve["losses"][0] for curve in curves)
    last = min(curve["losses"][-1] for curve in curves)
    return max(last / 2, _ROUNDING * first), 2 * first


def _tuple(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _train(config: TrainConfig, activation: Activation, say: Say) -> dict[str, Any]:
    """Losses at thinned epochs, the first and the last included, and (epoch, ‖W‖₂)."""
    summary: dict[str, Any] = {}
    for summary in train(config):
        if summary["step"] % config.checkpoint_every == 0 and not summary.get("summary"):
            say(f"  epoch {summary['step']} of {config.steps}: loss {summary['loss']:.3g}")
    rows = Workdir(config.workdir).read_metrics()
    losses = [row["loss"] for row in rows] + [summary["train_loss"]]  # before every step, and after
    thin = math.ceil(len(losses) / _POINTS)
    kept = sorted({*range(0, len(losses), thin), len(losses) - 1})
    return {
        "width": config.width,
        "epochs": kept,
        "losses": [losses[epoch] for epoch in kept],
        "norms": [
            [row["step"], row["bound"] / activation.lipschitz] for row in rows if "bound" in row
        ],
    }


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
