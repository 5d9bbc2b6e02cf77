"""Your own arrays: an npz file with the keys x, y and, optionally, x_test, y_test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from deqzoo.data import npz_file, stored
from deqzoo.data.arrays import held_out
from deqzoo.data.examples import Data, Split, TaskError
from deqzoo.data.task import Task
from deqzoo.data.validation import require_finite
from deqzoo.local_path import local_path
from deqzoo.settings import In

__all__ = ["Npz"]

_WRITE = "write it with np.savez(path, x=..., y=...)"


@dataclass(frozen=True)
class Npz(Task):
    """x (n, ...) and y of an npz file; integer y (n,) are classes, float y (n,) or (n, k) targets.

    Classes count from 0; there are as many as the largest label says. Images are
    (n, height, width, channels). Without x_test and y_test, random examples are split off. Write
    the file with ``np.savez("mine.npz", x=x, y=y)`` and name it as ``npz:mine.npz``.

    Attributes:
        path: the file; ``~`` is the home folder.
        test_fraction: share of the examples split off, in (0, 1), when the file has no test arrays.
        seed: draws which examples are split off.
        scaling: as in ``Task``.
        validation: as in ``Task``, a tenth by default.
    """

    path: str
    test_fraction: Annotated[float, In("(0, 1)")] = 0.2
    seed: Annotated[int, In("[0, inf)")] = 0

    def read(self) -> Data:
        """The arrays of the file, with a test split."""
        path = local_path(self.path).absolute()
        arrays = _arrays(path)
        train = _split(path, arrays["x"], arrays["y"], suffix="")
        if "x_test" not in arrays:
            held = held_out(train, self.test_fraction, name=path, seed=self.seed)
            return stored.data_of(path, *held)
        test = _split(path, arrays["x_test"], arrays["y_test"], suffix="_test")
        return stored.data_of(path, train, test)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """x, y and, where present, x_test, y_test."""
    with npz_file.opened(path, _WRITE) as archive:
        keys = _keys(path, archive.files)
        return {key: npz_file.array(path, archive, key) for key in keys}


def _keys(path: Path, found: list[str]) -> tuple[str, ...]:
    listing = ", ".join(found) or "nothing"
    if not {"x", "y"} <= {*found}:
        raise TaskError(f"{path} must hold the arrays x and y, found {listing}; {_WRITE}")
    tests = [key for key in ("x_test", "y_test") if key in found]
    if len(tests) == 1:
        raise TaskError(
            f"{path} must hold both x_test and y_test or neither, found {listing}; "
            "without them test_fraction splits off a test set"
        )
    return ("x", "y", *tests)


def _split(path: Path, x: np.ndarray, y: np.ndarray, suffix: str) -> Split:
    """Name bad values by their place in the file, before examples are shuffled."""
    split = stored.split_of(path, x, y, suffix)
    require_finite(f"x{suffix} of {path}", x)
    require_finite(f"y{suffix} of {path}", y)
    return split
