"""Training: configuration, state, step, loop, checkpoints."""

from deqzoo.training.config import ConfigError, TrainConfig
from deqzoo.training.loop import Training, TrainingError, fit

__all__ = ["ConfigError", "TrainConfig", "Training", "TrainingError", "fit"]
