"""Every constraint: what it enforces holds, and weights that need no change stay as they are."""

from __future__ import annotations

from functools import cache
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from deqzoo import catalog
from deqzoo.nn.guarantee import Guarantee
from deqzoo.testing.check import Check, are_values, require
from deqzoo.testing.subject import Subject
from deqzoo.training.constraint import Constraint

__all__ = ["check_constraint"]


@cache
def _guaranteed() -> tuple[tuple[Guarantee, ...], dict[str, Any]]:
    """The guarantees of a small model, and its weights."""
    model = Subject.of("wide(width=24)", task="sphere(examples=8, dimension=6)").build()
    return model.guarantees(), nnx.to_pure_dict(nnx.state(model, nnx.Param))


def _settings_are_values(constraint: Constraint) -> None:
    are_values(constraint)


def _what_it_enforces_holds_after_it(constraint: Constraint) -> None:
    guarantees, weights = _guaranteed()
    grown = jax.tree.map(lambda leaf: 3 * leaf, weights)
    after = jax.jit(lambda weights: constraint.apply(weights, guarantees))(grown)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, weights)
    for guarantee in guarantees if constraint.enforces else ():
        before, bound = guarantee.sharp_bound(grown), guarantee.sharp_bound(after)
        require(bound < 1, f"it enforces guarantees, and {before:.6g} became {bound:.6g}")


def _weights_far_below_the_limit_stay_as_they_are(constraint: Constraint) -> None:
    guarantees, weights = _guaranteed()
    small = jax.tree.map(lambda leaf: leaf / 64, weights)
    after = jax.jit(lambda weights: constraint.apply(weights, guarantees))(small)
    chex.assert_trees_all_equal(after, small)


def _without_a_guarantee_nothing_changes(constraint: Constraint) -> None:
    weights = {"W": jnp.asarray(3 * np.eye(4, dtype=np.float32))}
    chex.assert_trees_all_equal(constraint.apply(weights, ()), weights)


check_constraint = Check(
    "constraint",
    catalog.constraints.get,
    (
        _settings_are_values,
        _what_it_enforces_holds_after_it,
        _weights_far_below_the_limit_stay_as_they_are,
        _without_a_guarantee_nothing_changes,
    ),
)
