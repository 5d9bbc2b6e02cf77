"""Which nodes of a graph are trained on, chosen by and tested on: drawn by a seed."""

from __future__ import annotations

import numpy as np


def node_masks(nodes: int, seed: int, *, train: float, validation: float) -> dict[str, np.ndarray]:
    """Masks of the splits; the nodes that neither share takes are the test split.

    Args:
        nodes: of the graph.
        seed: draws the order of the nodes.
        train: share of the nodes.
        validation: share of the nodes.

    Example:
        >>> from deqzoo.data.node_masks import node_masks
        >>> {part: int(mask.sum()) for part, mask in node_masks(10, 0, train=0.6,
        ...                                                     validation=0.2).items()}
        {'train': 6, 'test': 2, 'validation': 2}
    """
    order = np.random.default_rng(seed).permutation(nodes) / nodes
    first, second = np.cumsum([train, validation])
    return {
        "train": order < first,
        "test": order >= second,
        "validation": (order >= first) & (order < second),
    }
