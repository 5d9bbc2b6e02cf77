"""A batch spread over devices, each of which solves its own examples and stops by itself."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from deqzoo.core import trees

_AXIS = "examples"


def over_examples(
    fn: Callable[..., Any], devices: Sequence[Any] | None = None
) -> Callable[..., Any]:
    """(shared, *examples) -> fn(shared, *examples), every device with its share of the examples.

    A batch that is only *placed* on several devices keeps one loop for all: they wait for one
    another in every step. Here every device runs a loop of its own, and the only communication is
    one sum of the gradient of ``shared``. On a CPU it makes convolutions use more than one core:
    set ``jax.config.update("jax_num_cpu_devices", 2)`` before anything else. Call it under ``jit``.

    Args:
        fn: treats every example by itself; the batch is axis 0 of every array in ``examples`` and
            in its result. What it differentiates by goes into ``shared`` (any pytree).
        devices: by default all of this process. A batch that they do not divide goes to as many of
            them as do (the greatest common divisor); one device means a plain call.

    Raises:
        ValueError: an array of the result has no batch on axis 0.

    Example:
        >>> import jax, jax.numpy as jnp, deqzoo
        >>> from deqzoo.core import shards
        >>> def solve(weight, x):
        ...     fn = lambda z, args: jnp.tanh(args[0] * z + args[1])
        ...     return deqzoo.fixed_point(fn, jnp.zeros_like(x), (weight, x))
        >>> jax.jit(shards.over_examples(solve))(0.5, jnp.ones((4, 3))).value.shape
        (4, 3)
    """
    devices = tuple(jax.local_devices() if devices is None else devices)

    @functools.wraps(fn)
    def spread(shared: Any, *examples: Any) -> Any:
        batch = trees.batch_size(examples)
        count = math.gcd(batch, len(devices))
        if count == 1:
            return fn(shared, *examples)
        split = PartitionSpec(_AXIS)
        return jax.shard_map(
            functools.partial(_checked, fn, batch // count),
            mesh=Mesh(np.array(devices[:count]), (_AXIS,)),
            in_specs=(PartitionSpec(), *[split for _ in examples]),
            out_specs=split,
            check_vma=False,  # a loop's start (zeros) is equal on all devices, its end is not
        )(shared, *examples)

    return spread


def _checked(fn: Callable[..., Any], batch: int, shared: Any, *examples: Any) -> Any:
    result = fn(shared, *examples)
    for path, leaf in jax.tree_util.tree_leaves_with_path(result):
        if leaf.shape[:1] != (batch,):
            name = jax.tree_util.keystr(path) or "the result"
            raise ValueError(
                f"expected {batch} examples on axis 0 of {name}, got shape {leaf.shape}: reduce "
                "over examples, and keep traces of a solve, outside of over_examples"
            )
    return result
