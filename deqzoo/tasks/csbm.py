"""A graph of two communities whose edges and features each tell a part: the contextual SBM."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from deqzoo.data.examples import Data
from deqzoo.data.graph import graph_data
from deqzoo.data.node_masks import node_masks
from deqzoo.data.scaling import SCALINGS
from deqzoo.data.task import Task
from deqzoo.settings import In, OneOf, SettingError

__all__ = ["Csbm"]


@dataclass(frozen=True)
class Csbm(Task):
    """v_i = ±1; an edge in a community has probability (d + λ√d)/n, between them (d - λ√d)/n.

    Features are √(μ/n) v_i w + noise/√k, w ~ N(0, I/k) for all nodes. With γ = n/k, λ = √(1 + ε)
    sin(πφ/2) and μ = √(γ(1 + ε)) cos(πφ/2), so that λ² + μ²/γ = 1 + ε: how much can be known, of
    which φ says where it is. At φ = 1 the graph tells all and neighbours are alike, at -1 they
    differ, at 0 the features tell all. Six tenths of the nodes are trained on, two chosen by, two
    tested on.

    Attributes:
        nodes: n, halved; one more of the second community where it is odd.
        features: k.
        degree: d, the mean number of neighbours.
        eps: ε.
        phi: φ in [-1, 1].
        seed: draws the graph, the features and the splits.
        scaling: as in ``Task``.
        validation: without effect: the two tenths are drawn by ``seed``.

    Raises:
        SettingError: a probability would not lie in [0, 1].

    References:
        Deshpande, Montanari, Mossel and Sen, "Contextual Stochastic Block Models", arXiv
        1807.09596, for the model; ε and φ as in Chien, Peng, Li and Milenkovic, "Adaptive
        Universal Generalized PageRank Graph Neural Network", arXiv 2006.07988, as both are commonly
        described.
    """

    nodes: Annotated[int, In("[10, 10000]")] = 240
    features: Annotated[int, In("[1, inf)")] = 60
    degree: Annotated[float, In("(0, inf)")] = 8.0
    eps: Annotated[float, In("(-1, inf)")] = 5.0
    phi: Annotated[float, In("[-1, 1]")] = 0.5
    seed: Annotated[int, In("[0, inf)")] = 0
    scaling: Annotated[str, OneOf(*SCALINGS)] = field(default="none", kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        for probability in self.probabilities:
            if not 0 <= probability <= 1:
                raise SettingError(
                    f"edges would have the probability {probability:.3g}: raise degree, lower eps, "
                    f"or take a phi nearer to 0 or more nodes, got {self}"
                )

    @property
    def probabilities(self) -> tuple[float, float]:
        """Of an edge in a community, and between them."""
        excess = math.sqrt((1 + self.eps) * self.degree) * math.sin(math.pi * self.phi / 2)
        return (self.degree + excess) / self.nodes, (self.degree - excess) / self.nodes

    def read(self) -> Data:
        """Draw it."""
        rng, n, k = np.random.default_rng(self.seed), self.nodes, self.features
        side = np.where(np.arange(n) < n // 2, 1, -1)
        inside, between = self.probabilities
        chance = np.where(side[:, None] == side, inside, between)
        edges = np.argwhere(np.triu(rng.random((n, n)) < chance, 1))
        mu = math.sqrt(n / k * (1 + self.eps)) * math.cos(math.pi * self.phi / 2)
        w, noise = rng.standard_normal(k), rng.standard_normal((n, k))
        features = (math.sqrt(mu / n) * np.outer(side, w) + noise) / math.sqrt(k)
        masks = node_masks(n, self.seed, train=0.6, validation=0.2)
        return graph_data(self, features, edges, (side > 0).astype(int), masks)
