"""A theorem about a trained model, with the bound that its weights have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deqzoo.activation.digits import at_least
from deqzoo.nn.guarantee import NOTHING
from deqzoo.nn.model import Model
from deqzoo.nn.pure_model import PureModel
from deqzoo.shown import Shown, Table


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What a ``Guarantee`` says of the weights as they are.

    Attributes:
        level: A, for every input, or B, for an example after its solve.
        quantity: what the bound is a bound of.
        bound: proved from above; the theorem holds if it lies below 1. None if it is not finite.
        theorem: what follows.
        source: where it is from.
        hypotheses: it rests on, with their numbers.
    """

    level: str
    quantity: str
    bound: float | None
    theorem: str
    source: str
    hypotheses: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether the bound lies below 1."""
        return self.bound is not None and self.bound < 1

    def __str__(self) -> str:
        bound = "not finite" if self.bound is None else f"<= {at_least(self.bound, 4)}"
        if not self.holds:
            return f"{self.quantity} {bound} is not below 1: {NOTHING}"
        return f"{self.quantity} {bound} < 1: {self.theorem} (level {self.level})"


@dataclass(frozen=True, repr=False)
class Promises(Shown):
    """All theorems about a model; without any nothing is proved.

    Attributes:
        each: one by one.
    """

    each: tuple[Promise, ...]

    @property
    def level(self) -> str:
        """The weakest level of those that hold, C if one does not or there is none."""
        return max(each.level if each.holds else "C" for each in self.each) if self.each else "C"

    @property
    def bound(self) -> float | None:
        """The largest bound; None without any."""
        bounds = [math.inf if each.bound is None else each.bound for each in self.each]
        return max(bounds, default=None)

    def shown(self) -> Table:
        """Theorems, hypotheses and sources, or that nothing is proved."""
        rows = [row for each in self.each for row in _rows(each)]
        return Table(f"Level {self.level}", tuple(rows) or (("theorem", NOTHING),))


def promises(model: Model) -> Promises:
    """The guarantees of a model with the sharpest bounds that its weights admit.

    Example:
        >>> from flax import nnx
        >>> from deqzoo.models.mondeq import MonDEQ
        >>> from deqzoo.zoo.promise import promises
        >>> found = promises(MonDEQ((4,), 2, width=8, rngs=nnx.Rngs(0)))
        >>> found.level, found.bound < 1
        ('A', True)
    """
    parameters = PureModel(model).state.parameters
    return Promises(
        tuple(
            Promise(
                level=each.level,
                quantity=each.quantity,
                bound=_finite(each.sharp_bound(parameters)),
                theorem=each.theorem,
                source=each.source,
                hypotheses=each.hypotheses,
            )
            for each in model.guarantees()
        )
    )


def _finite(bound: float) -> float | None:
    return float(bound) if math.isfinite(bound) else None


def _rows(promise: Promise) -> Sequence[tuple[str, str]]:
    return (
        ("theorem", str(promise)),
        *(("needs", each) for each in promise.hypotheses),
        ("source", promise.source),
    )
