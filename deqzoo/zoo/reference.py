"""Outputs that a member must give again: solved in float64, so that no rounding is in the way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deqzoo.data.spec import from_plain
from deqzoo.nn.pure_model import PureModel
from deqzoo.storage.tensors import TensorFile
from deqzoo.zoo.blueprint import Blueprint
from deqzoo.zoo.packed import Packed

EXAMPLES = 16
TOLERANCE = 1e-5
_RTOL = 1e-9
_MAX_STEPS = 2000


def reference(blueprint: Blueprint, file: TensorFile, x: Any) -> np.ndarray:
    """The outputs of raw inputs by the stored weights, in float64 to a residual of 1e-9.

    Single precision stops at a residual of 1e-5, whose last step depends on the machine; these
    numbers do not. The weights are exact in double precision.

    Args:
        blueprint: of the model.
        file: its weights.
        x: raw inputs (n, ...).
    """
    with jax.enable_x64(True):
        model = blueprint.build("float64")
        model.deq.solver = replace(model.deq.solver, rtol=_RTOL, atol=0.0, max_steps=_MAX_STEPS)
        pure = PureModel(model)
        state = jax.tree.map(jnp.asarray, file.fill(pure.state, cast=True))
        outputs, solution = jax.jit(pure)(state, blueprint.scaled(x))
        solution.check()
        return np.asarray(outputs)


def packed(blueprint: Blueprint, raw: Any) -> tuple[Packed, ...]:
    """The first 16 examples of a split, as a card keeps them."""
    structure = jax.tree.structure(from_plain(blueprint.spec))
    return tuple(Packed.of(np.asarray(each[:EXAMPLES])) for each in structure.flatten_up_to(raw))


def inputs(blueprint: Blueprint, kept: tuple[Packed, ...]) -> Any:
    """The same as arrays, in the structure of the spec."""
    structure = jax.tree.structure(from_plain(blueprint.spec))
    return structure.unflatten([each.array() for each in kept])


def distance(found: Any, wanted: Any) -> float:
    """The largest difference over the largest number; infinite where one is not finite.

    Example:
        >>> from deqzoo.zoo.reference import distance
        >>> distance([[1.0, -4.0]], [[1.0, -2.0]])
        1.0
    """
    found, wanted = np.asarray(found, float), np.asarray(wanted, float)
    if found.shape != wanted.shape or not np.all(np.isfinite(found)):
        return float("inf")
    return float(np.max(np.abs(found - wanted)) / max(1.0, float(np.max(np.abs(wanted)))))
