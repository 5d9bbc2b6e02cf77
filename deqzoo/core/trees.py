"""Arithmetic on states: pytrees of arrays whose axis 0 is the batch.

Reductions run per example and in at least float32, so that no example sees its neighbours and a
bfloat16 state has an honest norm.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Shaped

State = Any


def batch_size(state: State) -> Any:
    """The common length of axis 0: an int, or a symbol while JAX exports for any batch size.

    Raises:
        ValueError: no leaf, a leaf of rank 0, or leaves that disagree.
    """
    leaves = jax.tree_util.tree_leaves_with_path(state)
    if not leaves:
        raise ValueError("the state has no array: expected a pytree with at least one array leaf")
    scalars = [jax.tree_util.keystr(path) or "the state" for path, leaf in leaves if leaf.ndim == 0]
    if scalars:
        raise ValueError(
            f"{scalars[0]} is a scalar: axis 0 of every leaf is the batch; "
            "write z0[None] for one example"
        )
    sizes = {leaf.shape[0] for _, leaf in leaves}
    if len(sizes) > 1:
        shapes = ", ".join(
            f"{jax.tree_util.keystr(path) or 'z'}: {leaf.shape}" for path, leaf in leaves
        )
        raise ValueError(
            f"axis 0 of every leaf is the batch and must have one length, got {shapes}"
        )
    return sizes.pop()


def example_size(state: State) -> int:
    """How many numbers an example has."""
    return sum(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(state))


def subtract(a: State, b: State) -> State:
    """Leafwise a - b."""
    return jax.tree.map(jnp.subtract, a, b)


def add(a: State, b: State) -> State:
    """Leafwise a + b."""
    return jax.tree.map(jnp.add, a, b)


def scale(factor: Float[Array, " batch"], state: State) -> State:
    """Multiply every example by its own factor, keeping each leaf's dtype."""

    def scaled(leaf):
        wide = reduction_dtype((leaf, factor))
        product = leaf.astype(wide) * per_example(factor, leaf).astype(wide)
        return product.astype(leaf.dtype)

    return jax.tree.map(scaled, state)


def select(mask: Bool[Array, " batch"], a: State, b: State) -> State:
    """Example i of ``a`` where ``mask[i]``, of ``b`` elsewhere; no NaN of the other can leak."""
    return jax.tree.map(lambda x, y: jnp.where(per_example(mask, x), x, y), a, b)


def or_nan(mask: Bool[Array, " batch"], state: State) -> State:
    """Example i where ``mask[i]``, NaN elsewhere; where there is none no NaN is ever made."""
    return jax.tree.map(lambda leaf: jnp.where(per_example(mask, leaf), leaf, jnp.nan), state)


def full_like(state: State, value: float) -> State:
    """The same number everywhere, in the shapes and dtypes of ``state``."""
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, value), state)


def per_example(values: Shaped[Array, " batch"], leaf: Array) -> Array:
    """Reshape one value per example so that it broadcasts against ``leaf``."""
    return values.reshape(values.shape + (1,) * (leaf.ndim - 1))


def norm(state: State) -> Float[Array, " batch"]:
    """Euclidean norm of every example over all leaves, in at least float32.

    Right for the smallest and the largest numbers too, for which the state is read twice.
    """
    unit = magnitude(state)
    return unit * jnp.sqrt(squared_norm(scale(1 / unit, state)))


def squared_norm(
    state: State, factor: Float[Array, " batch"] | None = None
) -> Float[Array, " batch"]:
    """The sum of squares as they are, or times a factor, differentiable at zero.

    In float32 a state below 1e-19 counts as zero (1e-154 in float64), unless the factor brings the
    squares back within reach.
    """
    dtype = reduction_dtype(state)

    def of_leaf(leaf):
        wide = leaf.astype(dtype)
        if factor is None:
            squares = wide * wide
        else:  # of a constant state the compiler would square the entries first, were they signed
            squares = jnp.abs(per_example(factor, leaf) * wide) * jnp.abs(wide)
        return jnp.sum(squares, axis=tuple(range(1, leaf.ndim)))

    return functools.reduce(jnp.add, map(of_leaf, jax.tree.leaves(state)))


def magnitude(state: State) -> Float[Array, " batch"]:
    """A power of two near the largest entry of every example; 1 if that is 0 or not finite.

    Dividing by it is exact and brings the example to where squares neither underflow nor overflow.
    """
    size = largest(lax.stop_gradient(state))
    usable = (size > 0) & jnp.isfinite(size)
    limits = jnp.finfo(size.dtype)
    within = jnp.clip(size, limits.tiny, limits.max / 4)
    return lax.reduce_precision(jnp.where(usable, within, 1), limits.nexp, 0)


def largest(state: State) -> Float[Array, " batch"]:
    """The largest absolute value of every example, in at least float32; 0 of no numbers."""
    dtype = reduction_dtype(state)
    return functools.reduce(
        jnp.maximum, (_max_abs(leaf).astype(dtype) for leaf in jax.tree.leaves(state))
    )


def ravel(state: State) -> Float[Array, "batch size"]:
    """All leaves of an example side by side, in the common (at least float32) dtype."""
    dtype = reduction_dtype(state)
    rows = [
        leaf.reshape(leaf.shape[0], math.prod(leaf.shape[1:])).astype(dtype)
        for leaf in jax.tree.leaves(state)
    ]
    return rows[0] if len(rows) == 1 else jnp.concatenate(rows, axis=1)


def unravel(rows: Float[Array, "batch size"], like: State) -> State:
    """Undo ``ravel``: shapes and dtypes of ``like``."""
    leaves, treedef = jax.tree.flatten(like)
    sizes = [math.prod(leaf.shape[1:]) for leaf in leaves]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    parts = [
        rows[:, start : start + size].reshape(leaf.shape).astype(leaf.dtype)
        for leaf, start, size in zip(leaves, starts, sizes, strict=True)
    ]
    return jax.tree.unflatten(treedef, parts)


def reduction_dtype(state: State) -> jnp.dtype:
    """The widest dtype among the leaves, at least float32: norms and inner products live in it."""
    dtypes = [jnp.dtype(jnp.float32), *(leaf.dtype for leaf in jax.tree.leaves(state))]
    return max(dtypes, key=lambda dtype: dtype.itemsize)


def coarsest_eps(state: State) -> float:
    """Machine epsilon of the least precise leaf: no relative residual can be expected below it."""
    return max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(state))


def _max_abs(leaf: Array) -> Float[Array, " batch"]:
    return jnp.max(jnp.abs(leaf), axis=tuple(range(1, leaf.ndim)), initial=0)
