"""The proximal operator against the equation that defines it."""

from __future__ import annotations

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from deqzoo.activation.contract import Activation
from deqzoo.activation.fact import Fact
from deqzoo.activation.samples import Samples

_STEP_SIZES = np.array([1e-2, 0.5, 1.0, 3.0, 100.0])[:, None]
_TOLERANCE = 1e-12


def prox_facts(samples: Samples) -> Iterator[Fact]:
    """Y = prox(u) where y = φ(y + (u - y)/α); the default solves this very equation.

    Of an activation that is none itself there is nothing to compare.
    """
    activation = samples.activation
    if not activation.is_prox or type(activation).prox is Activation.prox:
        return
    tails = np.geomspace(40, 1e6, 40)
    kinks = [*activation.kinks, *samples.constants]
    u = np.concatenate([np.linspace(-30, 30, 601), tails, -tails, kinks])[None]
    u = u + np.zeros_like(_STEP_SIZES)
    y = np.asarray(activation.prox(jnp.asarray(u), jnp.asarray(_STEP_SIZES)))
    if y.shape != u.shape:
        yield Fact("prox", f"shape {u.shape}", f"shape {y.shape}", False)
        return
    error = np.abs(y - activation.in_float64(y + (u - y) / _STEP_SIZES))
    error = error / (1 + np.abs(u)) * np.minimum(_STEP_SIZES, 1)
    row, i = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), error.shape)
    shown = f"differs by {error[row, i]:.3g} at u = {u[row, i]:g}, α = {_STEP_SIZES[row, 0]:g}"
    holds = bool(error[row, i] <= _TOLERANCE)
    yield Fact("prox", "y = φ(y + (u - y)/α)", "equal" if holds else shown, holds)
