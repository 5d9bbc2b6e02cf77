"""What data and settings must be; every refusal says what was expected and what was found."""

from __future__ import annotations

import numpy as np

from deqzoo.data.examples import Data, Split, TaskError
from deqzoo.data.rows import blocks


def require_whole(name: str, value: object, least: int) -> None:
    """Refuse a setting that is not a whole number >= ``least``.

    Raises:
        ValueError: it is not.
    """
    if not (isinstance(value, int) and value >= least):
        raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")


def require_dtype(what: str, array: np.ndarray) -> None:
    """Refuse anything but integers and floats.

    Raises:
        TaskError: it is something else.
    """
    if array.dtype.kind not in "iuf":
        raise TaskError(
            f"{what} must be integers or floats, got dtype {array.dtype}; convert with .astype(...)"
        )


def require_finite(what: str, array: np.ndarray) -> None:
    """Refuse floats that are not finite within the range of float32; every integer is.

    Raises:
        TaskError: the count of bad values and the first example that holds one.
    """
    if array.dtype.kind != "f":
        return
    count, first = 0, 0
    for start, block in blocks(array):
        bad = ~(np.abs(block) <= np.finfo(np.float32).max)
        if np.any(bad):
            first = first if count else start + int(np.argwhere(bad)[0][0])
            count += int(bad.sum())
    if count:
        raise TaskError(
            f"{what} hold {count} non-finite values (NaN, infinite or beyond float32), "
            f"the first in example {first}; repair or remove them"
        )


def require_valid(data: Data) -> None:
    """Refuse splits that cannot be trained or measured on.

    Raises:
        TaskError: shapes that do not fit, non-finite values, labels outside the classes.
    """
    for name, split in (("train", data.train), ("test", data.test)):
        _require_valid_split(name, split, data)


def _require_valid_split(name: str, split: Split, data: Data) -> None:
    x, y = split
    if len(x) == 0 or len(x) != len(y):
        raise TaskError(
            f"the {name} split needs as many labels as inputs and at least one: "
            f"got {len(x)} inputs, {len(y)} labels"
        )
    if x.shape[1:] != data.input_shape:
        raise TaskError(
            f"the {name} inputs have shape {x.shape[1:]}, the training inputs {data.input_shape}"
        )
    for part, array in (("inputs", x), ("labels", y)):
        require_dtype(f"the {name} {part}", array)
        require_finite(f"the {name} {part}", array)
    if data.classes is None:
        _require_valid_targets(name, y, data)
    else:
        _require_valid_labels(name, y, data.classes)


def _require_valid_targets(name: str, y: np.ndarray, data: Data) -> None:
    if y.ndim != 2 or y.shape[1:] != data.train.y.shape[1:]:
        raise TaskError(
            f"regression targets must have shape (n, k) with one k for train and test, "
            f"got {y.shape} in the {name} split, {data.train.y.shape} in the train split"
        )


def _require_valid_labels(name: str, y: np.ndarray, classes: int) -> None:
    whole = np.issubdtype(y.dtype, np.integer)
    if y.ndim != 1 or not whole or y.min() < 0 or y.max() >= classes:
        raise TaskError(
            f"the {name} labels must be integers 0 ... {classes - 1} of shape (n,), "
            f"got {y.dtype}{y.shape} in [{y.min()}, {y.max()}]"
        )
