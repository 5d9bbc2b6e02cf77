"""The contract of a task: data with a train and a test split, checked and scaled once."""

from __future__ import annotations

import abc
import math
import zlib
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from deqzoo.rows import Rows, blocks

SCALINGS = ("standard", "sphere", "none")
_SPREAD = 64  # blocks of an array on disk that its checksum looks at


class TaskError(ValueError):
    """Data that cannot be used; the message says what was expected and what was found."""


class Split(NamedTuple):
    """Examples along axis 0.

    Where a task maps files into memory both are ``Rows`` once loaded: they have the length, shape,
    dtype and indexing of these arrays and are left on disk; ``np.asarray`` reads them all.

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
        """A checksum of every array, so that a run notices when its data changed.

        Of an array on disk: of its shape, of 64 evenly spread blocks of a million values (all of
        them in an array that is no larger), and of the scaling. The mean and deviation of standard
        scaling depend on every training input, so that hardly any change of one goes unnoticed; a
        change of a label, or of an input with another scaling, between those blocks does.
        """
        crc = 0
        for array in (*self.train, *self.test):
            lazy = isinstance(array, Rows)
            crc = zlib.crc32(str((array.shape, array.dtype)).encode(), crc)
            crc = zlib.crc32(str(array.scale).encode(), crc) if lazy else crc
            for _, block in blocks(array, _SPREAD if lazy else None):
                crc = zlib.crc32(np.ascontiguousarray(block).data, crc)
        return f"{crc:08x}"


@dataclass(frozen=True)
class Task(abc.ABC):
    """Data set with its default way of scaling inputs.

    To write a task, derive a frozen dataclass in a file of ``deqzoo/tasks`` and define ``read``.
    ``load`` validates and scales; arrays that ``read`` maps into memory (``np.memmap``) are read
    block by block and stay on disk.

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
        scale = _Scale(*_standard(data.train.x)) if self.scaling == "standard" else _Scale()
        scale = replace(scale, sphere=self.scaling == "sphere")
        cast = _Cast("float32" if data.classes is None else "int32")

        def ready(name: str, split: Split) -> Split:
            if scale.sphere:
                _require_no_zero(name, split.x)
            return Split(_apply(scale, split.x), _apply(cast, split.y))

        return replace(data, train=ready("train", data.train), test=ready("test", data.test))


@dataclass(frozen=True)
class _Scale:
    """x -> (x - shift)·factor, then of norm sqrt(d) on the sphere."""

    shift: float = 0.0
    factor: float = 1.0
    sphere: bool = False

    def __call__(self, x: np.ndarray) -> np.ndarray:
        x = (x.astype(np.float64) - self.shift) * self.factor
        if self.sphere:
            x = x * (math.sqrt(math.prod(x.shape[1:])) / _norms(x))
        return x.astype(np.float32)


@dataclass(frozen=True)
class _Cast:
    dtype: str

    def __call__(self, y: np.ndarray) -> np.ndarray:
        return y.astype(self.dtype)


def _apply(scale: _Scale | _Cast, array: np.ndarray) -> Any:
    """At once, or of a memory map when rows are read."""
    return Rows(array, scale) if isinstance(array, np.memmap) else scale(array)


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


def _standard(x: np.ndarray) -> tuple[float, float]:
    """Mean and 1 / deviation of all values, block by block: the law of total variance."""
    parts = [(np.mean(b, dtype=float), np.var(b, dtype=float), b.size) for _, b in blocks(x)]
    means, variances, sizes = np.array(parts).T
    weights = sizes / x.size
    mean = float(weights @ means)
    deviation = math.sqrt(weights @ (variances + np.square(means - mean)))
    if deviation == 0:
        raise TaskError(
            "all training inputs are equal: standard scaling is impossible; use scaling='none'"
        )
    return mean, 1 / deviation


def _norms(x: np.ndarray) -> np.ndarray:
    """Euclidean norms of the examples, to divide by."""
    return np.sqrt(np.sum(np.square(x), axis=tuple(range(1, x.ndim)), keepdims=True))


def _require_no_zero(name: str, x: np.ndarray) -> None:
    for start, block in blocks(x):
        norms = _norms(block.astype(np.float64))
        if np.any(norms == 0):
            raise TaskError(
                f"{name} example {start + int(np.argmin(norms))} is zero and cannot be scaled to "
                "the sphere; remove it or use another scaling"
            )


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
    for part, array in (("inputs", x), ("labels", y)):
        require_dtype(f"the {name} {part}", array)
        require_finite(f"the {name} {part}", array)
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
