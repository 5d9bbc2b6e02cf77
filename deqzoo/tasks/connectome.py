"""Neurons of the mushroom body of a fly larva, told apart by whom they are connected to."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np

from deqzoo.data.examples import Data, TaskError
from deqzoo.data.graph import graph_data
from deqzoo.data.node_masks import node_masks
from deqzoo.data.scaling import SCALINGS
from deqzoo.data.task import Task
from deqzoo.local_path import local_path
from deqzoo.settings import In, OneOf, told

__all__ = ["Connectome"]

_PACKAGE = ("datasets", "drosophila")
_INSTALL = (
    "pip install --no-deps graspologic, which is not imported, or name the folder of its csv files "
    "with connectome(path='FOLDER')"
)


@dataclass(frozen=True)
class Connectome(Task):
    """209 neurons of the left side, 213 of the right, of four kinds; features are their degrees.

    The edges of the package graspologic have directions and weights, which the edges here have not;
    the features are the logarithms of 1 + the number and 1 + the weight of a neuron's edges, in and
    out, each standardised over all neurons. Six tenths of them are trained on, two chosen by. The
    four features alone tell the kind of nearly every neuron: the graph is hardly needed.

    Attributes:
        side: ``left`` or ``right``.
        path: the folder of ``left_adjacency.csv``, ``left_cell_labels.csv`` and those of the right;
            by default that of the package.
        seed: draws the splits.
        scaling: as in ``Task``.
        validation: without effect: the two tenths are drawn by ``seed``.

    References:
        Eichler et al., "The complete connectome of a learning and memory centre in an insect
        brain", Nature 548 (2017); the files are those of graspologic, licence MIT.
    """

    licence = "MIT"

    side: Annotated[str, OneOf("left", "right")] = "left"
    path: str | None = None
    seed: Annotated[int, In("[0, inf)")] = 0
    scaling: Annotated[str, OneOf(*SCALINGS)] = field(default="none", kw_only=True)

    def read(self) -> Data:
        """The files, as features, edges and labels."""
        folder = _installed() if self.path is None else local_path(self.path).absolute()
        weights = _read(folder / f"{self.side}_adjacency.csv", float)
        kinds, labels = np.unique(
            _read(folder / f"{self.side}_cell_labels.csv", str), return_inverse=True
        )
        nodes = len(labels)
        if weights.shape != (nodes, nodes) or len(kinds) < 2:
            raise TaskError(
                f"{folder} must hold an adjacency (nodes, nodes) and a label a node, got "
                f"{weights.shape} and {nodes}: {_INSTALL}"
            )
        edges = np.argwhere(np.triu((weights + weights.T) > 0, 1))
        masks = node_masks(nodes, self.seed, train=0.6, validation=0.2)
        return graph_data(folder, degree_features(weights), edges, labels, masks)


def degree_features(weights: np.ndarray) -> np.ndarray:
    """(nodes, 4): logarithms of 1 + number and 1 + weight of the edges, in and out, standardised.

    Example:
        >>> import numpy as np
        >>> from deqzoo.tasks.connectome import degree_features
        >>> degree_features(np.array([[0.0, 3.0], [0.0, 0.0]])).round(2).tolist()
        [[-1.0, 1.0, -1.0, 1.0], [1.0, -1.0, 1.0, -1.0]]
    """
    sums = [matrix.sum(axis) for matrix in (weights > 0, weights) for axis in (0, 1)]
    columns = np.log1p(np.stack(sums, axis=1).astype(float))
    deviation = columns.std(axis=0)
    return (columns - columns.mean(axis=0)) / np.where(deviation > 0, deviation, 1)


def _installed() -> Path:
    found = importlib.util.find_spec("graspologic")
    if found is None or not found.submodule_search_locations:
        raise TaskError(f"the connectome task reads files of the package graspologic: {_INSTALL}")
    return Path(found.submodule_search_locations[0], *_PACKAGE)


def _read(file: Path, kind: type) -> np.ndarray:
    try:
        return np.loadtxt(file, dtype=kind)
    except (OSError, ValueError) as error:
        raise TaskError(f"cannot read {file} ({told(error)}): {_INSTALL}") from error
