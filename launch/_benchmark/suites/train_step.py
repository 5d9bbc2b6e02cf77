"""A step of Adam on A, U and the readout."""

from __future__ import annotations

from launch._benchmark.timed import TimedSuite

__all__ = ["TrainStep"]


class TrainStep(TimedSuite):
    """A step of Adam on A, U and the readout."""

    kind = "train_step"
