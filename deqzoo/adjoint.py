"""How the derivative of a fixed point is taken: independent of how the fixed point is found."""

from __future__ import annotations

import abc
from dataclasses import dataclass

from deqzoo.solution import Solution
from deqzoo.solver import Map, Solver
from deqzoo.trees import State


@dataclass(frozen=True)
class Adjoint(abc.ABC):
    """Find z = fn(z) with a given solver such that the result can be differentiated.

    To write an adjoint, derive a frozen dataclass in a file of ``deqzoo/adjoints`` and define
    ``__call__``. ``fn`` may capture traced arrays; derivatives with respect to them are the point
    of an adjoint.
    """

    @abc.abstractmethod
    def __call__(self, solver: Solver, fn: Map, z0: State) -> Solution:
        """Solve from ``z0`` and return a ``Solution`` whose value carries derivatives."""
