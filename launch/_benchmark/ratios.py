"""Ratios are formed inside a round; a table shows their median and range."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from launch._benchmark.rounds import STRANGERS

_OURS = ("deqzoo",)

Spread = tuple[float, float, float]  # median, smallest, largest


@dataclass(frozen=True)
class View:
    """Which of the measured times count.

    Attributes:
        quiet_only: leave out rounds in which strangers used the machine.
        clock: ``seconds`` of the wall, or ``cpu_seconds`` of the process itself.
    """

    quiet_only: bool = False
    clock: str = "seconds"


def spread(values: Sequence[float]) -> Spread | None:
    """Median and range, None of nothing."""
    return (statistics.median(values), min(values), max(values)) if values else None


def of_rounds(
    block: dict[str, Any], row: dict[str, Any], other: dict[str, Any] | None, view: View
) -> Spread | None:
    """Time of ``row`` over that of ``other``, round by round."""
    if other is None:
        return None
    pairs = zip(row.get(view.clock, ()), other.get(view.clock, ()), block["rounds"], strict=False)
    return spread([a / b for a, b, log in pairs if a and b and _counts(log, view)])


def seconds(block: dict[str, Any], row: dict[str, Any], view: View) -> Spread | None:
    """Time of a call."""
    pairs = zip(row.get(view.clock, ()), block["rounds"], strict=False)
    return spread([a for a, log in pairs if a and _counts(log, view)])


def find(block: dict[str, Any], label: str, stopping: str) -> dict[str, Any] | None:
    """The row of a name."""
    rows = (r for r in block["variants"] if (r["label"], r["stopping"]) == (label, stopping))
    return next(rows, None)


def best_peer(block: dict[str, Any], stopping: str, view: View) -> dict[str, Any] | None:
    """The fastest row of others that reached the residual."""
    times = {
        number: found[0]
        for number, row in enumerate(block["variants"])
        if row["peer"] not in _OURS and row["stopping"] == stopping and _reached(block, row)
        if (found := seconds(block, row, view))
    }
    return block["variants"][min(times, key=times.__getitem__)] if times else None


def unavoidable(block: dict[str, Any]) -> int | None:
    """Evaluations that nobody can save: the fewest that anybody needed, less the one at zero."""
    steps = [row["steps"] for row in block["variants"] if row.get("steps") and _reached(block, row)]
    return max(1, min(steps) - 1) if steps else None


def table(block: dict[str, Any], view: View, kind: str) -> list[dict[str, str]]:
    """Rows for people, the fastest of a way of stopping first."""
    rows = sorted(block["variants"], key=lambda row: _order(block, row, view))
    return [_shown(block, row, view, kind) for row in rows]


def _shown(block: dict[str, Any], row: dict[str, Any], view: View, kind: str) -> dict[str, str]:
    stopping = row["stopping"]
    floor, hand = find(block, "floor", "-"), find(block, "hand picard", stopping)
    time, maps = seconds(block, row, view), of_rounds(block, row, floor, view)
    fewest = unavoidable(block)
    to_floor = None if kind != "solve" or not maps or not fewest else maps[0] / fewest
    to_best = of_rounds(block, row, best_peer(block, stopping, view), view)
    cells = {
        "variant": row["label"],
        "stopped": stopping,
        "ms": "" if time is None else f"{1e3 * time[0]:.4g}",
        "maps": "" if maps is None else f"{maps[0]:.1f}",
        "to floor": "" if to_floor is None or row is floor else f"{to_floor:.2f}",
        "to best peer": _range(to_best),
        "to hand picard": _range(of_rounds(block, row, hand, view)),
        "residual": _small(row.get("residual")),
        "steps": str(row.get("steps") or ""),
    }
    error = _small(row.get("gradient_error"))
    return {**cells, "gradient error": error, "note": _note(block, row)}


def _note(block: dict[str, Any], row: dict[str, Any]) -> str:
    if "error" in row:
        return row["error"]
    if "residual" in row and not _reached(block, row):
        return "residual not reached"
    return ""


def _reached(block: dict[str, Any], row: dict[str, Any]) -> bool:
    """Rounding may turn a calibrated residual around in the last place."""
    residual = row.get("residual")
    return residual is not None and residual <= 1.02 * block["tolerance"]


def _order(block: dict[str, Any], row: dict[str, Any], view: View) -> tuple:
    time = seconds(block, row, view)
    return row["stopping"], time is None, time or ()


def _counts(log: dict[str, float], view: View) -> bool:
    return not view.quiet_only or log["strangers"] < STRANGERS


def _range(found: Spread | None) -> str:
    return "" if found is None else f"{found[0]:.2f} [{found[1]:.2f}, {found[2]:.2f}]"


def _small(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"
