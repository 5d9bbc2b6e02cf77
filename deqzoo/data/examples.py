"""Data with a train, a test and a validation split, as a task gives them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree, Shaped

from deqzoo.data.augmentation import Augmentation
from deqzoo.data.metric import CLASSES, TARGETS
from deqzoo.data.rows import Rows, blocks, values_of
from deqzoo.data.spec import Spec
from deqzoo.data.windows import Windows

SPLITS = ("validation", "test", "train")
_UNNAMED: Any = None  # what the targets decide
_SPREAD = 64  # blocks of an array on disk that its checksum looks at


class TaskError(ValueError):
    """Data that cannot be used; the message says what was expected and what was found."""


class Split(NamedTuple):
    """Examples along axis 0.

    Where a task maps files into memory the arrays are ``Rows`` once loaded: they have the length,
    shape, dtype and indexing of these arrays and are left on disk; ``np.asarray`` reads them all.
    So are images of which a task holds the bytes alone, and those that an augmentation moves.

    Attributes:
        x: inputs, an array (n, ...) or nested dictionaries, lists and tuples of such arrays;
            float32 once loaded, or int32 where they are tokens. Images are
            (n, height, width, channels).
        y: class labels (n, ...), int32 once loaded, of which -1 stands for no label; or real
            targets (n, ..., k), float32 once loaded.
    """

    x: PyTree[Shaped[np.ndarray, "n ..."]]
    y: Shaped[np.ndarray, "n ..."]

    @property
    def examples(self) -> int:
        """How many."""
        return len(self.y)

    def at(self, index: Any) -> Split:
        """Some of them: a slice or an array of indices."""
        return jax.tree.map(lambda array: array[index], self)


def in_dtype(split: Split, dtype: Any) -> Split:
    """Real numbers in another dtype, tokens and labels as they are; nothing is read from disk."""
    real = lambda array: np.issubdtype(array.dtype, np.floating)  # noqa: E731
    return jax.tree.map(lambda a: a.astype(dtype, copy=False) if real(a) else a, split)


@dataclass(frozen=True)
class Data:
    """A train, a test and, as a rule, a validation split.

    Attributes:
        train: examples to fit.
        test: examples to measure on, for the record alone.
        classes: number of classes, or None for regression.
        validation: examples to choose by: which checkpoint is the best, when to stop. Of None a
            task makes a share of the training examples (``Task.validation``).
        tokens: of inputs that are tokens, how many tokens there are, in the structure of x with
            None for arrays of numbers; such inputs stay the integers that they are.
        constants: nested dictionaries, lists and tuples of arrays that belong to all examples, such
            as an adjacency; given to the constructor of the model as ``constants=``.
        loss: recipe of the loss that is minimised unless the run names another; by default
            cross-entropy of classes and the square loss of real targets.
        metrics: recipes of what is measured besides; by default the accuracy of classes.
        augmentation: what becomes of the inputs of training batches, which are to be images; None
            for nothing. Evaluations never see it.

    Raises:
        TaskError: an augmentation of what is no image of its size.
    """

    train: Split
    test: Split
    classes: int | None
    validation: Split | None = None
    tokens: Any = None
    constants: Any = None
    loss: str = _UNNAMED
    metrics: tuple[str, ...] = _UNNAMED
    augmentation: Augmentation | None = None

    def __post_init__(self):
        names = ("square", ()) if self.classes is None else ("cross_entropy", ("accuracy",))
        for field, name in zip(("loss", "metrics"), names, strict=True):
            if getattr(self, field) is _UNNAMED:
                object.__setattr__(self, field, name)
        if self.augmentation is not None:
            _require_images(self.augmentation, self.train.x)

    @property
    def splits(self) -> dict[str, Split]:
        """Name -> split, of those that there are."""
        named = {name: getattr(self, name) for name in reversed(SPLITS)}
        return {name: split for name, split in named.items() if split is not None}

    @property
    def chooser(self) -> str:
        """The name of the split to choose by: the training split where none is held out for it."""
        return "train" if self.validation is None else "validation"

    @property
    def spec(self) -> Any:
        """Of one example, what the model is built for: a tree of ``Spec`` in the structure of x."""
        return self.over_inputs(
            lambda array, size: Spec(array.shape[1:], str(array.dtype), size), self.train.x
        )

    def over_inputs(self, change: Any, *trees: Any) -> Any:
        """``change(*arrays, size)`` of every array of x; size is that of its tokens, or None."""
        leaves, structure = jax.tree.flatten(trees[0])
        others = [structure.flatten_up_to(tree) for tree in trees[1:]]
        return structure.unflatten(map(change, leaves, *others, self._sizes(len(leaves))))

    def _sizes(self, arrays: int) -> list[int | None]:
        if self.tokens is None:
            return [None] * arrays
        return jax.tree.leaves(self.tokens, is_leaf=lambda size: size is None)

    @property
    def kind(self) -> str:
        """What the targets are, as metrics and losses name it."""
        return TARGETS if self.classes is None else CLASSES

    @property
    def outputs(self) -> int:
        """Width of the model's output: the classes, or the targets of a regression."""
        return self.classes if self.classes is not None else self.train.y.shape[-1]

    @property
    def fingerprint(self) -> str:
        """A checksum of every array, so that a run notices when its data changed.

        Of an array on disk: of its shape, of 64 evenly spread blocks of a million values (all of
        them in an array that is no larger), and of the scaling. The mean and deviation of standard
        scaling depend on every training input, so that hardly any change of one goes unnoticed; a
        change of a label, or of an input with another scaling, between those blocks does. An
        augmentation is part of it.
        """
        crc = 0 if self.augmentation is None else zlib.crc32(repr(self.augmentation).encode())
        for array in jax.tree.leaves((*self.splits.values(), self.constants)):
            lazy = isinstance(array, Rows | Windows)
            crc = zlib.crc32(str((array.shape, array.dtype)).encode(), crc)
            crc = zlib.crc32(str(_reading(array)).encode(), crc) if lazy else crc
            for _, block in blocks(values_of(array), _SPREAD if lazy else None):
                crc = zlib.crc32(np.ascontiguousarray(block).data, crc)
        return f"{crc:08x}"


def _require_images(augmentation: Augmentation, x: Any) -> None:
    shapes = [array.shape[1:] for array in jax.tree.leaves(x)]
    images = len(shapes) == 1 and len(shapes[0]) == 3
    if not images or augmentation.shift >= min(shapes[0][:2]):
        raise TaskError(
            "shift and flip are for images (n, height, width, channels) of more pixels each way "
            f"than the shift; got {augmentation} of inputs with the shapes {shapes}"
        )


def _reading(array: Rows | Windows) -> Any:
    """What is done to stored values when they are read."""
    if isinstance(array, Windows):
        return array.length, array.stride, array.shift
    return array.scale
