"""Slopes, curvature and kinks: the declared ones beside the extremes and jumps that are found."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from deqzoo.activation.fact import Fact
from deqzoo.activation.jumps import jumps
from deqzoo.activation.samples import FARTHEST, Samples, rounding
from deqzoo.activation.turns import turns

_ROUNDS = 3  # of 2,000 times finer points around the best one
_TOLERANCE = 1e-12
_SAME = 2e-6  # within which a kink is the declared one


def bound_facts(samples: Samples) -> Iterator[Fact]:
    """The range of φ', sup |φ''|, and the places of all jumps of φ, φ', φ'' and φ'''."""
    activation = samples.activation
    breaks, bends, twists = jumps(samples)
    low, high, bend = _extremes(samples)
    if breaks:
        yield Fact("continuity", "continuous", f"φ jumps at x = {breaks[0]:g}", False)
    yield _bound("slope infimum", activation.slope[0], low)
    yield _bound("slope supremum", activation.slope[1], high)
    if bends:
        declared, shown = activation.curvature, f"inf (φ' jumps at x = {bends[0]:g})"
        yield Fact("curvature", declared, shown, math.isinf(declared))
    else:
        yield _bound("curvature", activation.curvature, bend)
    yield from _slopes_at_kinks(samples)
    yield _kink_fact(activation.kinks, sorted({*breaks, *bends, *twists, *turns(samples)}))


def _bound(name: str, declared: float, measured: float) -> Fact:
    """A bound holds if it is tight: neither exceeded nor missed by more than 1e-12."""
    holds = math.isclose(declared, measured, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return Fact(name, declared, measured, holds)


def _slopes_at_kinks(samples: Samples) -> Iterator[Fact]:
    """Where φ is not smooth JAX may take any slope, but none that is declared impossible."""
    activation = samples.activation
    (least, most), slack = activation.slope, _TOLERANCE * max(1.0, activation.lipschitz)
    for x in activation.kinks:
        slope = float(samples(np.array([x]))[1, 0])
        if not least - slack <= slope <= most + slack:
            named = f"in [{least:.15g}, {most:.15g}]"
            yield Fact("φ' at kinks", named, f"{slope:.6g} at x = {x:g}", False)


def _kink_fact(declared: tuple[float, ...], found: list[float]) -> Fact:
    missing = [x for x in found if all(abs(x - kink) > _SAME * max(1, abs(x)) for kink in declared)]
    shown = f"also x = {missing[0]:g}" if missing else str(declared)
    return Fact("kinks", str(declared), shown, not missing)


def _extremes(samples: Samples) -> tuple[float, float, float]:
    """(inf φ', sup φ', sup |φ''|); the first two also where φ' tends to them far away."""
    scores = [
        _scores(samples, x, values) for x, values in zip(samples.parts, samples.values, strict=True)
    ]
    low, high, bend = (_largest(samples, row, [part[row] for part in scores]) for row in range(3))
    least, most = _towards_infinity(samples)
    declared = samples.activation.slope
    return min(-low, max(least, declared[0])), max(high, min(most, declared[1])), bend


def _towards_infinity(samples: Samples) -> tuple[float, float]:
    """The range of φ' where x is huge and the slope is finite: no more than a limit is read."""
    x = np.geomspace(FARTHEST, 1e30, 200)
    slopes = samples(np.concatenate([-x, x]))[1]
    slopes = slopes[np.isfinite(slopes)]
    return (float(np.min(slopes)), float(np.max(slopes))) if len(slopes) else (math.inf, -math.inf)


def _largest(samples: Samples, row: int, scores: list[np.ndarray]) -> float:
    """The best of the grid, then of ever finer ones around it."""
    part = int(np.argmax([np.max(each) for each in scores]))
    x, found = samples.parts[part], scores[part]
    for _ in range(_ROUNDS):
        best = int(np.argmax(found))
        x = np.linspace(x[max(best - 1, 0)], x[min(best + 1, len(x) - 1)], 4001)
        refined = _scores(samples, x, samples(x))[row]
        found = refined if np.max(refined) > -math.inf else found[[best]]
    return max(float(np.max(found)), max(float(np.max(each)) for each in scores))


def _scores(samples: Samples, x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """-φ', φ' and |φ''|; -inf within rounding of a kink."""
    scores = np.stack([-values[1], values[1], np.abs(values[2])])
    for kink in samples.activation.kinks:
        scores[:, np.abs(x - kink) < 3 * rounding(kink)] = -np.inf
    return scores
