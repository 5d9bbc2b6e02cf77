"""What the machine is, and how much of it somebody else used."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """A moment: seconds of CPU since the machine started, of all and of our own processes."""

    wall: float
    busy: float
    ours: float

    @classmethod
    def now(cls, processes: Iterable[int]) -> Usage:
        """Read ``/proc``; zeros where there is none."""
        ours = sum(map(_cpu_seconds, {os.getpid(), *processes}))
        return cls(time.monotonic(), _busy_seconds(), ours)

    def strangers(self, before: Usage) -> float:
        """Share of the machine's CPUs that others used since ``before``."""
        available = (self.wall - before.wall) * (os.cpu_count() or 1)
        theirs = (self.busy - before.busy) - (self.ours - before.ours)
        return max(0.0, theirs) / available if available > 0 else 0.0


def cpu_model() -> str:
    """The name of the processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def use_cores(count: int) -> None:
    """Keep this process and those it starts on the first ``count`` cores; 0 leaves all."""
    if count and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def _busy_seconds() -> float:
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _wait, interrupt, soft, *_ = map(int, fields)
    return (user + nice + system + interrupt + soft) / _TICK


def _cpu_seconds(process: int) -> float:
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return 0.0
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICK
