"""Pictures of the suites; needs matplotlib, and is called only where there is some."""

from __future__ import annotations

import importlib
import statistics
from pathlib import Path
from typing import Any

from launch._benchmark import ratios as ratios_

_OURS, _OTHERS = "tab:blue", "0.65"
_STAGES = {"import": "0.75", "trace": "tab:orange", "compile": "tab:blue"}


def ratios(blocks: list[dict[str, Any]], view: ratios_.View, path: Path) -> None:
    """A panel a problem: time over that of the best peer, median and range of the rounds."""
    stopping = _stopping(blocks)
    bars = [_bars(block, stopping, view) for block in blocks]
    height = 0.9 + 0.24 * max(map(len, bars))
    with _figure(path, len(blocks), 1, (8, max(2.0, height) * len(blocks))) as (_, axes):
        for panel, block, found in zip(axes[:, 0], blocks, bars, strict=True):
            _draw_ratios(panel, found)
            panel.set_title(f"{block['problem']} ({block['platform']})", fontsize=9)
        clock = "time" if view.clock == "seconds" else "CPU time"
        axes[-1, 0].set_xlabel(f"{clock} / best peer, stopped: {stopping}")


def memory(block: dict[str, Any], path: Path) -> None:
    """Peak memory over the number of steps."""
    with _figure(path, 1, 1, (8, 4.5)) as (_, axes):
        panel = axes[0, 0]
        for row in block["variants"]:
            if "error" in row:
                continue
            ours = row["peer"] == "deqzoo"
            peak = [value / 2**20 for value in row["peak_bytes"]]
            style = {"marker": "o", "ls": "-" if ours else "--", "alpha": 1.0 if ours else 0.6}
            panel.plot(block["steps"], peak, label=row["label"], **style)
        panel.set(xscale="log", yscale="log", xlabel="solver steps", title=block["problem"])
        panel.set_ylabel("peak above baseline, MiB")
        panel.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))


def startup(block: dict[str, Any], path: Path) -> None:
    """Import, tracing and compilation, one bar a variant."""
    rows = [row for row in block["variants"] if row["runs"]][::-1]
    with _figure(path, 1, 1, (8, 1.2 + 0.3 * max(1, len(rows)))) as (_, axes):
        panel = axes[0, 0]
        done = [0.0] * len(rows)
        for stage, colour in _STAGES.items():
            lengths = [_length(row, "cold", stage) for row in rows]
            panel.barh(range(len(rows)), lengths, left=done, color=colour, label=stage)
            done = [a + b for a, b in zip(done, lengths, strict=True)]
        cached = [_length(row, "warm", "import", "trace", "compile") for row in rows]
        panel.plot(cached, range(len(rows)), "kd", ms=4, label="all, with a warm cache")
        panel.set_yticks(range(len(rows)), [row["label"] for row in rows])
        panel.set(xlabel="seconds", title=block["problem"])
        panel.legend(fontsize=7)


def trainer(block: dict[str, Any], path: Path) -> None:
    """Starts in seconds and steps in milliseconds, median and range of the rounds."""
    rows = block["variants"][::-1]
    starts = [row for row in rows if "first" in row["label"]]
    steps = [row for row in rows if row not in starts]
    with _figure(path, 2, 1, (8, 3.6)) as (_, axes):
        for panel, shown, unit, name in (
            (axes[0, 0], starts, 1.0, "seconds from the start of a process, warm cache"),
            (axes[1, 0], steps, 1e3, "milliseconds a step"),
        ):
            for place, row in enumerate(shown):
                values = [unit * value for value in row["seconds"]]
                middle = statistics.median(values)
                spread = [[middle - min(values)], [max(values) - middle]]
                bare = row["label"].startswith(("bare", "import"))
                panel.barh(place, middle, color=_OTHERS if bare else _OURS, xerr=spread, capsize=2)
            panel.set_yticks(range(len(shown)), [row["label"] for row in shown])
            panel.set_xlabel(name)


def _figure(path: Path, rows: int, columns: int, size: tuple[float, float]) -> Any:
    drawing = importlib.import_module("deqzoo.analysis.figure")
    return drawing.figure(path, rows, columns, size)


def _stopping(blocks: list[dict[str, Any]]) -> str:
    found = {row["stopping"] for block in blocks for row in block["variants"]}
    return "calibrated" if "calibrated" in found else "same"


def _bars(
    block: dict[str, Any], stopping: str, view: ratios_.View
) -> list[tuple[dict[str, Any], ratios_.Spread]]:
    """Rows with their ratio to the best peer, or to the slowest row where there is no peer."""
    rows = [row for row in block["variants"] if row["stopping"] == stopping]
    best = ratios_.best_peer(block, stopping, view) or (rows[-1] if rows else None)
    found = ((row, ratios_.of_rounds(block, row, best, view)) for row in rows)
    return sorted(((row, ratio) for row, ratio in found if ratio), key=lambda pair: -pair[1][0])


def _draw_ratios(panel: Any, bars: list[tuple[dict[str, Any], ratios_.Spread]]) -> None:
    for place, (row, (median, low, high)) in enumerate(bars):
        colour = _OURS if row["peer"] == "deqzoo" else _OTHERS
        panel.barh(place, median, color=colour, xerr=[[median - low], [high - median]], capsize=2)
        panel.annotate(
            f"{median:.2f}", (high, place), (3, 0), textcoords="offset points", va="center", size=7
        )
    panel.set_yticks(range(len(bars)), [row["label"] for row, _ in bars])
    panel.axvline(1.0, color="k", lw=0.8)
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter("{x:g}")
    panel.margins(x=0.1)


def _length(row: dict[str, Any], when: str, *stages: str) -> float:
    """Median seconds of the stages; a peer that does not compile has only a first call."""
    keys = [f"{stage}_seconds" for stage in stages]
    keys += ["first_call_seconds"] if "compile" in stages else []
    return statistics.median(sum(run[when].get(key, 0) for key in keys) for run in row["runs"])
