"""Second-order dynamics: a ball with friction, and heat if there is to be some."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from deqzoo.settings import In
from deqzoo.training.optimizer import LearningRate, Optimizer
from deqzoo.training.seed_key import seed_key

__all__ = ["HeavyBall"]

_NOISE = 1  # of the streams of a seed, that of the optimizer


class _State(NamedTuple):
    """v, ½‖v‖² and the updates before."""

    velocity: Any
    kinetic: Float[Array, ""]
    count: Int[Array, ""]


@dataclass(frozen=True)
class HeavyBall(Optimizer):
    """v <- βv - √η g + √((1 - β²)T) ξ, θ <- θ + √η v: steps of the time √η of θ'' = -γθ' - ∇Φ.

    The friction is γ = (1 - β)/√η, and η = m dt² gives the dynamics of mean-field networks of m
    units. The lines of a run have ``energy``, E = Φ + ½‖v‖². Without noise, for one batch and one
    learning rate, and where ∇Φ is L-Lipschitz with ηL <= 1 - β,

        E(k+1) <= E(k) - (1 - β) ‖v(k)‖²/2:

    it never rises, while Φ may. Beyond (``tuned``) nothing is proved of it.

    Attributes:
        beta: β, share of the velocity kept per step, in [0, 1).
        temperature: T of the noise, which is drawn from the seed of the run and the number of the
            update; at a flat loss ‖v‖² of n weights settles at nT.
        tuned: whether η = 4/(√λ + √μ)² and β = ((√λ - √μ)/(√λ + √μ))² replace both, μ the least
            and λ 5/4 of the largest eigenvalue of the tangent kernel at the start, the Gram matrix
            of the derivatives of the outputs (``--model=wide``, square loss, full batch). Of a
            quadratic with a Hessian in [μ, λ] they are the best: its error falls by √β a step in
            the end. The kernel moves, for which the fourth is left.

    References:
        Krichene, Caluya and Halder, "Global Convergence of Second-order Dynamics in Two-layer
        Neural Networks", arXiv 2007.06852, for the dynamics in the mean-field limit; Polyak, USSR
        Comput. Math. Math. Phys. 4 (1964), for the best constants; the inequality of steps: deqzoo.

    Example:
        >>> from deqzoo import catalog
        >>> catalog.optimizers.get("heavy_ball(temperature=1e-4)").temperature
        0.0001
    """

    beta: Annotated[float, In("[0, 1)")] = 0.9
    temperature: Annotated[float, In("[0, inf)")] = 0.0
    tuned: bool = False
    learning_rate: LearningRate = field(default=1e-2, kw_only=True)

    def transform(self, learning_rate):
        """Of the seed 0."""
        return self.seeded(learning_rate, 0)

    def seeded(self, learning_rate, seed):
        """A step of the dynamics."""

        def init(params):
            still = jax.tree.map(jnp.zeros_like, params)
            return _State(still, jnp.zeros(()), jnp.zeros((), jnp.int32))

        def update(updates, state: Any, params=None):
            del params
            rate: Any = learning_rate(state.count) if callable(learning_rate) else learning_rate
            time = jnp.sqrt(rate)
            push = lambda v, g: self.beta * v - time.astype(v.dtype) * g  # noqa: E731
            velocity = jax.tree.map(push, state.velocity, updates)
            if self.temperature > 0:
                key = jax.random.fold_in(jax.random.fold_in(seed_key(seed), _NOISE), state.count)
                velocity = self._heated(velocity, key)
            kinetic = optax.tree.norm(velocity, squared=True) / 2
            moved = jax.tree.map(lambda v: time.astype(v.dtype) * v, velocity)
            return moved, _State(velocity, kinetic.astype(state.kinetic.dtype), state.count + 1)

        return optax.GradientTransformation(init, update)

    def _heated(self, velocity: Any, key: Array) -> Any:
        size = ((1 - self.beta**2) * self.temperature) ** 0.5
        leaves, structure = jax.tree.flatten(velocity)
        keys = jax.random.split(key, len(leaves))
        noisy = [
            v + size * jax.random.normal(own, v.shape, v.dtype)
            for v, own in zip(leaves, keys, strict=True)
        ]
        return structure.unflatten(noisy)
