"""By how much a label wins, in float64, and by how much it could lose."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jaxtyping import Bool, Float, Int

from deqzoo.analysis.finding import InapplicableError
from deqzoo.analysis.widened import in_float64
from deqzoo.core import spectral
from deqzoo.nn.model import Model
from deqzoo.nn.nearness import Nearness


class Proof(NamedTuple):
    """What is proved of a classifier.

    Attributes:
        near: how near a state is to its equilibrium.
        source: the theorem.
        U: of the affine stem.
        A: of the affine head.
        lipschitz: of outputs in inputs, where the guarantee bounds it.
    """

    near: Nearness
    source: str
    U: Float[np.ndarray, "injected inputs"]
    A: Float[np.ndarray, "outputs width"]
    lipschitz: float | None = None

    def margins(
        self, outputs: Float[np.ndarray, "batch outputs"]
    ) -> tuple[Int[np.ndarray, " batch"], Float[np.ndarray, "batch outputs"]]:
        """Labels, and how far what the cell puts out may move before another wins.

        For every other label j: (o_c - o_j) over the largest value of A_c - A_j on a unit ball;
        infinite for the label itself.
        """
        labels = np.argmax(outputs, axis=1)
        gaps = outputs[np.arange(len(labels)), labels][:, None] - outputs
        reach = self.near.reach(self.A[labels][:, None] - self.A[None])
        is_other = labels[:, None] != np.arange(outputs.shape[1])
        safe = np.where(is_other & (reach > 0), reach, 1)
        far = np.where(reach > 0, gaps / safe, np.where(gaps > 0, np.inf, 0))
        return labels, np.where(is_other, far, np.inf)

    def is_final(
        self, outputs: Float[np.ndarray, "batch outputs"], residual: Float[np.ndarray, "batch n"]
    ) -> Bool[np.ndarray, " batch"]:
        """Whether the equilibrium has the label of these outputs of a state."""
        _, far = self.margins(outputs)
        return np.min(far, axis=1) > self.near.per_residual * self.near.size(residual)

    def slope(self) -> float:
        """By how much outputs change at most for a unit of inputs, Euclidean norms."""
        rows = float(np.linalg.norm(self.near.reach(self.A)))
        reach = min(rows, spectral.proved_norm(self.A)) if self.near.weights is None else rows
        found = reach * self.near.per_injection * self.near.stretch(self.U)
        return found if self.lipschitz is None else min(found, self.lipschitz)

    def radii(
        self, outputs: Float[np.ndarray, "batch outputs"], residual: Float[np.ndarray, "batch n"]
    ) -> Float[np.ndarray, " batch"]:
        """The Euclidean balls of inputs around each on which its label stays; 0 for none."""
        _, far = self.margins(outputs)
        unknown = self.near.per_residual * self.near.size(residual)
        left = np.maximum(np.min(far, axis=1) - unknown, 0)
        found = left / (self.near.per_injection * self.near.stretch(self.U))
        if self.lipschitz is None:
            return found
        second, first = np.sort(outputs, axis=1)[:, -2:].T
        gap = first - second - self.near.reach(self.A).max() * 2 * unknown
        return np.maximum(found, np.maximum(gap, 0) / (2**0.5 * self.lipschitz))


def proof(model: Model) -> Proof:
    """What the guarantees of a classifier prove of its labels.

    Raises:
        InapplicableError: nothing, and why.
    """
    ends = model.ends()
    if ends is None:
        raise InapplicableError("the stem or the head of this model is not affine")
    parameters = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    for guarantee in model.guarantees():
        near = guarantee.nearness(parameters)
        if near is not None:
            U, A = (np.asarray(end, np.float64) for end in ends)
            return Proof(near, guarantee.source, U, A, guarantee.lipschitz(parameters))
    raise InapplicableError(
        "no guarantee of this model says how near a state is to its equilibrium: nothing is proved"
    )


class Exact(NamedTuple):
    """What a state gives, evaluated in float64.

    Attributes:
        outputs: of the head.
        residual: f(z) - z.
    """

    outputs: Float[np.ndarray, "batch outputs"]
    residual: Float[np.ndarray, "batch n"]


def exact(model: Model, x: Any, z: Any) -> Exact:
    """Outputs and residual of the state z at the inputs x in float64."""
    with jax.enable_x64(True):
        graph, state = nnx.split(model)
        wide = jax.tree.map(in_float64, (state, x, z))
        outputs, residual = _evaluated(graph, *wide)
        return Exact(np.asarray(outputs), np.asarray(residual))


def _evaluated(graph: nnx.GraphDef, state: Any, x: Any, z: Any) -> tuple[Any, Any]:
    model = nnx.merge(graph, state)
    injected = model.stem(x)
    return model.head(z, injected), model.deq.map(injected)(z) - z
