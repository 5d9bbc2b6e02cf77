"""What a model is built for: shape and dtype of the arrays of one example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

_REAL = "float32"


@dataclass(frozen=True)
class Spec:
    """One array of an example, without the axis of the batch.

    Attributes:
        shape: of one example.
        dtype: ``float32`` of numbers, ``int32`` of tokens.
        size: of tokens, how many there are: they lie in 0 ... size - 1. None of numbers.
    """

    shape: tuple[int, ...]
    dtype: str = _REAL
    size: int | None = None

    def __str__(self) -> str:
        tokens = "" if self.size is None else f" of {self.size} tokens"
        return f"{self.dtype}{list(self.shape)}{tokens}"


def as_spec(spec: Any) -> Any:
    """A tree of ``Spec``; a tuple of whole numbers is the shape of one array of real numbers.

    Example:
        >>> from deqzoo.data.spec import as_spec
        >>> as_spec((8, 8, 1))
        Spec(shape=(8, 8, 1), dtype='float32', size=None)
    """
    if isinstance(spec, tuple | list) and all(isinstance(n, int | np.integer) for n in spec):
        return Spec(tuple(map(int, spec)))
    return spec


def spec_of(arrays: Any) -> Any:
    """Of arrays that are no examples: their shapes as they are."""
    return jax.tree.map(lambda array: Spec(tuple(array.shape), str(array.dtype)), arrays)


def one_array(spec: Any) -> Spec:
    """The spec of a model that takes a single array of numbers.

    Raises:
        ValueError: examples of several arrays, or of tokens.
    """
    spec = as_spec(spec)
    if not isinstance(spec, Spec) or spec.size is not None:
        raise ValueError(
            f"this model takes one array of numbers, and an example is {described(spec)}: choose a "
            "model for such data"
        )
    return spec


def described(spec: Any) -> str:
    """All arrays in a line."""
    leaves = jax.tree_util.tree_leaves_with_path(spec)
    return ", ".join(f"{jax.tree_util.keystr(path)} {leaf}".strip() for path, leaf in leaves)


def to_plain(spec: Any) -> Any:
    """Values for JSON, which ``from_plain`` reads back; a tuple becomes a list with its name."""
    if isinstance(spec, Spec):
        return {"shape": [*spec.shape], "dtype": spec.dtype, "size": spec.size}
    if isinstance(spec, dict):
        return {"dict": {name: to_plain(part) for name, part in spec.items()}}
    return {type(spec).__name__: [to_plain(part) for part in spec]}


def from_plain(value: dict[str, Any]) -> Any:
    """Undo ``to_plain``.

    Example:
        >>> from deqzoo.data.spec import Spec, from_plain, to_plain
        >>> tree = {"ids": Spec((5,), "int32", 65), "both": (Spec((2,)), Spec((3,)))}
        >>> from_plain(to_plain(tree)) == tree
        True
    """
    if "shape" in value:
        return Spec(tuple(value["shape"]), value["dtype"], value["size"])
    ((kind, parts),) = value.items()
    if kind == "dict":
        return {name: from_plain(part) for name, part in parts.items()}
    return (tuple if kind == "tuple" else list)(map(from_plain, parts))
