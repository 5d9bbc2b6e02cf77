"""z* alone, from the arrays A and b."""

from __future__ import annotations

from launch._benchmark.timed import TimedSuite

__all__ = ["Solve"]


class Solve(TimedSuite):
    """z* alone, from the arrays A and b."""

    kind = "solve"
