"""The base of tasks whose sequences are drawn: what is learned on short ones is tested on long."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from jaxtyping import Int

from deqzoo.data.examples import Data, Split, TaskError
from deqzoo.data.task import Task
from deqzoo.settings import In

_TEST = 256  # sequences
_NONE = -1

Drawn = tuple[Int[np.ndarray, "n size"], Int[np.ndarray, "n size"]]


@dataclass(frozen=True)
class Sequences(Task):
    """Tokens (n, size) with a label for every position, -1 where there is none.

    To write such a task, define ``draw`` and the class attributes. Where test sequences are longer
    than those of training, the latter are filled up with token 0 without labels, as the examples of
    all splits have one shape.

    Attributes:
        tokens: how many there are.
        classes: of labels.
        length: of training and validation sequences.
        test_length: of test sequences; ``length`` of None.
        examples: of the training and the validation split together.
        seed: of the draws.
        scaling: without effect on tokens.
        validation: as in ``Task``.
    """

    metrics: ClassVar[tuple[str, ...] | None] = ("accuracy", "exact_match")
    tokens: ClassVar[int]
    classes: ClassVar[int]

    length: Annotated[int, In("[2, inf)")] = 32
    test_length: Annotated[int, In("[2, inf)")] | None = None
    examples: Annotated[int, In("[2, inf)")] = 4096
    seed: Annotated[int, In("[0, inf)")] = 0

    @abc.abstractmethod
    def draw(self, rng: np.random.Generator, count: int, length: int) -> Drawn:
        """Tokens and labels of ``count`` sequences."""

    def read(self) -> Data:
        """Draw the splits.

        Raises:
            TaskError: test sequences would be shorter than those of training.
        """
        longest = self.length if self.test_length is None else self.test_length
        if longest < self.length:
            raise TaskError(
                f"test_length must be at least length, {self.length}, got {longest}: to measure on "
                "shorter sequences evaluate a run on another task"
            )
        rng = np.random.default_rng(self.seed)
        train = self.draw(rng, self.examples, self.length)
        test = self.draw(rng, _TEST, longest)
        split = Split(*_filled(train, test[0].shape[1]))
        return Data(split, Split(*test), self.classes, tokens=self.tokens)


def _filled(drawn: Drawn, size: int) -> Drawn:
    """Sequences of ``size`` positions, the last ones without a label."""
    fill = ((0, 0), (0, size - drawn[0].shape[1]))
    tokens, labels = drawn
    return np.pad(tokens, fill), np.pad(labels, fill, constant_values=_NONE)
