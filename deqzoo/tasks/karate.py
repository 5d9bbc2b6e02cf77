"""Zachary's karate club: who was whose friend, and whom they followed when it split."""

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

__all__ = ["Karate"]

# Of every member from 0 on the friends of a larger number.
_FRIENDS = (
    "1 2 3 4 5 6 7 8 10 11 12 13 17 19 21 31; 2 3 7 13 17 19 21 30; 3 7 8 9 13 27 28 32; "
    "7 12 13; 6 10; 6 10 16; 16; ; 30 32 33; 33; ; ; ; 33; 32 33; 32 33; ; ; 32 33; 33; 32 33; "
    "; 32 33; 25 27 29 32 33; 25 27 31; 31; 29 33; 33; 31 33; 32 33; 32 33; 32 33; 33; "
)
_WITH_THE_TEACHER = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 16, 17, 19, 21)


@dataclass(frozen=True)
class Karate(Task):
    """34 members, 78 friendships, two clubs afterwards; the features of a member are its number.

    Features are unit vectors. For trying things out: seven nodes are tested on. Six tenths are
    trained on, two chosen by.

    Attributes:
        seed: draws the splits.
        scaling: as in ``Task``.
        validation: without effect: the two tenths are drawn by ``seed``.

    References:
        Zachary, "An Information Flow Model for Conflict and Fission in Small Groups", Journal of
        Anthropological Research 33 (1977); clubs are those after the split.
    """

    seed: Annotated[int, In("[0, inf)")] = 0
    scaling: Annotated[str, OneOf(*SCALINGS)] = field(default="none", kw_only=True)

    def read(self) -> Data:
        """The club, and the splits as drawn."""
        friends = [list(map(int, row.split())) for row in _FRIENDS.split(";")]
        edges = np.array([(i, j) for i, row in enumerate(friends) for j in row])
        labels = np.isin(np.arange(len(friends)), _WITH_THE_TEACHER).astype(int)
        masks = node_masks(len(friends), self.seed, train=0.6, validation=0.2)
        return graph_data(self, np.eye(len(friends)), edges, labels, masks)
