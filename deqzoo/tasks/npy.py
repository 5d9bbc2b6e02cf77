"""Your own arrays, larger than memory: npy files of which only the rows in use are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deqzoo.data import stored
from deqzoo.data.examples import Data, TaskError
from deqzoo.data.task import Task
from deqzoo.local_path import local_path

__all__ = ["Npy"]

_WRITE = "write it with np.save or, piece by piece, with np.lib.format.open_memmap"


@dataclass(frozen=True)
class Npy(Task):
    """x.npy (n, ...), y.npy, x_test.npy and y_test.npy of a folder, left on disk.

    Integer y (n,) are classes, float y (n,) or (n, k) targets; images are (n, height, width,
    channels). Name the folder as ``npy:FOLDER``. The dtype on disk may be smaller than float32:
    rows are converted and scaled when they are read, in float64, to the same values as those of
    the task ``npz``. Loading reads every float once to find values that are not finite, and every
    training input once for the mean and deviation of standard scaling.

    Attributes:
        path: the folder; ``~`` is the home folder.
        scaling: as in ``Task``.
        validation: as in ``Task``, a tenth by default.
    """

    path: str

    def read(self) -> Data:
        """The files as memory maps."""
        folder = local_path(self.path).absolute()
        train, test = (
            stored.split_of(folder, _mapped(folder, f"x{part}"), _mapped(folder, f"y{part}"), part)
            for part in ("", "_test")
        )
        return stored.data_of(folder, train, test)


def _mapped(folder: Path, name: str) -> np.memmap:
    file = folder / f"{name}.npy"
    if not file.is_file():
        raise TaskError(
            f"there is no file {file}: a folder for npy holds x.npy, y.npy, x_test.npy and "
            f"y_test.npy; {_WRITE}"
        )
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise TaskError(f"cannot map {file} into memory: {error}; {_WRITE}") from error
    if not isinstance(array, np.memmap):
        raise TaskError(f"{file} is not an npy file; {_WRITE}")
    if not array.flags.c_contiguous:
        raise TaskError(
            f"{file} is stored column by column (Fortran order), so that reading one example "
            "would read the whole file; store np.ascontiguousarray of it"
        )
    return array
