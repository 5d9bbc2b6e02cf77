"""The contract of a task: data with a train and a test split, checked and scaled once."""

from __future__ import annotations

import abc
import zlib
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

SCALINGS = ("standard", "sphere", "none")


class TaskError(ValueError):
    """Data that cannot be used; the message says what was expected and what was found."""


class Split(NamedTuple):
    """Examples along axis 0.

    Attributes:
        x: inputs, (n, ...), float32 once loaded; images are (n, height, width, channels).
        y: class labels (n,), int32 once loaded, or real targets (n, k), float32 once loaded.
    """

    x: Shaped[np.ndarray, "n ..."]
    y: Shaped[np.ndarray, "n ..."]


@dataclass(frozen=True)
class Data:
    """A train and a test split.

    Attributes:
        train: examples to fit.
        test: examples to measure on.
        classes: number of classes, or None for regression.
    """

    train: Split
    test: Split
    classes: int | None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.train.x.shape[1:]

    @property
    def outputs(self) -> int:
        """Width of the model's output: the classes, or the targets of a regression."""
        return self.classes if self.classes is not None else self.train.y.shape[1]

    @property
    def fingerprint(self) -> str:
        """A checksum of every array, so that a run notices when its data changed."""
        crc = 0
        for array in (*self.train, *self.test):
            crc = zlib.crc32(str((array.shape, array.dtype)).encode(), crc)
            crc = zlib.crc32(np.ascontiguousarray(array).data, crc)
        return f"{crc:08x}"


@dataclass(frozen=True)
class Task(abc.ABC):
    """Data set with its default way of scaling inputs.

    To write a task, derive a frozen dataclass in a file of ``deqzoo/tasks`` and define ``read``.
    ``load`` validates and scales.

    Attributes:
        scaling: ``standard`` subtracts the mean and divides by the standard deviation of all
            training inputs, ``sphere`` scales every example to Euclidean norm sqrt(d) as the theory
            assumes, ``none`` leaves them. Given by keyword only.
    """

    scaling: str = field(default="standard", kw_only=True)

    def __post_init__(self):
        if self.scaling not in SCALINGS:
            raise ValueError(f"scaling must be one of {', '.join(SCALINGS)}; got {self.scaling!r}")

    @abc.abstractmethod
    def read(self) -> Data:
        """The data as stored; a missing file or package raises TaskError with what to do."""

    def load(self) -> Data:
        """Read, validate and scale.

        Raises:
            TaskError: shapes that do not fit, non-finite values, labels outside the classes, a zero
                input on the sphere.
        """
        data = self.read()
        for name, split in (("train", data.train), ("test", data.test)):
            _validate(name, split, data)
        shift, factor = _standard(data.train.x) if self.scaling == "standard" else (0.0, 1.0)
        kind = np.float32 if data.classes is None else np.int32

        def ready(name: str, split: Split) -> Split:
            x = (split.x.astype(np.float64) - shift) * factor
            x = _on_sphere(name, x) if self.scaling == "sphere" else x
            return Split(x.astype(np.float32), split.y.astype(kind))

        return replace(data, train=ready("train", data.train), test=ready("test", data.test))


def require_whole(name: str, value: object, least: int) -> None:
    """Refuse a setting that is not a whole number >= ``least``.

    Raises:
        ValueError: it is not.
    """
    if not (isinstance(value, int) and value >= least):
        raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")


def require_numbers(what: str, array: np.ndarray) -> None:
    """Refuse anything but finite integers and floats within the range of float32.

    Raises:
        TaskError: other dtypes, or the count of bad values and the first example that holds one.
    """
    if array.dtype.kind not in "iuf":
        raise TaskError(
            f"{what} must be integers or floats, got dtype {array.dtype}; convert with .astype(...)"
        )
    bad = ~(np.abs(array) <= np.finfo(np.float32).max)
    if np.any(bad):
        raise TaskError(
            f"{what} hold {int(bad.sum())} non-finite values (NaN, infinite or beyond float32), "
            f"the first in example {int(np.argwhere(bad)[0][0])}; repair or remove them"
        )


def _standard(x: np.ndarray) -> tuple[float, float]:
    deviation = float(np.std(x, dtype=np.float64))
    if deviation == 0:
        raise TaskError(
            "all training inputs are equal: standard scaling is impossible; use scaling='none'"
        )
    return float(np.mean(x, dtype=np.float64)), 1 / deviation


def _on_sphere(name: str, x: np.ndarray) -> np.ndarray:
    norms = np.sqrt(np.sum(np.square(x), axis=tuple(range(1, x.ndim)), keepdims=True))
    if np.any(norms == 0):
        raise TaskError(
            f"{name} example {int(np.argmin(norms))} is zero and cannot be scaled to the sphere; "
            "remove it or use another scaling"
        )
    return x * (np.sqrt(x[0].size) / norms)


def _validate(name: str, split: Split, data: Data) -> None:
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
    require_numbers(f"the {name} inputs", x)
    require_numbers(f"the {name} labels", y)
    if data.classes is None:
        _validate_targets(name, y, data)
    else:
        _validate_labels(name, y, data.classes)


def _validate_targets(name: str, y: np.ndarray, data: Data) -> None:
    if y.ndim != 2 or y.shape[1:] != data.train.y.shape[1:]:
        raise TaskError(
            f"regression targets must have shape (n, k) with one k for train and test, "
            f"got {y.shape} in the {name} split, {data.train.y.shape} in the train split"
        )


def _validate_labels(name: str, y: np.ndarray, classes: int) -> None:
    whole = np.issubdtype(y.dtype, np.integer)
    if y.ndim != 1 or not whole or y.min() < 0 or y.max() >= classes:
        raise TaskError(
            f"the {name} labels must be integers 0 ... {classes - 1} of shape (n,), "
            f"got {y.dtype}{y.shape} in [{y.min()}, {y.max()}]"
        )
