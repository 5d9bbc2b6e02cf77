"""The contract of a task: data with a train and a test split, checked and scaled once."""

from __future__ import annotations

import abc
import zlib
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

SCALINGS = ("standard", "sphere", "none")


class TaskError(ValueError):
    """Data that cannot be used; the message says what was expected and what was found."""


class Split(NamedTuple):
    """Examples along axis 0.

    Attributes:
        x: inputs, (n, ...) float32; images are (n, height, width, channels).
        y: integer class labels (n,), or real targets (n, k) float32.
    """

    x: Float[np.ndarray, "n *features"]
    y: Shaped[np.ndarray, "n *targets"]


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
            crc = zlib.crc32(np.ascontiguousarray(array), zlib.crc32(str((array.shape, array.dtype)).encode(), crc))
        return f"{crc:08x}"


@dataclass(frozen=True)
class Task(abc.ABC):
    """Data set with its default way of scaling inputs.

    To write a task, derive a frozen dataclass in a file of ``deqzoo/tasks`` and define ``read``. ``load`` validates
    and scales.

    Attributes:
        scaling: ``standard`` subtracts the mean and divides by the standard deviation of all training inputs,
            ``sphere`` scales every example to Euclidean norm sqrt(d) as the theory assumes, ``none`` leaves them.
    """

    scaling: str = "standard"

    def __post_init__(self):
        if self.scaling not in SCALINGS:
            raise ValueError(f"scaling must be one of {', '.join(SCALINGS)}; got {self.scaling!r}")

    @abc.abstractmethod
    def read(self) -> Data:
        """The data as stored; a missing file or package raises TaskError with what to do."""

    def load(self) -> Data:
        """Read, validate and scale.

        Raises:
            TaskError: shapes that do not fit, non-finite values, labels outside the classes, a zero input on the
                sphere.
        """
        data = self.read()
        for name, split in (("train", data.train), ("test", data.test)):
            _validate(name, split, data)
        shift, factor = _standard(data.train.x) if self.scaling == "standard" else (0.0, 1.0)
        return replace(data, train=self._scale(data.train, shift, factor), test=self._scale(data.test, shift, factor))

    def _scale(self, split: Split, shift: float, factor: float) -> Split:
        x = (split.x.astype(np.float64) - shift) * factor
        if self.scaling == "sphere":
            norms = np.sqrt(np.sum(np.square(x), axis=tuple(range(1, x.ndim)), keepdims=True))
            if np.any(norms == 0):
                raise TaskError(f"example {int(np.argmin(norms))} is zero and cannot be scaled to the sphere")
            x *= np.sqrt(x[0].size) / norms
        y = split.y.astype(np.int32 if np.issubdtype(split.y.dtype, np.integer) else np.float32)
        return Split(x.astype(np.float32), y)


def _standard(x: np.ndarray) -> tuple[float, float]:
    deviation = float(np.std(x, dtype=np.float64))
    if deviation == 0:
        raise TaskError("all training inputs are equal: standard scaling is impossible; use scaling='none'")
    return float(np.mean(x, dtype=np.float64)), 1 / deviation


def _validate(name: str, split: Split, data: Data) -> None:
    x, y = split
    if len(x) == 0 or len(x) != len(y):
        raise TaskError(f"the {name} split needs as many labels as inputs and at least one: got {len(x)} inputs, {len(y)} labels")
    if x.shape[1:] != data.input_shape:
        raise TaskError(f"the {name} inputs have shape {x.shape[1:]}, the training inputs {data.input_shape}")
    for role, array in (("inputs", x), ("labels", y)):
        bad = ~np.isfinite(array)
        if np.any(bad):
            first = int(np.argwhere(bad)[0][0])
            raise TaskError(f"the {name} {role} hold {int(bad.sum())} non-finite values, the first in example {first}")
    if data.classes is None:
        if y.ndim != 2 or y.shape[1:] != data.train.y.shape[1:]:
            raise TaskError(f"regression targets must have shape (n, k), got {y.shape} in the {name} split")
    elif y.ndim != 1 or not np.issubdtype(y.dtype, np.integer) or y.min() < 0 or y.max() >= data.classes:
        raise TaskError(
            f"the {name} labels must be integers 0 ... {data.classes - 1} of shape (n,), "
            f"got {y.dtype}{y.shape} in [{y.min()}, {y.max()}]"
        )
