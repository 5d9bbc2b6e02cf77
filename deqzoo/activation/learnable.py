"""The contract of an activation with parameters: its bounds hold whatever is learned."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.preimage import middle, preimage

_FIXED = ("contraction", "monotone operator")  # what the range of slopes alone decides
Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Learnable(Activation):
    """φ(x; p), elementwise in x: slope and curvature are bounds for *every* value of p.

    To add one, write a frozen dataclass in a file of ``activations/`` and define

    * ``start``: the name of every parameter and the value it begins with;
    * ``formula(x, **parameters)``: φ(x; p), which keeps p where the bounds hold, by clipping for
      example;
    * ``ordinary(**parameters)``: φ(·; p) for numbers p as an activation with exact bounds;
    * ``slope`` and ``curvature``: bounds over all x and p.

    The module ``deqzoo.nn.Nonlinearity`` holds the parameters in a model. Used as an ordinary
    activation it is φ(·; start): so do primitive, Hermite coefficients and duals speak of it.
    ``activations.check`` measures it at its start, at extreme and at random parameters. A φ with
    slopes in [0, 1] may override ``prox_formula`` where a closed form exists.

    Attributes:
        per_unit: whether every unit (entry along the last axis) learns parameters of its own.
    """

    per_unit: bool = field(default=False, kw_only=True)

    slope = (-math.inf, math.inf)  # a member that keeps it is refused
    curvature = math.inf

    @property
    @abc.abstractmethod
    def start(self) -> dict[str, float]:
        """Name of a parameter -> the value it begins with."""

    @abc.abstractmethod
    def formula(self, x: Float[Array, "*shape"], **parameters: Any) -> Float[Array, "*shape"]:
        """φ(x; p); parameters have the dtype of x and broadcast to it."""

    @abc.abstractmethod
    def ordinary(self, **parameters: float) -> Activation:
        """φ(·; p) for numbers p."""

    # What follows.

    def prox_formula(
        self, u: Float[Array, "*shape"], step_size: Float[Array, "*shape"], **parameters: Any
    ) -> Float[Array, "*shape"]:
        """``Activation.prox`` of φ(·; p). Default: Newton's method."""
        formula = lambda x, p: self.formula(x, **p)  # noqa: E731
        start = middle(formula, self.slope, u, step_size, parameters)
        return preimage(formula, self.slope, 0.0, u, step_size, parameters, start).value

    @property
    def has_closed_prox(self) -> bool:
        """Whether ``prox_formula`` is more than Newton's method."""
        return type(self).prox_formula is not Learnable.prox_formula

    def slope_variation(self, **parameters: Any) -> Float[Array, "*units"] | None:
        """∫ |φ''(x; p)| dx, the total variation of φ': of every unit, or None: not declared.

        The regularizer ``total_variation`` adds it to the loss.
        """
        del parameters
        return None

    def initial(self, shape: tuple[int, ...] = ()) -> dict[str, Float[np.ndarray, ...]]:
        """Parameters to begin with, of one shape: () for a layer, (units,) for its units."""
        return {name: np.full(shape, value) for name, value in self.start.items()}

    def evaluate(self, parameters: Parameters, x: Float[Array, "*shape"]) -> Array:
        """φ(x; p) in the dtype of x; parameters of shape (units,) belong to its last axis."""
        x = jnp.asarray(x)
        return self.formula(x, **{name: _along(x, p) for name, p in parameters.items()})

    def evaluate_prox(self, parameters: Parameters, u: Float[Array, "*shape"], step_size) -> Array:
        """``Activation.prox`` of φ(·; p), p as of ``evaluate``.

        Raises:
            ValueError: φ is not the proximal operator of a convex function for every p.
        """
        self.require_prox()
        u = jnp.asarray(u)
        step_size = jnp.broadcast_to(jnp.asarray(step_size, u.dtype), u.shape)
        along = {name: _along(u, p) for name, p in parameters.items()}
        return self.prox_formula(u, step_size, **along)

    def frozen(self, parameters: Parameters) -> Activation:
        """φ(·; p) as an ordinary activation with exact bounds.

        Args:
            parameters: one number each.

        Raises:
            ValueError: parameters of several units, which are as many activations.
        """
        shapes = {np.shape(value) for value in parameters.values()}
        if shapes != {()}:
            raise ValueError(
                f"expected one number a parameter, got shapes {sorted(shapes)}: units with "
                "parameters of their own are as many activations, to be frozen one by one"
            )
        return self.ordinary(**{name: float(value) for name, value in parameters.items()})

    @property
    def at_start(self) -> Activation:
        """φ(·; start)."""
        return self.ordinary(**self.start)

    @property
    def kinks(self) -> tuple[float, ...]:  # type: ignore[override]
        """Those of φ(·; start)."""
        return self.at_start.kinks

    def __call__(self, x):
        """φ(x; start)."""
        return self.evaluate(self.initial(), x)

    def primitive(self, x):
        """That of φ(·; start)."""
        return self.at_start.primitive(x)

    def prox(self, u, step_size):
        """That of φ(·; start)."""
        return self.evaluate_prox(self.initial(), u, step_size)

    def hermite(self, degree, scale=1.0):
        """Those of φ(·; start)."""
        return self.at_start.hermite(degree, scale)

    def dual_covariance(self, c, q1, q2):
        """That of φ(·; start)."""
        return self.at_start.dual_covariance(c, q1, q2)

    def dual_slope(self, c, q1, q2):
        """That of φ(·; start)."""
        return self.at_start.dual_slope(c, q1, q2)

    @property
    def hypotheses(self):
        """Those of theorems about the range of slopes; the others speak of a φ that is fixed."""
        reason = "φ is learned: freeze it, and ask again of the result"
        return tuple(
            each if each.theorem.startswith(_FIXED) else each._replace(met=False, reason=reason)
            for each in super().hypotheses
        )


def _along(x: Array, parameter: Any) -> Array:
    parameter = jnp.asarray(parameter, x.dtype)
    return parameter.reshape((1,) * (x.ndim - 1) + (-1,)) if parameter.ndim else parameter
