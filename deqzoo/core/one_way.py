"""Tangents without a transpose: forward mode works, reverse mode is refused in a sentence."""

from __future__ import annotations

from typing import NoReturn

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from deqzoo.core.trees import State

_one_way = Primitive("one_way")
_one_way.def_impl(lambda leaf: leaf)
_one_way.def_abstract_eval(lambda kind: kind)
mlir.register_lowering(_one_way, lambda _, leaf: [leaf])
batching.defvectorized(_one_way)


def one_way(tangent: State) -> State:
    """The tangent as it is, of a map that JAX differentiates forwards only.

    Raises:
        ValueError: where it is transposed, as reverse mode does.

    Example:
        >>> import jax
        >>> from deqzoo.core.one_way import one_way
        >>> float(jax.jvp(one_way, (1.0,), (2.0,))[1])
        2.0
    """
    return jax.tree.map(_one_way.bind, tangent)


def _refuse(*_) -> NoReturn:
    raise ValueError(
        "reverse mode (jax.grad, jax.vjp) needs products with the transposed Jacobian of the map, "
        "and the map contains a lax.while_loop, or a loop of a traced number of steps, which JAX "
        "differentiates forwards only: write it as a lax.scan or a lax.fori_loop of fixed length, "
        "or use forward mode (jax.jvp, jax.jacfwd)"
    )


ad.deflinear(_one_way, _refuse)
