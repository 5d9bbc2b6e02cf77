"""The capability of a model to be the network that the convergence theorems speak of."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from deqzoo.theory.network import Network


@runtime_checkable
class TheoremNetwork(Protocol):
    """A model that is the wide DEQ z = φ(Wz + Ux), ŷ = a z, such as ``deqzoo.models.wide.Wide``."""

    def network(self) -> Network:
        """Its weights as the theorems see them, in float64."""
        ...

    def load_network(self, network: Network) -> None:
        """Take these weights, in the model's own dtype."""
        ...
