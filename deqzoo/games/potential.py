"""Convex functions whose gradients map a set one to one onto a space without walls."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp
from jaxtyping import Array, Float

from deqzoo.settings import In, SettingError, validate


@dataclass(frozen=True)
class Potential(abc.ABC):
    """α ψ(x), strictly convex on a set; a player who moves in ∇ψ(x) never leaves it.

    Attributes:
        alpha: α > 0, the inverse of a step size.
    """

    alpha: Annotated[float, In("(0, inf)")] = 1.0

    def __post_init__(self):
        validate(self)

    @abc.abstractmethod
    def gradient(self, x: Float[Array, ...]) -> Float[Array, ...]:
        """The dual point α ∇ψ(x)."""

    @abc.abstractmethod
    def inverse(self, dual: Float[Array, ...]) -> Float[Array, ...]:
        """The x whose dual point this is."""

    @abc.abstractmethod
    def hessian(self, x: Float[Array, ...], move: Float[Array, ...]) -> Float[Array, ...]:
        """α D²ψ(x) applied to a move."""

    @abc.abstractmethod
    def solve(self, x: Float[Array, ...], force: Float[Array, ...]) -> Float[Array, ...]:
        """The inverse of α D²ψ(x) applied to a force."""

    def step(self, x: Float[Array, ...], move: Float[Array, ...]) -> Float[Array, ...]:
        """The point whose dual is ∇ψ(x) + D²ψ(x) move, times α."""
        return self.inverse(self.gradient(x) + self.hessian(x, move))


@dataclass(frozen=True)
class Quadratic(Potential):
    """α|x|²/2 on the whole space: plain steps of size 1/α."""

    def gradient(self, x):
        """α x."""
        return self.alpha * x

    def inverse(self, dual):
        """X."""
        return dual / self.alpha

    def hessian(self, x, move):
        """α times the move."""
        del x
        return self.alpha * move

    def solve(self, x, force):
        """The force over α."""
        del x
        return force / self.alpha

    def step(self, x, move):
        """X + move, without the roundings of there and back."""
        return x + move


@dataclass(frozen=True)
class Entropy(Potential):
    """α Σ (x log x - x) on positive x: factors instead of summands (multiplicative weights)."""

    def gradient(self, x):
        """α log x."""
        return self.alpha * jnp.log(x)

    def inverse(self, dual):
        """Its exponential."""
        return jnp.exp(dual / self.alpha)

    def hessian(self, x, move):
        """α move/x."""
        return self.alpha * move / x

    def solve(self, x, force):
        """X force/α."""
        return x * force / self.alpha

    def step(self, x, move):
        """X exp(move/x)."""
        return x * jnp.exp(move / x)


@dataclass(frozen=True)
class Box(Potential):
    """α Σ (x - low) log(x - low) + (high - x) log(high - x) on low < x < high.

    Attributes:
        low: of every entry.
        high: above it.
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        if not self.low < self.high:
            raise SettingError(f"low must lie below high, got {self.low} and {self.high}")

    def gradient(self, x):
        """α log((x - low)/(high - x))."""
        return self.alpha * (jnp.log(x - self.low) - jnp.log(self.high - x))

    def inverse(self, dual):
        """A sigmoid between low and high."""
        ratio = dual / self.alpha
        return self.low + (self.high - self.low) * 0.5 * (1 + jnp.tanh(ratio / 2))

    def hessian(self, x, move):
        """α (1/(x - low) + 1/(high - x)) move."""
        return self.alpha * move * (self.high - self.low) / ((x - self.low) * (self.high - x))

    def solve(self, x, force):
        """Its inverse, force by force."""
        return force * (x - self.low) * (self.high - x) / (self.alpha * (self.high - self.low))


@dataclass(frozen=True)
class LogDeterminant(Potential):
    """-α log det X on positive definite X.

    The dual points are the negative definite matrices alone: a move so long that the dual point
    would leave them gives a matrix that is not positive definite.
    """

    def gradient(self, x):
        """-α X⁻¹."""
        return -self.alpha * jnp.linalg.inv(x)

    def inverse(self, dual):
        """-α times the inverse of the dual point."""
        return -self.alpha * jnp.linalg.inv(dual)

    def hessian(self, x, move):
        """α X⁻¹ move X⁻¹."""
        return self.alpha * jnp.linalg.solve(x, jnp.linalg.solve(x, move.mT).mT)

    def solve(self, x, force):
        """X force X/α."""
        return x @ force @ x / self.alpha
