"""A trained DEQ in another activation, from its states, without training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.identification import branch
from deqzoo.identification.identify import Identified, identify
from deqzoo.models.classifier import Classifier
from deqzoo.nn.model import Model
from deqzoo.runs.as_model import as_model
from deqzoo.runs.run import Run

_RTOL = 1e-5  # of the descent: the new activation misses the states by far more
_MARGIN = 0.02  # of what is observed, kept from the ends of what φ takes


@dataclass(frozen=True)
class Translated:
    """A model in another activation.

    Attributes:
        model: a ``Classifier``, with the solver and the adjoint of the model it comes from.
        identified: its equilibrium map, in float64.
        error: ‖outputs - those of the old model‖ over the norm of those about their mean, on the
            inputs that it was made from.
    """

    model: Classifier
    identified: Identified
    error: float


def translate(
    model: Model | Run, x: Any, activation: Activation | str, kappa: float | None = None
) -> Translated:
    """A DEQ identified from states that are moved into what φ takes once, its read-out refitted.

    Every unit of the states is shifted, and shrunk where φ is
    bounded, into the rising end of φ; ``identify`` finds A, B and b with L‖A‖₂ < 1; least squares
    fit the old outputs by the new equilibria. No equilibrium is differentiated. How near the result
    comes is measured, not proved: a relu does not make the states of a tanh. It may learn on from
    there by ``deqzoo.fit``.

    Args:
        model: of states that are one vector per example, such as a classifier or a monDEQ; or a
            run.
        x: inputs as the model takes them, (n, ...), better more than there are units and inputs.
        activation: φ of the new model, or its recipe.
        kappa: bound of ‖A‖₂; None for 0.95/L.

    Raises:
        ValueError: states of another form, or a φ that is learned or takes no value once.

    References:
        deqzoo.

    Example:
        >>> import deqzoo, numpy as np
        >>> member = deqzoo.load("classifier-digits-tanh")
        >>> x = deqzoo.catalog.tasks.get("digits").load().train.x[:600]
        >>> found = deqzoo.translate(member.model, x, "relu")
        >>> same = found.model(x)[0].argmax(1) == member.model(x)[0].argmax(1)
        >>> float(same.mean()) > 0.97
        True
    """
    old, act = as_model(model), catalog.activations.get(activation)
    x = jnp.asarray(x)
    outputs, solution = old(x)
    states = solution.value
    if not (isinstance(states, jnp.ndarray) and states.ndim == 2 and outputs.ndim == 2):
        raise ValueError(
            f"expected a model with one vector of states and of outputs per example, got "
            f"{type(old).__name__}"
        )
    flat = np.asarray(x, np.float64).reshape(len(x), -1)
    moved = _moved(np.asarray(states, np.float64), act)
    found = identify(moved, flat, act, kappa, rtol=_RTOL)
    wanted = np.asarray(outputs, np.float64)
    features = np.concatenate([found(flat), np.ones((len(flat), 1))], axis=1)
    head = np.linalg.lstsq(features, wanted)[0]
    missed = np.linalg.norm(features @ head - wanted) / np.linalg.norm(wanted - wanted.mean(0))
    return Translated(_classifier(old, x.shape[1:], found, head), found, float(missed))


def _moved(Z: Float[np.ndarray, "n h"], act: Activation) -> Float[np.ndarray, "n h"]:
    """Every unit into what φ takes once: as it is where it fits, else moved as little as may be."""
    low, high = branch(act)
    least, most = Z.min(0), Z.max(0)
    room = _MARGIN * (most - least)
    shrunk = np.minimum(1, (high - low) / np.maximum(most - least + 2 * room, 1e-300))
    Z, least, most, room = shrunk * Z, shrunk * least, shrunk * most, shrunk * room
    fits = (least >= low) & (most <= high)
    up, down = np.maximum(low + room - least, 0), np.minimum(high - room - most, 0)
    return Z + np.where(fits, 0, up + down)


def _classifier(
    old: Model, shape: tuple[int, ...], found: Identified, head: Float[np.ndarray, "h+1 k"]
) -> Classifier:
    """The model of these arrays."""
    model = Classifier(
        shape,
        head.shape[1],
        activation=found.activation,
        width=len(found.A),
        solver=old.deq.solver,
        adjoint=old.deq.adjoint,
        rngs=nnx.Rngs(0),
    )
    as_leaf = lambda array: jnp.asarray(array, jnp.float32)  # noqa: E731
    model.deq.cell.W[...] = as_leaf(found.A)
    for layer, kernel, bias in (
        (model.inputs, found.B.T, found.b),
        (model.outputs, head[:-1], head[-1]),
    ):
        nnx.update(layer, {"kernel": as_leaf(kernel), "bias": as_leaf(bias)})
    return model
