"""Training: configuration, state, step, loop, checkpoints."""

from deqzoo.training.config import ConfigError, TrainConfig
from deqzoo.training.options import RunOptions
from deqzoo.training.training import Training, TrainingError, train

__all__ = ["ConfigError", "RunOptions", "TrainConfig", "Training", "TrainingError", "train"]
