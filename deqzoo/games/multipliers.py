"""Inequalities on what an optimizer moves, each kept by a multiplier that plays against it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

Inequality = Callable[[Any], Float[Array, ""]]
LEAST = 1e-6  # of a multiplier: one that is zero could never grow again
_GROWTH = 1.0  # the largest change of log λ in a step


class Game(NamedTuple):
    """What is kept between steps.

    Attributes:
        multipliers: λ > 0, one an inequality.
        violations: g before the last step; above 0 where an inequality does not hold.
        count: of steps.
        optimizer: its state.
    """

    multipliers: Float[Array, " inequalities"]
    violations: Float[Array, " inequalities"]
    count: Int[Array, ""]
    optimizer: Any


def with_multipliers(
    transform: optax.GradientTransformation,
    inequalities: Sequence[Inequality],
    learning_rate: optax.ScalarOrSchedule,
    alpha: float,
    start: float = 0.01,
) -> optax.GradientTransformation:
    """Min L(θ) subject to g_i(θ) <= 0: competitive mirror descent between θ and multipliers λ > 0.

    dθ = d - η Σ μ_i ∇g_i, where d is the optimizer's own step and μ = λ + (λ/α)(g + ⟨∇g, dθ⟩) is
    what λ will be after it, to first order; then λ <- λ exp((g + ⟨∇g, dθ⟩)/α). Eliminating dθ
    leaves a linear equation for each μ_i; with one inequality

        μ = (λ + (λ/α)(g + ⟨∇g, d⟩))/(1 + η(λ/α)|∇g|²).

    Of gradient descent, d = -η∇L, this is the method of the paper for the Lagrangian L + ⟨λ, g⟩
    with the potentials |θ|²/2η and α(λ log λ - λ), and λ tends to the multiplier of Kuhn and
    Tucker. With another optimizer it is the same game around that one's step, and λ counts in its
    units. Ours are the closed form, its use around any optimizer, and three precautions: μ is taken
    as 0 where it would be negative; λ stays above 1e-6 and changes by a factor e in a step at most;
    an inequality rests for a step where it or its gradient is not finite.

    Args:
        transform: the optimizer.
        inequalities: g_i of the parameters, differentiable.
        learning_rate: η, or a function of the number of steps before.
        alpha: α > 0; the step size of λ is its inverse.
        start: the first λ.

    References:
        Schäfer, Anandkumar and Owhadi, "Competitive Mirror Descent", arXiv 2006.10179.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from deqzoo.games import with_multipliers
        >>> rule = with_multipliers(optax.sgd(0.1), [lambda x: x - 1.0], 0.1, alpha=0.1)
        >>> x = jnp.asarray(0.0)
        >>> state = rule.init(x)
        >>> for _ in range(200):  # min (x - 3)²/2 with x <= 1: x = 1, λ = 2
        ...     move, state = rule.update(x - 3.0, state, x)
        ...     x = optax.apply_updates(x, move)
        >>> round(float(x), 3), round(float(state.multipliers[0]), 3)
        (1.0, 2.0)
    """

    def init(params: Any) -> Game:
        dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(params))
        first = jnp.full(len(inequalities), start, dtype)
        return Game(first, jnp.zeros_like(first), jnp.zeros((), jnp.int32), transform.init(params))

    def update(updates: Any, state: Game, params: Any = None) -> tuple[Any, Game]:
        before, step = state.multipliers, state.count
        rate: Any = learning_rate(step) if callable(learning_rate) else learning_rate
        found = [_usable(*jax.value_and_grad(each)(params)) for each in inequalities]
        values = jnp.stack([value for value, _ in found]).astype(before.dtype)
        slopes = [slope for _, slope in found]
        along = lambda move: jnp.stack([optax.tree.vdot(slope, move) for slope in slopes])  # noqa: E731
        move, optimizer = transform.update(updates, state.optimizer, params)
        products = jnp.stack([along(slope) for slope in slopes])
        weights = before / alpha
        system = jnp.eye(len(slopes)) + rate * weights[:, None] * products
        forces = jnp.linalg.solve(system, before + weights * (values + along(move)))
        for force, slope in zip(jnp.maximum(forces, 0), slopes, strict=True):
            move = optax.tree.add_scale(move, -rate * force, slope)
        growth = jnp.clip((values + along(move)) / alpha, -_GROWTH, _GROWTH)
        after = jnp.maximum(before * jnp.exp(growth), LEAST).astype(before.dtype)
        return move, Game(after, values, step + 1, optimizer)

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def _usable(value: Array, slope: Any) -> tuple[Array, Any]:
    """Both; zeros where either is not finite."""
    finite = jnp.isfinite(value) & jnp.isfinite(optax.tree.norm(slope))
    value, slope = jax.tree.map(lambda a: jnp.where(finite, a, 0), (value, slope))
    return value, slope
