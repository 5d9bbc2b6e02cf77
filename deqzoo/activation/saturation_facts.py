"""Whether an activation that says it saturates rises, bends down and stays below its supremum."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from deqzoo.activation.fact import Fact
from deqzoo.activation.samples import Samples

_TOLERANCE = 1e-12
_NEAR = 1e-6  # how near φ must come to its supremum at 1e8


def saturation_facts(samples: Samples) -> Iterator[Fact]:
    """Φ' >= 0 and never growing on [0, ∞), and sup φ; nothing where it is not declared."""
    declared = samples.activation.saturation
    if declared is None:
        return
    x = np.concatenate(samples.parts)
    order = np.argsort(x)
    values, slopes, _ = np.concatenate(samples.values, axis=1)[:, order[x[order] >= 0]]
    slack = _TOLERANCE * max(1.0, samples.activation.lipschitz)
    growth = float(np.max(np.diff(slopes)))
    concave = bool(np.all(slopes >= -slack)) and growth <= slack
    shown = "so" if concave else f"φ' falls to {np.min(slopes):.3g}, grows by {growth:.3g}"
    yield Fact("concave, not falling, x >= 0", "so", shown, concave)
    reached = float(np.max(values))
    within = _NEAR * max(1.0, abs(declared))
    holds = math.isfinite(declared) and -within <= reached - declared <= slack
    yield Fact("saturation", declared, reached, holds)
