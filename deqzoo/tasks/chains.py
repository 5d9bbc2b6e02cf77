"""Chains of nodes of which only the first one knows the class of all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from deqzoo.data.examples import Data
from deqzoo.data.graph import graph_data
from deqzoo.data.node_masks import node_masks
from deqzoo.data.scaling import SCALINGS
from deqzoo.data.task import Task
from deqzoo.settings import In, OneOf

__all__ = ["Chains"]

_SHARES = {"train": 0.05, "validation": 0.1}  # of the nodes; the others are the test split


@dataclass(frozen=True)
class Chains(Task):
    """The first node of a chain has the unit vector of its class as features, all others zeros.

    All chains are one graph. A twentieth of the nodes is trained on, a tenth chosen by. A model
    that looks k nodes far cannot know the class of what is farther from the first node.

    Attributes:
        length: nodes of a chain.
        chains: of every class.
        classes: at least 2.
        seed: draws which nodes are trained on.
        scaling: as in ``Task``; zeros are to stay zeros.
        validation: without effect: the tenth is drawn by ``seed``.

    References:
        After the chains of Gu, Chang, Zhu, Sojoudi and El Ghaoui, "Implicit Graph Neural Networks",
        arXiv 2009.06211; their text was not at hand.
    """

    length: Annotated[int, In("[2, inf)")] = 20
    chains: Annotated[int, In("[1, inf)")] = 20
    classes: Annotated[int, In("[2, inf)")] = 2
    seed: Annotated[int, In("[0, inf)")] = 0
    scaling: Annotated[str, OneOf(*SCALINGS)] = field(default="none", kw_only=True)

    def read(self) -> Data:
        """Draw the splits."""
        number = np.arange(self.length * self.chains * self.classes)
        chain, place = np.divmod(number, self.length)
        labels = chain % self.classes
        first = place == 0
        features = np.eye(self.classes)[labels] * first[:, None]
        edges = np.stack([number[~first] - 1, number[~first]], axis=1)
        masks = node_masks(len(number), self.seed, **_SHARES)
        return graph_data(self, features, edges, labels, masks)
