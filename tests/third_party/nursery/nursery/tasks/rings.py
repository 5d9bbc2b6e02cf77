"""Pictures of rings and discs."""

from dataclasses import dataclass

import numpy as np

from deqzoo.data.examples import Data, Split
from deqzoo.data.task import Task


@dataclass(frozen=True)
class Rings(Task):
    """x (n, 8, 8, 1) with a noisy ring (label 0) or disc (label 1) of random size.

    Attributes:
        examples: of the training split; the test split has a quarter.
        seed: draws them.
    """

    metrics = ("accuracy", "brier")

    examples: int = 96
    seed: int = 0

    def read(self):
        """Draw both splits."""
        rng = np.random.default_rng(self.seed)
        train, test = (self.draw(rng, n) for n in (self.examples, self.examples // 4))
        return Data(train, test, classes=2)

    def draw(self, rng, n):
        """So many pictures."""
        grid = np.arange(8) - 3.5
        distance = np.hypot(grid[:, None], grid[None])[None]
        radius, y = rng.uniform(2, 4, (n, 1, 1)), rng.integers(0, 2, n)
        hollow = (y == 0)[:, None, None] & (distance < radius - 1.2)
        x = (distance < radius) & ~hollow
        return Split((x + 0.3 * rng.standard_normal(x.shape))[..., None], y)
