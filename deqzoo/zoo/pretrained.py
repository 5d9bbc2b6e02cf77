"""A trained member in use: raw inputs in, outputs out."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax

from deqzoo import catalog
from deqzoo.core.solution import Solution
from deqzoo.data.examples import Data
from deqzoo.nn.model import Model
from deqzoo.nn.pure_model import PureModel
from deqzoo.runs.evaluate import evaluate
from deqzoo.runs.evaluation import Evaluation
from deqzoo.runs.fitting import EvaluationError
from deqzoo.shown import Shown, Table
from deqzoo.zoo.card import Card
from deqzoo.zoo.promise import Promises, promises


@dataclass(frozen=True, repr=False)
class Pretrained(Shown):
    """A model with its card; ``member(x)`` takes x as the data hold it.

    Attributes:
        model: takes inputs that are scaled.
        card: what is known of it.
    """

    model: Model
    card: Card

    def __call__(self, x: Any) -> tuple[jax.Array, Solution]:
        """Outputs and solution of raw inputs, which are scaled as those of the training were.

        Raises:
            InputError: x has another shape than (batch, *example).
        """
        return self._compiled(self.card.blueprint.scaled(x))

    @functools.cached_property
    def _compiled(self) -> Any:
        pure = PureModel(self.model)
        return functools.partial(jax.jit(pure), pure.state)

    def certificate(self) -> Promises:
        """The theorems with the bounds of the weights as they are now; none: nothing is proved."""
        return promises(self.model)

    def evaluate(self, data: Any = None, *, split: str = "test") -> Evaluation:
        """What it reaches on its own task, as the card says, or on other raw data.

        Args:
            data: a pair (x, y) of raw examples, scaled as the training inputs were; None takes the
                task of the card.
            split: of the task.

        Raises:
            EvaluationError: as ``data``.
            TaskError: likewise.
        """
        if data is not None:
            x, y = data
            return evaluate(self.model, (self.card.blueprint.scaled(x), y))
        return evaluate(self.model, self.data(), split=split)

    def data(self) -> Data:
        """The data of the card, scaled.

        Raises:
            EvaluationError: there is no task, or its data are not those of the card.
            TaskError: they are not here.
        """
        facts = self.card.data
        if facts is None:
            raise EvaluationError(
                f"{self.card.name} was trained on arrays: give them, evaluate((x, y)), unscaled"
            )
        found = catalog.tasks.get(facts.task).load()
        if found.fingerprint != facts.fingerprint:
            raise EvaluationError(
                f"the data of {facts.task} are not those that {self.card.name} was trained on "
                f"(fingerprint {facts.fingerprint} there, {found.fingerprint} now)"
            )
        return found

    def shown(self) -> Table:
        """The name and the card."""
        return Table(self.card.name, self.card.rows)
