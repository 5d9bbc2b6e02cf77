"""CIFAR-10, 60,000 colour pictures of ten kinds, from the binary files of its page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from deqzoo.data import regular_file
from deqzoo.data.examples import Data, Split, TaskError
from deqzoo.data.fewer import fewer
from deqzoo.data.images import Images
from deqzoo.data.rows import Rows
from deqzoo.local_path import local_path
from deqzoo.settings import In, told

__all__ = ["Cifar10"]

_CLASSES, _SIDE, _CHANNELS = 10, 32, 3
_RECORD = 1 + _CHANNELS * _SIDE**2  # bytes: the class, then the red, green and blue values
_LARGEST = 2**20 * _RECORD  # bytes of a file; the official ones hold 10,000 records
_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
_GET = f'unpack "CIFAR-10 binary version" of {_PAGE} and name its folder as cifar10:FOLDER'


@dataclass(frozen=True)
class Cifar10(Images):
    """50,000 training and 10,000 test images of ten classes, x (n, 32, 32, 3).

    The classes are airplane, automobile, bird, cat, deer, dog, frog, horse, ship and truck. Name
    the folder of ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin`` as
    ``cifar10:FOLDER``; they are the "CIFAR-10 binary version" of
    https://www.cs.toronto.edu/~kriz/cifar.html. The images stay in memory as bytes, 184 MB, and are
    scaled batch by batch. Usual are ``shift=4`` and ``flip=True``.

    Attributes:
        path: the folder; ``~`` is the home folder.
        examples: training images, drawn by a fixed seed; None for all.
        scaling: as in ``Task``.
        validation: as in ``Task``, a tenth by default.
        shift: as in ``Images``.
        flip: as in ``Images``.

    References:
        A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report,
        University of Toronto (2009).
    """

    path: str
    examples: Annotated[int, In("[1, inf)")] | None = None

    def read(self) -> Data:
        """The images of the files, in their order."""
        folder = local_path(self.path).absolute()
        train = np.concatenate([_records(folder / name) for name in _TRAIN])
        test = _records(folder / "test_batch.bin")
        splits = fewer(_split(train), self.examples), _split(test)
        rows = [split._replace(x=Rows(split.x)) for split in splits]
        return Data(*rows, classes=_CLASSES, augmentation=self.augmentation)


def _records(path: Path) -> np.ndarray:
    """The records of a file, (n, 3073)."""
    try:
        with open(path, "rb", opener=regular_file.opener) as file:
            stored = np.frombuffer(file.read(_LARGEST + 1), np.uint8)
    except FileNotFoundError:
        raise TaskError(f"there is no file {path}: {_GET}") from None
    except (OSError, MemoryError) as error:
        raise TaskError(f"cannot read {path} ({told(error)}); {_GET}") from error
    if stored.size % _RECORD or not 0 < stored.size <= _LARGEST:
        raise TaskError(
            f"{path} must hold records of {_RECORD} bytes, at least one, got {stored.size} bytes: "
            f"it is cut short or another file; {_GET}"
        )
    records = stored.reshape(-1, _RECORD)
    beyond = np.flatnonzero(records[:, 0] >= _CLASSES)
    if len(beyond):
        raise TaskError(
            f"{path} must begin every record with a class 0 ... {_CLASSES - 1}, got "
            f"{records[beyond[0], 0]} in record {beyond[0]}: it is damaged or another file; {_GET}"
        )
    return records


def _split(records: np.ndarray) -> Split:
    planes = records[:, 1:].reshape(-1, _CHANNELS, _SIDE, _SIDE)
    return Split(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0].copy())
