"""Nodes of a graph that hang together with a marked one."""

from dataclasses import dataclass

import numpy as np

from deqzoo.data.examples import Data, Split
from deqzoo.data.task import Task

_NODES = 8


@dataclass(frozen=True)
class Strands(Task):
    """Two strands of four nodes, one node marked: label 1 on its strand, 0 on the other, some -1.

    An example is one graph: features (8, 2), of which the first is the mark and the second noise,
    and edges (12, 2), each a source and a target.

    Attributes:
        examples: graphs of the training split; the test split has a quarter.
        seed: draws them.
    """

    examples: int = 80
    seed: int = 0

    def read(self):
        """Draw both splits."""
        rng = np.random.default_rng(self.seed)
        train, test = (self.draw(rng, n) for n in (self.examples, self.examples // 4))
        return Data(train, test, classes=2, tokens={"edges": _NODES, "features": None})

    def draw(self, rng, n):
        """So many graphs."""
        strands = rng.permuted(np.tile(np.arange(_NODES), (n, 1)), axis=1).reshape(n, 2, -1)
        along = np.stack([strands[..., :-1], strands[..., 1:]], axis=-1).reshape(n, -1, 2)
        features = rng.standard_normal((n, _NODES, 2))
        features[..., 0] = np.arange(_NODES) == strands[:, 0, :1]
        y = np.any(np.arange(_NODES)[:, None] == strands[:, :1], axis=-1).astype(int)
        y[:, 1:][rng.random((n, _NODES - 1)) < 0.3] = -1
        edges = np.concatenate([along, along[..., ::-1]], axis=1)
        return Split({"edges": edges, "features": features}, y)
