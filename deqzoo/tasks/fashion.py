"""Fashion-MNIST, 70,000 pictures of clothes, from a package of Debian or a folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from deqzoo.data.examples import Data
from deqzoo.data.fewer import fewer
from deqzoo.data.idx_folder import idx_splits
from deqzoo.data.images import Images
from deqzoo.data.rows import Rows
from deqzoo.local_path import local_path
from deqzoo.settings import In

__all__ = ["Fashion"]

_DEBIAN = "/usr/share/datasets/fashion-mnist"


@dataclass(frozen=True)
class Fashion(Images):
    """60,000 training and 10,000 test images of ten kinds of clothes, x (n, 28, 28, 1).

    The classes are T-shirt/top, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag and
    ankle boot. By default the files are those of Debian's and Ubuntu's package
    ``dataset-fashion-mnist``; elsewhere name the folder of the four idx files, which
    https://github.com/zalandoresearch/fashion-mnist offers: ``fashion(path='FOLDER')``. The images
    stay in memory as bytes, 55 MB, and are scaled batch by batch.

    Attributes:
        path: the folder; ``~`` is the home folder.
        examples: training images, drawn by a fixed seed; None for all.
        scaling: as in ``Task``.
        validation: as in ``Task``, a tenth by default.
        shift: as in ``Images``.
        flip: as in ``Images``; clothes have no side.

    References:
        H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking
        Machine Learning Algorithms", arXiv 1708.07747 (2017), licence MIT.
    """

    licence = "MIT"

    path: str = _DEBIAN
    examples: Annotated[int, In("[1, inf)")] | None = None

    def read(self) -> Data:
        """The images of the files."""
        train, test = idx_splits(
            local_path(self.path).absolute(),
            "apt install dataset-fashion-mnist, or name the folder of the four files with "
            "fashion(path='FOLDER')",
        )
        splits = [split._replace(x=Rows(split.x)) for split in (fewer(train, self.examples), test)]
        return Data(*splits, classes=10, augmentation=self.augmentation)
