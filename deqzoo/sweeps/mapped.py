"""The step of a run, mapped over lanes that differ in seed and learning rate."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from deqzoo.training.program import Program
from deqzoo.training.setup import Setup


def mapped(setup: Setup) -> Any:
    """The compiled ``step(rates, seeds, states, chosen, done, x, y) -> (states, metrics)``.

    Rates, seeds, states and the examples that are chosen (None for all) have the lanes on axis 0,
    and so have x and y where an augmentation makes other images for every lane. A lane that has not
    taken ``done`` steps has failed, and stays where it is.
    """

    def lane(rate, seed, state, chosen, done, x, y):
        every = (x, y)
        batch = every if chosen is None else jax.tree.map(lambda a: a[chosen], every)
        after, metrics = Program(setup, rate, seed).step(state, *batch)
        alive = state.step == done  # a step that fails is not counted
        return jax.tree.map(lambda new, old: jnp.where(alive, new, old), after, state), metrics

    own = None if setup.data.augmentation is None else 0
    lanes = jax.vmap(lane, in_axes=(0, 0, 0, 0, None, own, own))
    return jax.jit(lanes, donate_argnums=2)
