"""What class labels must be, and what is said of odd ones and of targets that look like classes."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from deqzoo.data.examples import Split, TaskError
from deqzoo.data.rows import blocks, values_of

_MOST = 2**31 - 1  # labels are int32 in training
_PER_EXAMPLE = 100  # classes: more are numbers of another kind, such as identifiers
_FEW = 100  # distinct values of targets that may be classes
_SHOWN = 5
_READER = 4  # frames between the warning and who asked for the data


def class_count(path: Path | str, splits: dict[str, Split]) -> int:
    """As many classes as the largest label of any split says; -1 stands for no label.

    Labels without a training example are allowed, with a warning.

    Args:
        path: named in the messages.
        splits: name -> split with integer labels.

    Raises:
        TaskError: fewer than two classes, or labels that are no classes.
    """
    found = {name: _distinct(split.y) for name, split in splits.items()}
    every = {int(labels[at]) for labels in found.values() if len(labels) for at in (0, -1)}
    largest, examples = max(every, default=-1), splits["train"].y.size
    if largest >= min(_MOST, _PER_EXAMPLE * examples):
        raise TaskError(
            f"y of {path} must hold classes 0, 1, ..., got the label {largest} in {examples} "
            "training labels: number the classes with numpy.unique(y, return_inverse=True)[1]; an "
            "example without a label belongs out of the data"
        )
    if min(every, default=0) < 0:
        raise TaskError(f"y of {path} must hold labels 0, 1, ..., or -1 for none, got {min(every)}")
    if len(every) < 2:
        raise TaskError(
            f"y of {path} must hold at least two classes to tell apart, got {[*every]} in all "
            "splits; for real targets store floats"
        )
    missing = np.setdiff1d(np.arange(largest + 1), found["train"])
    if len(missing):
        warnings.warn(
            f"no training example of {path} has the label {_listed(missing)}: a model trained on "
            f"it learns {len(missing)} of {largest + 1} classes from nothing",
            stacklevel=_READER,
        )
    return largest + 1


def warn_of_classes(path: Path | str, y: np.ndarray) -> None:
    """Say it where float targets are a few whole numbers, repeated: classes read as floats."""
    if y.ndim > 2 or y[0].size != 1 or any(np.any(block % 1) for _, block in blocks(y)):
        return
    distinct = np.unique(values_of(y))
    if 2 <= len(distinct) <= min(_FEW, len(y) // 2):
        warnings.warn(
            f"y of {path} holds {_listed(distinct)} as {y.dtype}, which are real targets of a "
            "regression: for classes store y.astype(int)",
            stacklevel=_READER,
        )


def _distinct(y: np.ndarray) -> np.ndarray:
    """Labels in increasing order, without that for none."""
    parts = [np.unique(block) for _, block in blocks(values_of(y))]
    labels = np.unique(np.concatenate(parts))
    return labels[labels != -1] if labels.dtype.kind == "i" else labels


def _listed(values: np.ndarray) -> str:
    shown = ", ".join(f"{value:g}" for value in values[:_SHOWN])
    return f"{shown}, ..." if len(values) > _SHOWN else shown
