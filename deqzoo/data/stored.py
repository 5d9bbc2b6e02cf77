"""What arrays that users store must be, whatever the files are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deqzoo.data.examples import Data, Split, TaskError
from deqzoo.data.labels import class_count, warn_of_classes
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
    for name, array in (("x", x), ("y", y)):
        if array.size == 0:
            raise TaskError(
                f"{name}{suffix} of {path} has shape {array.shape}: every example must hold "
                "at least one number"
            )
    require_dtype(f"x{suffix} of {path}", x)
    require_dtype(f"y{suffix} of {path}", y)
    if _is_class(y) and y.ndim == 1 and np.min(y) < 0:
        raise TaskError(
            f"y{suffix} of {path} must hold labels 0, 1, ..., got {np.min(y)}: renumber the "
            "classes; -1 stands for no label, and an example without one is of no use"
        )
    return Split(x, y if _is_class(y) or y.ndim > 1 else y[:, None])


def data_of(path: Path | str, train: Split, test: Split, validation: Split | None = None) -> Data:
    """All splits; integer labels are classes, as many as the largest one says.

    Raises:
        TaskError: classes in one split and real targets in another, or labels that are no classes.
    """
    labels = [split.y for split in (train, test, validation) if split is not None]
    if len({_is_class(y) for y in labels}) > 1:
        raise TaskError(
            f"the labels of all splits of {path} must be integers (classes) or all be floats "
            f"(targets), got {', '.join(str(y.dtype) for y in labels)}"
        )
    if not _is_class(train.y):
        warn_of_classes(path, train.y)
        return Data(train, test, None, validation)
    splits = {"train": train, "test": test, "validation": validation}
    present = {name: split for name, split in splits.items() if split is not None}
    return Data(train, test, class_count(path, present), validation)


def _is_class(y: np.ndarray) -> bool:
    return bool(np.issubdtype(y.dtype, np.integer))
