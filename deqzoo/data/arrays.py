"""Arrays in memory as data with their splits."""

from __future__ import annotations

from typing import Any

import numpy as np

from deqzoo.data import stored
from deqzoo.data.carving import Share, carved
from deqzoo.data.examples import Data, Split, TaskError
from deqzoo.data.scaling import scaled
from deqzoo.data.validation import require_valid
from deqzoo.settings import fitted

_NAME = "the arrays"
_SEED = 0


def data_of_arrays(
    train: Any, test: Any = None, *, test_fraction: float = 0.2, validation: Any = 0.1
) -> Data:
    """The pairs (x, y) as they are, unscaled: what a model is fitted to is what it is asked later.

    Integer y are class labels from 0, as many classes as the largest says; floats are targets.

    Args:
        train: inputs (n, ...) and labels or targets (n,) or (n, k).
        test: the same for examples to measure on; None holds out random ones, the same every time.
        test_fraction: share that is held out, in (0, 1).
        validation: the same for examples to choose checkpoints by, or a share of the training
            examples, in [0, 1), that becomes them; 0 for none.

    Raises:
        TaskError: what cannot be trained on; the message says what was expected and what came.

    Example:
        >>> import numpy as np
        >>> from deqzoo.data.arrays import data_of_arrays
        >>> data = data_of_arrays((np.ones((50, 3)), np.arange(50) % 2))
        >>> {name: split.examples for name, split in data.splits.items()}
        {'train': 36, 'test': 10, 'validation': 4}
    """
    pair = _pair("(x, y)", train)
    held = held_out(pair, test_fraction) if test is None else (pair, _pair("test", test))
    is_share = not isinstance(validation, tuple | list)
    share = fitted("validation", validation, Share) if is_share else 0.0
    data = stored.data_of(_NAME, *held, None if is_share else _pair("validation", validation))
    require_valid(data)
    return scaled(carved(data, share), "none")


def held_out(
    every: Split, fraction: float, *, name: Any = _NAME, seed: int = _SEED
) -> tuple[Split, Split]:
    """Train and test examples: a random ``fraction`` of them, at least one, is the test split.

    Raises:
        TaskError: fewer than two examples.
    """
    examples = every.examples
    if examples < 2:
        raise TaskError(
            f"{name} needs at least two examples to split off a test set, got {examples}; "
            "or give test examples too"
        )
    order = np.random.default_rng(seed).permutation(examples)
    size = min(max(round(fraction * examples), 1), examples - 1)
    return every.at(order[size:]), every.at(order[:size])


def _pair(name: str, pair: Any) -> Split:
    if not (isinstance(pair, tuple | list) and len(pair) == 2):
        raise TaskError(f"{name} must be a pair (x, y) of arrays, got {type(pair).__name__}")
    try:
        x, y = map(np.asarray, pair)
    except ValueError as error:
        raise TaskError(f"{name} must be arrays of numbers: {error}") from None
    for letter, array in (("x", x), ("y", y)):
        _require_numbers(f"{letter} of {name}", array)
    return stored.split_of(_NAME, x, y)


def _require_numbers(what: str, array: np.ndarray) -> None:
    """Refuse text, and what NumPy makes one object of."""
    if array.dtype.kind in "US":
        raise TaskError(
            f"{what} must hold numbers, got the text {str(array.flat[0])!r}: number classes with "
            "numpy.unique(y, return_inverse=True)[1]"
        )
    if array.dtype.kind == "O":
        raise TaskError(
            f"{what} must be an array of numbers, got {type(array.flat[0]).__name__}: inputs of "
            "several arrays are given as deqzoo.data.examples.Data"
        )
