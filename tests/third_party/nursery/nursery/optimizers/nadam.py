"""Adam with Nesterov's momentum."""

from dataclasses import dataclass

import optax

from deqzoo.training.optimizer import Optimizer


@dataclass(frozen=True)
class Nadam(Optimizer):
    """Optax's NAdam."""

    def transform(self, learning_rate):
        """With optax's own decays."""
        return optax.nadam(learning_rate)
