"""Loss and gradient of the convolutional DEQ of the tutorials."""

from __future__ import annotations

from typing import Any

from launch._benchmark.config import BenchmarkConfig
from launch._benchmark.conv import Conv as ConvProblem
from launch._benchmark.timed import TimedSuite

__all__ = ["Conv"]


class Conv(TimedSuite):
    """Loss and gradient of the convolutional DEQ of the tutorials."""

    kind = "gradient"

    def problems(self, config: BenchmarkConfig) -> list[Any]:
        """One size; an eighth of the examples are the images."""
        batch = max(1, config.examples // 8)
        return [ConvProblem(dtype, config.seed, batch) for dtype in config.dtype]
