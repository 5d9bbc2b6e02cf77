"""Every optimizer: it minimises, its schedule ends at zero, and its settings are checked."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from deqzoo import catalog
from deqzoo.testing.check import Check, are_values, refuses, require
from deqzoo.training.optimizer import Optimizer

__all__ = ["check_optimizer"]

_START = np.array([1.0, -2.0], np.float32)


def _settings_are_values(optimizer: Optimizer) -> None:
    are_values(optimizer, learning_rate=0.123)


def _impossible_settings_are_refused(optimizer: Optimizer) -> None:
    impossible: tuple[dict[str, Any], ...] = (
        {"learning_rate": -1.0},
        {"learning_rate": math.nan},
        {"learning_rate": "fast"},
        {"schedule": "staircase"},
    )
    for setting in impossible:
        refuses(partial(replace, optimizer, **setting), setting)


def _it_minimises_a_quadratic(optimizer: Optimizer) -> None:
    transform = optimizer.with_learning_rate(0.05).build(400)
    step = lambda carry, _: (_step(transform, *carry), None)  # noqa: E731
    begin = jnp.asarray(_START), transform.init(jnp.asarray(_START))
    end, _ = jax.jit(lambda carry: jax.lax.scan(step, carry, length=400)[0])(begin)
    require(np.max(np.abs(end)) < 1e-2, f"400 steps on |θ|² from {_START} end at {end}")


def _it_keeps_dtype_and_structure(optimizer: Optimizer) -> None:
    tree = {"W": jnp.ones((2, 3), jnp.float32), "b": {"c": jnp.ones(3, jnp.float32)}}
    transform = optimizer.with_learning_rate(0.1).build(3)
    updates, _ = transform.update(tree, transform.init(tree), tree)
    chex.assert_trees_all_equal_shapes_and_dtypes(updates, tree)
    chex.assert_tree_all_finite(updates)


def _a_cosine_schedule_ends_at_zero(optimizer: Optimizer) -> None:
    point = jnp.asarray(_START)
    transform = replace(optimizer, schedule="cosine", learning_rate=1.0).build(3)
    state = transform.init(point)
    for _ in range(3):
        _, state = transform.update(point, state, point)
    last, _ = transform.update(point, state, point)
    require(np.max(np.abs(np.asarray(last))) < 1e-6, f"the update after the last step is {last}")


def _the_learning_rate_may_be_traced(optimizer: Optimizer) -> None:
    # The lanes of a sweep differ in it and share one program.
    point, rates = jnp.asarray(_START), jnp.array([0.0, 0.1], jnp.float32)

    @jax.jit
    @jax.vmap
    def moved(rate):
        transform = optimizer.at(rate, 10)
        return _step(transform, point, transform.init(point))[0]

    still, other = moved(rates)
    chex.assert_trees_all_close(still, point, rtol=1e-6)
    require(np.any(other != point), "a step at the learning rate 0.1 moves nothing")


def _step(transform: optax.GradientTransformation, point: Any, state: Any) -> tuple[Any, Any]:
    """One step on |θ|²."""
    updates, state = transform.update(2 * point, state, point)
    return optax.apply_updates(point, updates), state


check_optimizer = Check(
    "optimizer",
    catalog.optimizers.get,
    (
        _settings_are_values,
        _impossible_settings_are_refused,
        _it_minimises_a_quadratic,
        _it_keeps_dtype_and_structure,
        _a_cosine_schedule_ends_at_zero,
        _the_learning_rate_may_be_traced,
    ),
)
