"""A state of complex numbers as one of real numbers: a map on C^m is one on R^2m."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from deqzoo.core.trees import State


class Parts(NamedTuple):
    """A complex array in two real ones of its shape."""

    real: Any
    imag: Any


def has_complex(state: State) -> bool:
    """Whether some array of the state is complex."""
    return any(jnp.iscomplexobj(leaf) for leaf in jax.tree.leaves(state))


def parts(state: State) -> State:
    """The state with ``Parts`` in the place of every complex array.

    Example:
        >>> import jax.numpy as jnp
        >>> from deqzoo.core import reals
        >>> reals.parts(jnp.array([1 + 2j])).imag.tolist()
        [2.0]
    """
    return jax.tree.map(
        lambda leaf: Parts(jnp.real(leaf), jnp.imag(leaf)) if jnp.iscomplexobj(leaf) else leaf,
        state,
    )


def joined(state: State) -> State:
    """Undo ``parts``."""
    is_pair = lambda node: isinstance(node, Parts)  # noqa: E731
    return jax.tree.map(
        lambda node: lax.complex(*node) if is_pair(node) else node, state, is_leaf=is_pair
    )
