"""The contract of a constraint: what happens to the weights after every step."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from jaxtyping import Array, Float

Path = tuple[str, ...]


@dataclass(frozen=True)
class Constraint(abc.ABC):
    """A map on parameters that knows the spectral norms below which the model is well posed.

    To write a constraint, derive a frozen dataclass in a file of ``deqzoo/training/constraints``
    and define ``apply``.

    Attributes:
        guarantees: whether every limit holds after ``apply``.
    """

    guarantees = False

    @abc.abstractmethod
    def apply(self, parameters: dict[str, Any], limits: Mapping[Path, float]) -> dict[str, Any]:
        """The parameters after the constraint; runs inside the jitted training step.

        Args:
            parameters: nested dictionaries of arrays.
            limits: path of a matrix -> the norm it must stay below (``Model.norm_limits``).
        """


def replace_at(tree: dict[str, Any], path: Path, change: Any) -> dict[str, Any]:
    """The nested dictionary with ``change`` applied to the leaf at ``path``; the rest is shared."""
    key, *rest = path
    return {**tree, key: replace_at(tree[key], tuple(rest), change) if rest else change(tree[key])}


@dataclass(frozen=True)
class NormBound(Constraint):
    """Keeps L‖W‖₂ <= 1 - margin for every constrained matrix; members say how.

    Attributes:
        margin: distance of the contraction factor L‖W‖₂ from 1, in (0, 1).
    """

    margin: float = 0.05

    guarantees = True

    def __post_init__(self):
        if not 0 < self.margin < 1:
            raise ValueError(f"margin must lie in (0, 1), got {self.margin}")

    @abc.abstractmethod
    def bound(self, weight: Float[Array, "m m"], limit: float) -> Float[Array, "m m"]:
        """A matrix near ``weight`` with ‖W‖₂ <= limit."""

    def apply(self, parameters, limits):
        """Parameters whose constrained matrices meet (1 - margin) times their limits."""
        for path, limit in limits.items():
            change = partial(self.bound, limit=(1 - self.margin) * limit)
            parameters = replace_at(parameters, path, change)
        return parameters
