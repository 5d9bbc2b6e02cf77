"""The picture of a sweep: what every cell reached, and how its loss fell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from deqzoo.analysis.figure import figure
from deqzoo.analysis.shared_metric import shared_metric
from deqzoo.training.evaluation import LOSS

_STYLES = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "D")


def draw(result: dict[str, Any], path: Path, title: str) -> Path:
    """First metric (or loss) of every finished cell, and its loss step by step.

    Both are of the validation split, by which one chooses, or of the test split where a cell has
    none, and mean ± deviation over the seeds that did not fail.

    Colours tell the values of the first axis apart, lines and markers those of the others.

    Args:
        result: what stands in sweep.json.
        path: where to write.
        title: above the picture.

    Raises:
        ValueError: no cell is finished.
    """
    cells = {name: cell for name, cell in result["cells"].items() if cell.get("mean")}
    if not cells:
        raise ValueError("no cell of the sweep is finished: there is nothing to draw")
    split, shared = shared_metric([[cell["mean"]] for cell in cells.values()])
    name = shared or LOSS
    metric = f"{split}_{name}"
    looks = _looks(cells)
    with figure(path, 1, 2, (11, max(3.6, 1.4 + 0.32 * len(cells)))) as (drawn, axes):
        left, right = axes[0]
        drawn.suptitle(title)
        for row, (cell_name, cell) in enumerate(cells.items()):
            _reached(left, row, cell, metric, looks[cell_name])
            curve = cell["curve"]
            _curve(right, curve.get(f"{split}_{LOSS}"), curve["step"], looks[cell_name])
        label = metric.replace("_", " ")
        left.set(xlabel=f"{label}: mean ± deviation; dots: seeds", ylim=(len(cells) - 0.5, -0.5))
        left.set_yticks(range(len(cells)), [*cells])
        left.grid(axis="y", visible=False)
        right.set(xlabel="training step", ylabel=f"{split} loss: mean ± deviation", yscale="log")
        if name == LOSS:
            left.set_xscale("log")
    return path


def _looks(cells: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Colour, line and marker of every cell."""
    pairs = {}
    for name, cell in cells.items():
        first, *others = [*cell["settings"].values()] or [name]
        pairs[name] = str(first), str(others)
    firsts, others = ([*dict.fromkeys(column)] for column in zip(*pairs.values(), strict=True))
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(firsts)))
    if len(firsts) <= 10:
        colours = [f"C{number}" for number in range(len(firsts))]
    return {
        name: {
            "color": colours[firsts.index(first)],
            "linestyle": _STYLES[others.index(other) % len(_STYLES)],
            "marker": _MARKERS[others.index(other) % len(_MARKERS)],
        }
        for name, (first, other) in pairs.items()
    }


def _reached(axis: Any, row: int, cell: dict[str, Any], metric: str, look: dict[str, Any]) -> None:
    seeds = [seed[metric] for seed in cell["seeds"].values()]
    axis.plot(seeds, [row] * len(seeds), ".", color=look["color"], alpha=0.35, markersize=5)
    spread = cell["deviation"][metric] or 0.0
    style = {"color": look["color"], "marker": look["marker"], "markersize": 5, "capsize": 3}
    axis.errorbar([cell["mean"][metric]], [row], xerr=[spread], **style)


def _curve(axis: Any, curve: dict[str, Any] | None, steps: Any, look: dict[str, Any]) -> None:
    if curve is None:
        return
    mean, spread = (np.asarray(curve[name]) for name in ("mean", "deviation"))
    axis.plot(steps, mean, markersize=3, **look)
    band = {"color": look["color"], "alpha": 0.12, "linewidth": 0}
    axis.fill_between(steps, np.maximum(mean - spread, mean / 10), mean + spread, **band)
