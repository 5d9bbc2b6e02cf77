"""A picture of an activation beside the spline in its place (extra ``plot``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deqzoo.activation.digits import at_least
from deqzoo.analysis.figure import figure
from deqzoo.splines import Distilled

_MARGIN = 0.4  # of the stretch of the knots, shown outside of them


def distilled_picture(found: Distilled, path: Path) -> Path:
    """φ and s with its knots, their difference with its bound, and both slopes.

    Args:
        found: what ``deqzoo.splines.distill`` returns.
        path: where to write.
    """
    act, spline = found.of, found.spline
    knots = np.array(spline.knots)
    margin = _MARGIN * max(1.0, float(np.ptp(knots)))
    x = np.union1d(np.linspace(knots[0] - margin, knots[-1] + margin, 2001), knots)
    with figure(path, 1, 3, (11, 3.4)) as (drawn, axes):
        left, middle, right = axes[0]
        drawn.suptitle(f"{act} with {len(spline.kinks)} knots")
        left.plot(x, act.in_float64(x), color="C7", linewidth=3, alpha=0.5, label="φ")
        left.plot(x, spline.in_float64(x), color="C0", label="s")
        left.plot(knots, spline.in_float64(knots), "o", color="C0", markersize=4, label="knots")
        middle.plot(x, spline.in_float64(x) - act.in_float64(x), color="C2", label="s - φ")
        for sign in (-1, 1):
            label = f"proved: {at_least(found.error, 3)}" if sign > 0 else None
            middle.axhline(sign * found.error, color="C3", linestyle="--", label=label)
        middle.set_ylim(-1.2 * found.error, 1.8 * found.error)  # room for the legend
        right.plot(x, act.slope_in_float64(x), color="C7", linewidth=3, alpha=0.5, label="φ'")
        edges = [x[0], *knots, x[-1]]
        right.stairs(spline.slopes, edges, color="C0", baseline=None, label="s'")
        for bound in act.slope:
            right.axhline(bound, color="C3", linestyle=":", linewidth=1)
        for axis, title in zip(
            (left, middle, right), ("φ and s", "difference", "dotted: slopes of φ"), strict=True
        ):
            axis.set(xlabel="x", title=title)
            axis.legend(frameon=False)
    return path
