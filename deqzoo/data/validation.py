"""What data and settings must be; every refusal says what was expected and what was found."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from deqzoo.data.examples import Data, Split, TaskError
from deqzoo.data.rows import blocks, values_of


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
        TaskError: shapes, dtypes or values that do not fit; the message names the split.
    """
    _require_structure(data)
    for name, split in data.splits.items():
        _require_valid_inputs(name, split, data)
        _require_valid_targets(name, split.y, data)


def _require_structure(data: Data) -> None:
    """Arrays in dictionaries, lists and tuples, alike in all splits, and in ``tokens``."""
    structure = jax.tree.structure(data.train.x)
    if not structure.num_leaves or _kinds(data.train.x) - {"dict", "list", "tuple"}:
        raise TaskError(
            "inputs must be arrays, alone or in nested dictionaries, lists and tuples; got "
            f"{structure}"
        )
    for name, split in data.splits.items():
        found = jax.tree.structure(split.x)
        if found != structure:
            raise TaskError(f"the {name} inputs are {found}, the training inputs {structure}")
    sizes = jax.tree.structure(data.tokens, is_leaf=lambda size: size is None)
    if data.tokens is not None and sizes != structure:
        raise TaskError(
            f"tokens must name their number, or None, for every input: expected {structure}, got "
            f"{sizes}"
        )


def _kinds(tree: Any) -> set[str]:
    """The names of the containers in a tree."""
    if jax.tree_util.treedef_is_leaf(jax.tree.structure(tree)):
        return set()
    inside = tree.values() if isinstance(tree, dict) else tree
    return {type(tree).__name__}.union(*(map(_kinds, inside)))


def _require_valid_inputs(name: str, split: Split, data: Data) -> None:
    leaves = jax.tree_util.tree_leaves_with_path(split.x)
    shapes = [array.shape[1:] for array in jax.tree.leaves(data.train.x)]
    sizes = jax.tree.leaves(data.over_inputs(lambda _, size: size or 0, split.x))
    for (path, x), shape, size in zip(leaves, shapes, sizes, strict=True):
        what = f"{name} inputs{jax.tree_util.keystr(path)}"
        if len(x) == 0 or len(x) != split.examples:
            raise TaskError(
                f"the {name} split needs as many labels as inputs and at least one: "
                f"got {len(x)} inputs{jax.tree_util.keystr(path)}, {split.examples} labels"
            )
        if x.shape[1:] != shape:
            raise TaskError(f"the {what} have shape {x.shape[1:]}, the training inputs {shape}")
        require_dtype(f"the {what}", x)
        require_finite(f"the {what}", x)
        if size:
            _require_valid_tokens(what, x, size)


def _require_valid_tokens(what: str, x: Any, size: int) -> None:
    if x.dtype.kind not in "iu" or not _all_within(x, 0, size):
        raise TaskError(
            f"the {what} must be tokens, integers 0 ... {size - 1}; got {x.dtype} in {_range(x)}"
        )


def _require_valid_targets(name: str, y: Any, data: Data) -> None:
    require_dtype(f"the {name} labels", y)
    require_finite(f"the {name} labels", y)
    expected = data.train.y.shape[1:]
    if data.classes is None:
        if y.ndim < 2 or y.shape[1:] != expected:
            raise TaskError(
                "regression targets must have shape (n, ..., k), with one shape in all splits, "
                f"got {y.shape} in the {name} split, {data.train.y.shape} in the train split"
            )
        return
    if y.dtype.kind not in "iu" or y.shape[1:] != expected or not _all_within(y, -1, data.classes):
        raise TaskError(
            f"the {name} labels must be integers 0 ... {data.classes - 1}, or -1 for none, of "
            f"shape (n{''.join(f', {d}' for d in expected)}{'' if expected else ','}), got "
            f"{y.dtype}{y.shape} in {_range(y)}"
        )
    require_a_label(name, y)


def require_a_label(name: str, y: Any) -> None:
    """Refuse class labels that are all -1.

    Raises:
        TaskError: they are.
    """
    if not any(np.any(block >= 0) for _, block in blocks(values_of(y))):
        raise TaskError(f"the {name} split has no label: all of them are -1")


def _all_within(array: Any, low: int, high: int) -> bool:
    return all(np.all((block >= low) & (block < high)) for _, block in blocks(values_of(array)))


def _range(array: Any) -> list[Any]:
    extremes = [(block.min(), block.max()) for _, block in blocks(values_of(array))]
    return [min(low for low, _ in extremes).item(), max(high for _, high in extremes).item()]
