"""The contract of a constraint: what happens to the weights after every step."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


def require_margin(margin: float) -> None:
    """Refuse a margin outside (0, 1)."""
    if not 0 < margin < 1:
        raise ValueError(f"margin must lie in (0, 1), got {margin}")
