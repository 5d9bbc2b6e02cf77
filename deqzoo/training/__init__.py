"""Training: configuration, state, step, loop, checkpoints."""

from deqzoo.training.config import ConfigError, TrainConfig
from deqzoo.training.loop import Training, TrainingError, fit
from deqzoo.training.options import RunOptions

__all__ = ["ConfigError", "RunOptions", "TrainConfig", "Training", "TrainingError", "fit"]
