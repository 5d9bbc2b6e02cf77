"""Some of many training examples."""

from __future__ import annotations

import jax
import numpy as np

from deqzoo.data.examples import Split, TaskError

_SEED = 0


def fewer(split: Split, examples: int | None) -> Split:
    """So many of the examples in their own order; all of them where None are asked for.

    Which ones is drawn by a fixed seed, so that it is the same on every run, and those of a smaller
    number are among those of a larger one.

    Args:
        split: arrays in memory.
        examples: how many, at least 1.

    Raises:
        TaskError: there are not so many.

    Example:
        >>> import numpy as np
        >>> from deqzoo.data.examples import Split
        >>> from deqzoo.data.fewer import fewer
        >>> fewer(Split(np.eye(5), np.arange(5)), 3).y
        array([2, 3, 4])
    """
    if examples is None:
        return split
    if examples > split.examples:
        raise TaskError(
            f"examples must be at most the {split.examples} training examples that there are, or "
            f"None for all of them, got {examples}"
        )
    chosen = np.sort(np.random.default_rng(_SEED).permutation(split.examples)[:examples])
    return jax.tree.map(lambda array: array[chosen], split)
