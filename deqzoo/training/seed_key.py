"""The random key of a seed, all of whose digits count."""

from __future__ import annotations

from typing import Any

import jax

_WORD = 32  # bits of a seed that JAX reads; it drops the others without a word


def seed_key(seed: Any) -> jax.Array:
    """The key of a seed of any size: its words of 32 bits, folded in one after another.

    Args:
        seed: a whole number >= 0, or an array that holds one below 2**32.

    Example:
        >>> import jax
        >>> from deqzoo.training.seed_key import seed_key
        >>> bool(seed_key(7) == jax.random.key(7)), bool(seed_key(7 + 2**32) == seed_key(7))
        (True, False)
    """
    if isinstance(seed, jax.Array):
        return jax.random.key(seed)
    key = jax.random.key(seed % 2**_WORD)
    while seed := seed >> _WORD:
        key = jax.random.fold_in(key, seed % 2**_WORD)
    return key
