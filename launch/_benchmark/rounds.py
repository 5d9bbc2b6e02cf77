"""Interleaved rounds: one timed call of everybody in turn, never two at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from launch._benchmark.client import Worker, WorkerError
from launch._benchmark.machine import Usage

STRANGERS = 0.08  # share of the CPUs used by others from which a round is not quiet
_PAUSE = 0.02  # seconds for the threads of the last call to fall asleep

Row = dict[str, Any]


def run(
    rows: list[tuple[Worker, Row]], rounds: int, say: Callable[[str], None]
) -> list[dict[str, float]]:
    """Add ``seconds`` and ``cpu_seconds``, one entry a round, to every row.

    A row whose call fails gets ``error``, has None from then on and is not called again.

    Returns:
        For every round its length and the share of the CPUs that strangers used.
    """
    log = []
    for number in range(rounds):
        processes = {worker.process for worker, _ in rows}
        before = Usage.now(processes)
        for worker, row in rows:
            _sample(worker, row)
        after = Usage.now(processes)
        log.append({"seconds": after.wall - before.wall, "strangers": after.strangers(before)})
        say(f"round {number + 1} of {rounds}: {_describe(log[-1])}")
    return log


def _sample(worker: Worker, row: Row) -> None:
    found: Row = {}
    if "error" not in row:
        time.sleep(_PAUSE)
        try:
            found = worker.ask("sample", key=row["key"])
        except WorkerError as error:
            row["error"] = str(error)
    for name in ("seconds", "cpu_seconds"):
        row.setdefault(name, []).append(found.get(name))


def _describe(entry: dict[str, float]) -> str:
    busy = entry["strangers"] >= STRANGERS
    note = f", NOT QUIET: strangers used {entry['strangers']:.0%} of the CPUs" if busy else ""
    return f"{entry['seconds']:.1f} s{note}"
