"""Every regularizer: a weighted penalty per example that can be trained with."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from deqzoo import catalog
from deqzoo.core.fixed_point import fixed_point
from deqzoo.core.regularizer import Regularizer
from deqzoo.testing.check import Check, are_values, refuses, require
from deqzoo.testing.problems import numbers

__all__ = ["check_regularizer"]

_N, _B = 6, 3
_LEARNED: Any = catalog.activations.get("prelu")  # its slope is a weight of the problem, too


def _settings_are_values(regularizer: Regularizer) -> None:
    are_values(regularizer, weight=regularizer.weight + 1)


def _a_negative_weight_is_refused(regularizer: Regularizer) -> None:
    refuses(partial(replace, regularizer, weight=-1.0), {"weight": -1.0})


def _it_is_the_weighted_mean_of_the_penalties_and_has_a_gradient(regularizer: Regularizer) -> None:
    loss = partial(_penalties, replace(regularizer, weight=2.0))
    with jax.enable_x64(True):
        (whole, each), slope = jax.jit(jax.value_and_grad(loss, has_aux=True))(_weight())
        chex.assert_shape(each, (_B,))
        chex.assert_trees_all_close(whole, 2 * jnp.mean(each), rtol=1e-12)
        require(whole > 0, f"it is {whole} where the map is not constant")
        chex.assert_tree_all_finite(slope)
        require(np.linalg.norm(slope) > 0, "its gradient in the weights is zero")


def _weight() -> np.ndarray:
    return numbers(_N, _N, seed=1) * 0.6 / _N**0.5


def _penalties(regularizer: Regularizer, weight: Any) -> tuple[Any, Any]:
    """The whole and the parts at the fixed point of z -> tanh(Wz + b)."""
    inputs, key = numbers(_B, _N, seed=2), jax.random.key(0)
    fn = lambda z, args: jnp.tanh(z @ args[0].T + args[1])  # noqa: E731
    solver = f"picard(trajectory={regularizer.trajectory()!r})"
    solve = lambda w: fixed_point(fn, jnp.zeros((_B, _N)), (w, inputs), solver=solver)  # noqa: E731
    solution = solve(weight)
    at = lambda z: fn(z, (weight, inputs))  # noqa: E731
    regularizer = regularizer.of_activations([(_LEARNED, {"negative_slope": weight[0, 0]})])
    regularizer = regularizer.of_outputs(lambda w: solve(w).value, weight)
    return regularizer(at, solution, key), regularizer.penalty(at, solution, key)


check_regularizer = Check(
    "regularizer",
    catalog.regularizers.get,
    (
        _settings_are_values,
        _a_negative_weight_is_refused,
        _it_is_the_weighted_mean_of_the_penalties_and_has_a_gradient,
    ),
)
