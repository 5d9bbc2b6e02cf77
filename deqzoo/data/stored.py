"""What arrays that users store must be, whatever the files are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deqzoo.data.examples import Data, Split, TaskError
from deqzoo.data.validation import require_dtype


def split_of(path: Path | str, x: np.ndarray, y: np.ndarray, suffix: str = "") -> Split:
    """The examples of ``x`` and ``y``; real targets (n,) become (n, 1).

    Args:
        path: named in the errors.
        x: inputs.
        y: labels.
        suffix: of the two names in the file, ``_test`` of the test split.

    Raises:
        TaskError: shapes or dtypes that cannot be used.
    """
    if x.ndim < 2:
        raise TaskError(f"x{suffix} of {path} must have shape (n, features ...), got {x.shape}")
    if y.ndim < 1:
        raise TaskError(f"y{suffix} of {path} must have shape (n, ...), got {y.shape}")
    if len(x) != len(y) or len(x) == 0:
        raise TaskError(
            f"x{suffix} and y{suffix} of {path} must have the same length, at least 1, "
            f"got {len(x)} and {len(y)}"
        )
    require_dtype(f"x{suffix} of {path}", x)
    require_dtype(f"y{suffix} of {path}", y)
    if _is_class(y) and y.ndim == 1 and np.min(y) < 0:
        raise TaskError(
            f"y{suffix} of {path} must hold labels 0, 1, ..., got {np.min(y)}: renumber the "
            "classes; -1 stands for no label, and an example without one is of no use"
        )
    return Split(x, y if _is_class(y) or y.ndim > 1 else y[:, None])


def data_of(path: Path | str, train: Split, test: Split) -> Data:
    """Both splits; integer labels are classes, as many as the largest one says.

    Raises:
        TaskError: classes in one split and real targets in the other.
    """
    if _is_class(train.y) != _is_class(test.y):
        raise TaskError(
            f"y and y_test of {path} must both be integers (classes) or both be floats "
            f"(targets), got {train.y.dtype} and {test.y.dtype}"
        )
    labels = (train.y, test.y)
    classes = max(int(np.max(y)) for y in labels) + 1 if _is_class(train.y) else None
    return Data(train, test, classes)


def _is_class(y: np.ndarray) -> bool:
    return bool(np.issubdtype(y.dtype, np.integer))
