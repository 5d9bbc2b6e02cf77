"""One update of the weights: optimizer, constraint, and the average a run is evaluated at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from deqzoo.games.multipliers import Game
from deqzoo.nn.guarantee import Guarantee
from deqzoo.training.constraint import Constraint

Weights = dict[str, Any]
MULTIPLIER = "multiplier"  # the name of the metric, and what those of several begin with


class Averaging(NamedTuple):
    """What is kept beside parameters that are an average.

    Attributes:
        optimizer: its state.
        weights: those that it moves.
    """

    optimizer: Any
    weights: Weights


class Update:
    """θ <- C(θ + optimizer(g)), C the constraint; with ``ema`` also θ̄ <- C(ema θ̄ + (1 - ema) θ).

    The parameters of a run, which are evaluated, saved and loaded, are θ̄ where there is an average,
    and θ where there is none. An average of matrices in a ball of a norm lies in that ball; C acts
    on it all the same, because a guarantee may hold on a set that is not convex.

    Args:
        transform: the optimizer.
        constraint: C; acts after every step, also where gradients are only accumulated, when it
            finds the weights as it left them.
        guarantees: of the model, which C keeps.
        ema: of the average; None for none.
    """

    def __init__(
        self,
        transform: optax.GradientTransformation,
        constraint: Constraint,
        guarantees: Sequence[Guarantee],
        ema: float | None = None,
    ):
        self._transform, self._ema = transform, ema
        self._constrained = lambda weights: constraint.apply(weights, guarantees)

    def init(self, weights: Weights) -> tuple[Weights, Any]:
        """The first parameters of a run, and what is kept beside them."""
        parameters = self._constrained(weights)
        kept = self._transform.init(parameters)
        if self._ema is None:
            return parameters, kept
        return parameters, Averaging(kept, jax.tree.map(jnp.copy, parameters))

    def numbers(self, kept: Any) -> dict[str, Array]:
        """What a step tells of the constraint: multipliers and violations, several by number."""
        told = {}
        for game in filter(_is_game, jax.tree.leaves(kept, is_leaf=_is_game)):
            pairs = [*zip(game.multipliers, game.violations, strict=True)]
            for number, pair in enumerate(pairs, 1):
                suffix = f"_{number}" if len(pairs) > 1 else ""
                told[MULTIPLIER + suffix], told["violation" + suffix] = pair
        return told

    def weights(self, parameters: Weights, kept: Any) -> Weights:
        """θ, at which the gradient is taken."""
        return parameters if self._ema is None else kept.weights

    def kinetic(self, kept: Any) -> Array | None:
        """½‖v‖² of an optimizer that keeps it (``heavy_ball``), else None."""
        return optax.tree.get(kept, "kinetic", None)

    def __call__(self, gradient: Weights, parameters: Weights, kept: Any) -> tuple[Weights, Any]:
        """The parameters after an update, and what is kept beside them."""
        weights = self.weights(parameters, kept)
        optimizer = kept if self._ema is None else kept.optimizer
        updates, optimizer = self._transform.update(gradient, optimizer, weights)
        moved: Any = optax.apply_updates(weights, updates)
        weights = self._constrained(moved)
        if self._ema is None:
            return weights, optimizer
        average: Any = optax.incremental_update(weights, parameters, 1 - self._ema)
        average = self._constrained(average)
        if isinstance(optimizer, optax.MultiStepsState):  # without an update no part of the average
            updated = optimizer.mini_step == 0
            average = jax.tree.map(lambda a, b: jnp.where(updated, a, b), average, parameters)
        return average, Averaging(optimizer, weights)


def _is_game(node: Any) -> bool:
    return isinstance(node, Game)
