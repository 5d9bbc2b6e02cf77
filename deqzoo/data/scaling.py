"""How the inputs of a task are scaled, at once or when rows are read from disk."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from deqzoo.data.examples import Data, Split, TaskError
from deqzoo.data.rows import Rows, blocks
from deqzoo.data.windows import Windows

SCALINGS = ("standard", "sphere", "none")


def scaled(data: Data, scaling: str) -> Data:
    """All splits with inputs scaled as the training inputs ask for, in float32.

    Every array of numbers is scaled by itself. Tokens and labels become int32, real targets
    float32; arrays mapped into memory become ``Rows``, and so do training inputs that an
    augmentation is to change before they are scaled.

    Raises:
        TaskError: training inputs without deviation.
    """
    scales = scales_of(data, scaling)
    cast = _Cast("float32" if data.classes is None else "int32")

    def ready(split: Split) -> Split:
        return Split(jax.tree.map(_apply, scales, split.x), _apply(cast, split.y))

    splits = data.splits
    if data.augmentation is not None:
        splits["train"] = data.train._replace(x=jax.tree.map(_as_stored, data.train.x))
    done = {name: ready(split) for name, split in splits.items()}
    if data.test is data.train:
        done["test"] = done["train"]
    return replace(data, **done)


def scales_of(data: Data, scaling: str) -> Any:
    """What is done to every array of inputs, in their structure; tokens are only cast.

    Raises:
        TaskError: training inputs without deviation.
    """

    def scale(array: Any, size: int | None) -> Scale | _Cast:
        if size is not None:
            return _Cast("int32")
        if isinstance(array, Windows):
            raise TaskError(
                "windows are cut from tokens: say how many there are, Data(..., tokens=...)"
            )
        shift = _standard(array) if scaling == "standard" else ()
        return Scale(*shift, sphere=scaling == "sphere")

    return data.over_inputs(scale, data.train.x)


def require_scalable(data: Data, scaling: str) -> None:
    """Refuse inputs that the sphere does not hold.

    Raises:
        TaskError: one is zero; the message names the first of them.
    """
    if scaling == "sphere":
        for name, split in data.splits.items():
            data.over_inputs(partial(_require_no_zero, name), split.x)


@dataclass(frozen=True)
class Scale:
    """x -> (x - shift)·factor, then of norm sqrt(d) on the sphere, in float32."""

    shift: float = 0.0
    factor: float = 1.0
    sphere: bool = False

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Examples (n, ...) as they are stored, scaled."""
        x = (x.astype(np.float64) - self.shift) * self.factor
        if self.sphere:
            norms = _norms(x)
            # An image may be moved out of its frame; as stored none is zero.
            norms[norms == 0] = 1
            x = x * (math.sqrt(math.prod(x.shape[1:])) / norms)
        return x.astype(np.float32)


@dataclass(frozen=True)
class _Cast:
    dtype: str

    def __call__(self, y: np.ndarray) -> np.ndarray:
        return y.astype(self.dtype)


def _apply(scale: Any, array: Any) -> Any:
    """At once, or of what stays on disk when rows are read."""
    if isinstance(array, Windows):
        return array.astype(scale.dtype)
    if isinstance(array, Rows):
        return array.through(scale)
    return Rows(array, scale) if isinstance(array, np.memmap) else scale(array)


def _as_stored(array: Any) -> Rows:
    return array if isinstance(array, Rows) else Rows(array)


def _standard(x: np.ndarray) -> tuple[float, float]:
    """Mean and 1 / deviation of all values, block by block: the law of total variance."""
    parts = [(np.mean(b, dtype=float), np.var(b, dtype=float), b.size) for _, b in blocks(x)]
    means, variances, sizes = np.array(parts).T
    weights = sizes / sizes.sum()
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


def _require_no_zero(name: str, x: np.ndarray, size: int | None) -> None:
    if size is not None:
        return
    for start, block in blocks(x):
        norms = _norms(block.astype(np.float64))
        if np.any(norms == 0):
            raise TaskError(
                f"{name} example {start + int(np.argmin(norms))} is zero and cannot be scaled to "
                "the sphere; remove it or use another scaling"
            )
