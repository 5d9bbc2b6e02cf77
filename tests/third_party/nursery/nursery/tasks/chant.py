"""A text whose next token depends on the last two."""

from dataclasses import dataclass

import numpy as np

from deqzoo.data.examples import Data, Split
from deqzoo.data.task import Task
from deqzoo.data.windows import Windows

_LENGTH, _TEST = 12, 240


@dataclass(frozen=True)
class Chant(Task):
    """Windows of 12 tokens of 300, x and the tokens that follow, both (n, 12).

    Attributes:
        tokens: length of the text of the training split; the others have 240.
        seed: draws it.
    """

    metrics = ("bits_per_character", "accuracy")

    tokens: int = 600
    seed: int = 0

    def read(self):
        """Cut the text in three stretches, and those in windows."""
        text = self.draw(self.tokens + 2 * _TEST)
        train, validation, test = np.split(text, [self.tokens, self.tokens + _TEST])
        held = [self.cut(part, _LENGTH) for part in (test, validation)]
        return Data(self.cut(train, 6), held[0], 300, held[1], tokens=300)

    def cut(self, text, stride):
        """Tokens and those that follow."""
        return Split(*(Windows(text, _LENGTH, stride=stride, shift=shift) for shift in (0, 1)))

    def draw(self, n):
        """The sum of the last two modulo 300, every tenth time or so something else."""
        rng = np.random.default_rng(self.seed)
        text = rng.integers(0, 300, n).astype(np.uint16)
        kept = rng.random(n) < 0.9
        for i in range(2, n):
            text[i] = (text[i - 1] + text[i - 2]) % 300 if kept[i] else text[i]
        return text
