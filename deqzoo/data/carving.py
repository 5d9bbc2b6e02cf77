"""A validation split, carved out of the training split."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import jax
import numpy as np

from deqzoo.data.examples import Data, Split
from deqzoo.data.rows import Rows
from deqzoo.data.validation import require_a_label
from deqzoo.data.windows import Windows
from deqzoo.settings import In

Share = Annotated[float, In("[0, 1)")]
_SEED = 0


def carved(data: Data, share: float) -> Data:
    """A ``share`` of the training examples, rounded down, becomes the validation split.

    Which ones is drawn by a fixed seed, so that it is the same on every run. Nothing is carved out
    where there is a validation split already, where the test split *is* the training split (what
    can be fitted but not generalised), and of windows, which overlap: a task gives those of another
    stretch of the text itself.

    Raises:
        TaskError: a split would have no label.

    Example:
        >>> import numpy as np
        >>> from deqzoo.data.carving import carved
        >>> from deqzoo.data.examples import Data, Split
        >>> ones = lambda n: Split(np.ones((n, 3)), np.ones(n, int))
        >>> found = carved(Data(ones(25), ones(5), 2), 0.1).splits
        >>> {name: split.examples for name, split in found.items()}
        {'train': 23, 'test': 5, 'validation': 2}
    """
    every, shared = data.train, data.test is data.train
    size = int(share * every.examples)
    overlap = any(isinstance(array, Windows) for array in jax.tree.leaves(every))
    if data.validation is not None or shared or overlap or size == 0:
        return data
    order = np.random.default_rng(_SEED).permutation(every.examples)
    validation, train = (_chosen(every, np.sort(part)) for part in (order[:size], order[size:]))
    for name, split in (("validation", validation), ("train", train)):
        if data.classes is not None:
            require_a_label(name, split.y)
    return replace(data, train=train, validation=validation)


def _chosen(split: Split, rows: np.ndarray) -> Split:
    """Some of the examples; what is on disk stays there."""
    return jax.tree.map(lambda array: _rows_of(array, rows), split)


def _rows_of(array: Any, rows: np.ndarray) -> Any:
    if isinstance(array, np.memmap):
        return Rows(array, chosen=rows)
    return array.take(rows) if isinstance(array, Rows) else array[rows]
