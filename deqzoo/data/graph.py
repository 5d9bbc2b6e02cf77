"""A graph as one example: features of its nodes, edges, and a label for some nodes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deqzoo.data.examples import Data, Split, TaskError
from deqzoo.data.labels import class_count

FEATURES, EDGES = "features", "edges"


def graph_data(
    name: object,
    features: np.ndarray,
    edges: np.ndarray,
    labels: np.ndarray,
    masks: Mapping[str, np.ndarray],
) -> Data:
    """All splits hold the one graph, and each the labels of its own nodes: the others are -1.

    Args:
        name: of the graph in the errors.
        features: (nodes, k).
        edges: (edges, 2), the numbers of the two nodes, every edge once.
        labels: (nodes,), integers from 0, -1 for none.
        masks: ``train``, ``test`` and, optionally, ``validation``: (nodes,) of booleans, no node in
            two of them.

    Raises:
        TaskError: another shape or dtype, an edge to nowhere, a node in two masks, or labels that
            are no classes.

    Example:
        >>> import numpy as np
        >>> from deqzoo.data.graph import graph_data
        >>> masks = {"train": np.array([True, True, False]), "test": np.array([False, False, True])}
        >>> edges, labels = np.array([[0, 1], [1, 2]]), np.array([0, 1, 1])
        >>> graph_data("a path", np.eye(3), edges, labels, masks).splits["test"].y
        array([[-1, -1,  1]])
    """
    if features.ndim != 2 or features.size == 0:
        raise TaskError(f"features of {name} must have shape (nodes, k), got {features.shape}")
    nodes = len(features)
    _require_edges(name, edges, nodes)
    if labels.shape != (nodes,) or labels.dtype.kind not in "iu":
        raise TaskError(
            f"labels of {name} must be integers of shape ({nodes},), one a node and -1 for none, "
            f"got {labels.dtype}{labels.shape}"
        )
    _require_masks(name, masks, nodes)
    x = {FEATURES: features[None], EDGES: edges[None]}
    splits = {part: Split(x, np.where(mask, labels, -1)[None]) for part, mask in masks.items()}
    classes, tokens = class_count(str(name), splits), {FEATURES: None, EDGES: nodes}
    held = splits.get("validation")
    return Data(splits["train"], splits["test"], classes, held, tokens=tokens)


def _require_edges(name: object, edges: np.ndarray, nodes: int) -> None:
    if edges.ndim != 2 or edges.shape[1] != 2 or len(edges) == 0 or edges.dtype.kind not in "iu":
        raise TaskError(
            f"edges of {name} must be integers of shape (edges, 2), got {edges.dtype}{edges.shape}"
        )
    low, high = int(edges.min()), int(edges.max())
    if low < 0 or high >= nodes:
        raise TaskError(
            f"edges of {name} must name nodes 0 ... {nodes - 1}, got {low if low < 0 else high}"
        )


def _require_masks(name: object, masks: Mapping[str, np.ndarray], nodes: int) -> None:
    for part, mask in masks.items():
        if mask.shape != (nodes,) or mask.dtype != bool:
            raise TaskError(
                f"{part} of {name} must be booleans of shape ({nodes},), got "
                f"{mask.dtype}{mask.shape}"
            )
    shared = np.flatnonzero(np.sum([*masks.values()], axis=0) > 1)
    if len(shared):
        raise TaskError(
            f"node {shared[0]} of {name} is in two of {', '.join(masks)}: what is trained on "
            "measures nothing"
        )
