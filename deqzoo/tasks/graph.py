"""Your own graph: an npz file with features, edges, labels and the masks of the splits."""

from __future__ import annotations

from dataclasses import dataclass

from deqzoo.data import npz_file
from deqzoo.data.examples import Data, TaskError
from deqzoo.data.graph import graph_data
from deqzoo.data.task import Task
from deqzoo.data.validation import require_finite
from deqzoo.local_path import local_path

__all__ = ["Graph"]

_ARRAYS, _MASKS = ("features", "edges", "labels"), ("train", "test")
_WRITE = "write it with np.savez(path, features=..., edges=..., labels=..., train=..., test=...)"


@dataclass(frozen=True)
class Graph(Task):
    """The nodes of one graph are told apart: it is one example, and its labels are (1, nodes).

    The file holds ``features`` (nodes, k), ``edges`` (edges, 2) of whole numbers 0 ... nodes - 1,
    every edge once and without direction, ``labels`` (nodes,) of whole numbers, -1 for none, and
    the masks ``train``, ``test`` and, optionally, ``validation``, (nodes,) of booleans. Name it as
    ``graph:mine.npz``, and train with ``--batch_size=full``.

    Attributes:
        path: the file; ``~`` is the home folder.
        scaling: as in ``Task``, of the features.
        validation: without effect: the file says which nodes are held out.
    """

    path: str

    def read(self) -> Data:
        """The arrays of the file."""
        path = local_path(self.path).absolute()
        with npz_file.opened(path, _WRITE) as archive:
            missing = [key for key in (*_ARRAYS, *_MASKS) if key not in archive.files]
            if missing:
                listing = ", ".join(archive.files) or "nothing"
                raise TaskError(
                    f"{path} must hold {', '.join(missing)} too, found {listing}; {_WRITE}"
                )
            masks = [*_MASKS, *(key for key in ("validation",) if key in archive.files)]
            found = {key: npz_file.array(path, archive, key) for key in (*_ARRAYS, *masks)}
        features, edges, labels = (found[key] for key in _ARRAYS)
        data = graph_data(path, features, edges, labels, {key: found[key] for key in masks})
        require_finite(f"features of {path}", features)
        return data
