"""Loss ½‖z* - t‖²/n and its gradient with respect to A and b."""

from __future__ import annotations

from launch._benchmark.timed import TimedSuite

__all__ = ["Gradient"]


class Gradient(TimedSuite):
    """Loss ½‖z* - t‖²/n and its gradient with respect to A and b."""

    kind = "gradient"
