"""Your own images in the files of MNIST: EMNIST, KMNIST and many others are stored like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from deqzoo.data import stored
from deqzoo.data.examples import Data
from deqzoo.data.fewer import fewer
from deqzoo.data.idx_folder import idx_splits
from deqzoo.data.images import Images
from deqzoo.data.rows import Rows
from deqzoo.local_path import local_path
from deqzoo.settings import In

__all__ = ["Idx"]


@dataclass(frozen=True)
class Idx(Images):
    """Images x (n, height, width, 1) and classes y of the four idx files of a folder.

    The files are ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
    ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, as they are or gzipped with ``.gz``
    behind the name. Name the folder as ``idx:FOLDER``. There are as many classes as the largest
    label says. The images stay in memory as they are stored, a byte a pixel as a rule, and are
    scaled batch by batch.

    Attributes:
        path: the folder; ``~`` is the home folder.
        examples: training images, drawn by a fixed seed; None for all.
        scaling: as in ``Task``.
        validation: as in ``Task``, a tenth by default.
        shift: as in ``Images``.
        flip: as in ``Images``.

    References:
        Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits",
        https://yann.lecun.com/exdb/mnist/, which describes the format.
    """

    path: str
    examples: Annotated[int, In("[1, inf)")] | None = None

    def read(self) -> Data:
        """The images of the files."""
        folder = local_path(self.path).absolute()
        train, test = idx_splits(folder, "name the folder of the four idx files, gzipped or not")
        classes = stored.data_of(folder, train, test).classes
        splits = [split._replace(x=Rows(split.x)) for split in (fewer(train, self.examples), test)]
        return Data(*splits, classes=classes, augmentation=self.augmentation)
