"""The contract of a guarantee: a theorem about a model whose hypothesis is a proved number."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Array, Float

from deqzoo.nn.nearness import Nearness

Parameters = dict[str, Any]
Limit = float | Float[Array, ""]
Level = Literal["A", "B"]

NOTHING = "nothing is proved (level C)"  # what is said of a model without a guarantee


@dataclass(frozen=True)
class Guarantee(abc.ABC):
    """A theorem that holds of a model while ``bound(parameters) < 1``.

    What constrains, prints, logs and draws a guarantee reads this object alone. To write one,
    derive a frozen dataclass in a file of ``deqzoo/nn/guarantees``, give the class attributes and
    define ``hypotheses`` and ``bound``; ``project`` too, unless the bound lies below 1 whatever the
    parameters (it holds by construction). Whoever rests on bounds that an activation declares calls
    ``deqzoo.activation.measured.require_true_bounds`` on it when built. A model names its
    guarantees in ``Model.guarantees``; one without any has level C.

    Attributes:
        quantity: what ``bound`` bounds, in symbols.
        claim: the theorem in two words, for a table.
        theorem: what follows from ``bound(parameters) < 1``, a sentence.
        source: author, title, arXiv number.
        euclidean: whether it bounds how far the cell stretches in the Euclidean norm, and so the
            norm of every Jacobian.
        level: A, for every input, or B, for an example after its solve. (C is no guarantee.)
    """

    quantity: ClassVar[str]
    claim: ClassVar[str]
    theorem: ClassVar[str]
    source: ClassVar[str]
    euclidean: ClassVar[bool] = False
    level: ClassVar[Level] = "A"

    @property
    @abc.abstractmethod
    def hypotheses(self) -> tuple[str, ...]:
        """Which fact of the activation and which bound of which parameters, with the numbers."""

    @abc.abstractmethod
    def bound(self, parameters: Parameters) -> Float[Array, ""]:
        """An upper bound of ``quantity``, roundings included; runs inside ``jit``.

        Args:
            parameters: of the model, as nested dictionaries of arrays.
        """

    def sharp_bound(self, parameters: Parameters) -> float:
        """The least upper bound that can be proved on the host, where time matters less."""
        return float(self.bound(parameters))

    def spectra(self, parameters: Parameters) -> dict[str, np.ndarray]:
        """Numbers of which ``quantity`` is the largest, decreasing, by name; none by default."""
        del parameters
        return {}

    def project(self, parameters: Parameters, limit: Limit) -> Parameters:
        """The nearest parameters with ``quantity`` <= limit; all are, by construction."""
        del limit
        return parameters

    def rescale(self, parameters: Parameters, limit: Limit) -> Parameters:
        """Parameters scaled down until ``bound`` meets the limit, where that is cheaper."""
        return self.project(parameters, limit)

    def rate(self, bound: float) -> float | None:
        """By which factor every step of the iteration comes closer; None where none follows."""
        del bound
        return None

    def nearness(self, parameters: Parameters) -> Nearness | None:
        """What a residual tells of the distance to the equilibrium; None where nothing follows.

        Of an equilibrium of one array (batch, n).
        """
        del parameters
        return None

    def lipschitz(self, parameters: Parameters) -> float | None:
        """Sup |outputs(x) - outputs(x')|/|x - x'| of the model from above, in Euclidean norms.

        Where a guarantee speaks of it; None by default.
        """
        del parameters
        return None

    @property
    def by_construction(self) -> bool:
        """Whether the bound lies below 1 whatever the parameters."""
        return type(self).project is Guarantee.project
