"""Leaves of nested dictionaries, named by their path of keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Path = tuple[str, ...]


def at(tree: dict[str, Any], path: Path) -> Any:
    """The leaf at ``path``.

    Example:
        >>> from deqzoo.core import paths
        >>> paths.at({"cell": {"W": 1, "b": 2}}, ("cell", "W"))
        1
    """
    node: Any = tree
    for key in path:
        node = node[key]
    return node


def changed(tree: dict[str, Any], path: Path, change: Callable[[Any], Any]) -> dict[str, Any]:
    """The nested dictionary with ``change`` applied to the leaf at ``path``; the rest is shared.

    Example:
        >>> from deqzoo.core import paths
        >>> paths.changed({"cell": {"W": 1, "b": 2}}, ("cell", "W"), lambda leaf: leaf + 9)
        {'cell': {'W': 10, 'b': 2}}
    """
    key, *rest = path
    return {**tree, key: changed(tree[key], tuple(rest), change) if rest else change(tree[key])}
