"""How far the values of an activation spread, for a read-out that sees any of them."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from deqzoo.activation.contract import Activation

_LEAST = 0.5  # a deviation of features that reads out well; relu has 0.58, tanh 0.63
_NODES = 100  # of a Gauss-Hermite rule: a start needs two digits, not those of the dual


@functools.lru_cache(maxsize=256)
def spread(activation: Activation) -> tuple[float, float]:
    """E φ(g) and the standard deviation of φ(g), g standard normal, to about two digits.

    Example:
        >>> import activations
        >>> from deqzoo.nn.spread import spread
        >>> [round(value, 3) for value in spread(activations.get("sigmoid"))]
        [0.5, 0.208]
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    with jax.ensure_compile_time_eval():
        values = np.asarray(activation(jnp.asarray(nodes, jnp.float32)), np.float64)
    mean = np.average(values, weights=weights)
    return float(mean), float(np.average((values - mean) ** 2, weights=weights) ** 0.5)


def read_out_spread(head: nnx.Linear, activation: Activation, *, centred: bool) -> None:
    """Scale A up where features φ(g) deviate by less than 1/2, and take their mean off.

    Without it a flat activation, such as sigmoid, begins with outputs that hardly depend on the
    input, and trains the slower. Others are left as they are.

    Args:
        head: A and c, as drawn.
        activation: φ.
        centred: the features have mean zero already.
    """
    mean, deviation = spread(activation)
    if not 0 < deviation < _LEAST:
        return
    head.kernel[...] *= _LEAST / deviation
    if head.bias is not None and not centred:
        head.bias[...] -= mean * head.kernel[...].sum(axis=0)
