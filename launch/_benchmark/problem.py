"""The contract of a problem: arrays in numpy that every peer gets, and a map that judges all."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Drawn:
    """The arrays of a problem.

    Attributes:
        parameters: what the map z -> f(z, parameters) takes; gradients are taken with respect to
            all of it.
        z0: the start.
        target: t of the loss ½‖z* - t‖²/n.
        training: further arrays of the suite ``train_step``.
    """

    parameters: Arrays
    z0: np.ndarray
    target: np.ndarray
    training: Arrays


@dataclass(frozen=True)
class Problem(abc.ABC):
    """A fixed-point problem z = f(z, parameters) that a process can draw again from its settings.

    Attributes:
        dtype: float32 or float64.
        seed: of all arrays.
    """

    dtype: str = "float32"
    seed: int = 0

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """What people read in tables."""

    @property
    @abc.abstractmethod
    def tolerance(self) -> float:
        """The relative residual of the whole batch at which everybody is stopped."""

    @property
    @abc.abstractmethod
    def max_steps(self) -> int:
        """The limit a user would give: a few times what is needed."""

    @abc.abstractmethod
    def draw(self) -> Drawn:
        """The arrays, the same in every process."""

    @abc.abstractmethod
    def image(self, z: np.ndarray, parameters: Arrays) -> np.ndarray:
        """f(z, parameters) in numpy, in the dtype of the problem."""

    def residual(self, z: np.ndarray, parameters: Arrays) -> float:
        """‖f(z) - z‖ / ‖f(z)‖ of the whole batch, summed in float64."""
        z = np.asarray(z, self.dtype)
        image = self.image(z, parameters).astype(np.float64)
        return float(np.linalg.norm(image - z) / np.linalg.norm(image))

    def settings(self) -> dict[str, Any]:
        """What a message carries: the kind of problem and its fields."""
        return {"kind": type(self).__name__, **asdict(self)}
