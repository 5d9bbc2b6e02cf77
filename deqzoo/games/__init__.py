"""Two players, each of whom goes downhill on a function that the other moves too.

Example:
    >>> import jax, jax.numpy as jnp, optax
    >>> from deqzoo.games import Entropy, competitive_mirror_descent, own_gradients
    >>> f = lambda x, y: jnp.sum(x * y) - 0.1 * jnp.sum(x + y)  # saddle point x = y = 0.1
    >>> g = lambda x, y: -f(x, y)
    >>> players = jnp.array([0.4]), jnp.array([0.3])
    >>> rule = competitive_mirror_descent(f, g, Entropy(0.1), Entropy(0.1))
    >>> @jax.jit
    ... def move(players):
    ...     slopes = own_gradients(f, g, players)
    ...     return optax.apply_updates(players, rule.update(slopes, rule.init(players), players)[0])
    >>> for _ in range(100):
    ...     players = move(players)
    >>> bool(jnp.abs(players[0] - 0.1) < 1e-3)
    True
"""

from deqzoo.games.competitive_mirror_descent import competitive_mirror_descent, own_gradients
from deqzoo.games.multipliers import with_multipliers
from deqzoo.games.potential import Box, Entropy, LogDeterminant, Potential, Quadratic

__all__ = [
    "Box",
    "Entropy",
    "LogDeterminant",
    "Potential",
    "Quadratic",
    "competitive_mirror_descent",
    "own_gradients",
    "with_multipliers",
]
