"""What a run computes, wherever it is kept: its first state and its step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from deqzoo.nn.pure_model import PureModel
from deqzoo.training.constraint import Trained
from deqzoo.training.setup import Setup
from deqzoo.training.state import TrainState
from deqzoo.training.step import cold, make_step
from deqzoo.training.update import Update


class Program:
    """The pure ``step(state, x, y) -> (state, metrics)`` of the settings of a run.

    Args:
        setup: of the run.
        learning_rate: as resolved; like the seed it may be a traced number.
        seed: of the draws of regularizer and optimizer.
        mesh: over which ``step`` shares its examples out.
    """

    def __init__(self, setup: Setup, learning_rate: Any, seed: Any, mesh: Mesh | None = None):
        self._setup, config = setup, setup.config
        promised, average = setup.model.guarantees(), setup.optimizer.ema
        trained = Trained(PureModel(setup.model), setup.state, promised, setup.train)
        transform = setup.optimizer.at(
            learning_rate,
            config.steps,
            sums=setup.loss.is_sum,
            seed=seed,
            around=lambda inner, rate: setup.constraint.around(inner, rate, trained),
        )
        self._update = Update(transform, setup.constraint, promised, average)
        regularizer = config.build_regularizer()
        self.step = make_step(setup.pure, setup.loss, self._update, regularizer, seed, mesh)

    def start(self) -> TrainState:
        """The state before the first step, in arrays of its own: a step may take them over."""
        setup = self._setup
        model = jax.tree.map(jnp.copy, setup.state)
        parameters, kept = self._update.init(model.parameters)
        warm = cold(setup.pure, model, setup.train.x) if setup.config.warm_start else None
        return TrainState(parameters, model.variables, kept, jnp.zeros((), jnp.int32), warm)
