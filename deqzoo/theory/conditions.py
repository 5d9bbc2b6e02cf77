"""The inequalities of the convergence theorems, as functions of the radius δ.

With r_w = ‖W‖₂ + δ, γ = L/(1 - L r_w), α = ‖a‖₂ + δ, κ = 1 - 1/√2 and C₂ = γ²α²(B² + ξ²):

    (A1) δ >= (4/λ_0) max(γαB, B) ‖r_0‖
    (A2) κ√λ_0 >= (4/λ_0) γ²α(B² + ξ²) ‖r_0‖
    (A3) λ_0 >= 8 C₂

imply Φ(τ) <= (1 - ηλ_0/2)^τ Φ(0) for 0 < η <= λ_0/(4 (C₂ + B²)²).

*Theorem A* (deqzoo) takes the measured B = ‖Z_0‖₂ + κ√λ_0 and ξ = ‖X‖₂. The *a-priori* form, which
for the rectifier is Condition 1 of Ling et al. (arXiv 2205.13814) with the factor of (9) corrected
from 4 to 8, takes B = (L r_u ‖X‖_F + |φ(0)| √(mn))/(1 - L r_w), r_u = ‖U‖₂ + δ and ξ = ‖X‖_F, and
also asks δ >= (4/λ_0) γαξ ‖r_0‖.

With k outputs, ŷ = Az, the proof holds line by line with ‖A‖₂ for ‖a‖₂ and Frobenius norms of the
residual.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

KAPPA = 1 - 1 / math.sqrt(2)
_GRID = 4000
_FINE, _ZOOMS = 64, 7  # radii within a step of the grid, and how often: to 12 digits
_WIDEST = 1e12
_ROOM = 1 - 1e-12  # an inequality counts only if it holds beyond rounding

Radii = Float[np.ndarray, " grid"]


@dataclass(frozen=True)
class Measured:
    """What the theorems need to know of a network at initialisation; bounds on the safe side.

    Attributes:
        examples: n.
        dimension: d.
        width: m.
        lipschitz: L.
        offset: |φ(0)|.
        norm_w: ‖W‖₂, not below the truth.
        norm_u: ‖U‖₂, not below the truth.
        norm_a: ‖a‖₂, not below the truth.
        norm_z: ‖Z‖₂, not below the truth.
        lambda_0: λ_min(G), not above the truth.
        norm_x: ‖X‖₂.
        frobenius_x: ‖X‖_F.
        error: ‖ŷ - y‖.
        labels: ‖y‖.
    """

    examples: int
    dimension: int
    width: int
    lipschitz: float
    offset: float
    norm_w: float
    norm_u: float
    norm_a: float
    norm_z: float
    lambda_0: float
    norm_x: float
    frobenius_x: float
    error: float
    labels: float

    def without_readout(self, label_scale: float = 1.0) -> Measured:
        """The same network with a = 0 and labels times ``label_scale``."""
        labels = self.labels * label_scale
        return replace(self, norm_a=0.0, error=labels, labels=labels)

    def widened(self, factor: float) -> Measured:
        """What the same scales are expected to give at ``factor`` times the width."""
        return replace(
            self,
            width=round(self.width * factor),
            lambda_0=self.lambda_0 * factor,
            norm_z=self.norm_z * math.sqrt(factor),
            norm_u=self.norm_u * math.sqrt(factor),
        )


@dataclass(frozen=True)
class Sides:
    """(have, need) of every inequality on a grid of radii, and the largest step."""

    sides: dict[str, tuple[Radii, Radii]]
    largest_step: Radii

    @property
    def worst(self) -> Radii:
        """The largest need/have: below 1 where all hold."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = [need / have for have, need in self.sides.values()]
        return np.max(np.where(np.isnan(ratios), np.inf, ratios), axis=0)


Form = Callable[[Measured, Radii], Sides]
# (numbers, λ_0, B, C₁) -> a bound of η Σ ‖r‖ over all steps, and the largest step
Rule = Callable[[Measured, float, Radii, Radii], tuple[Radii, Radii]]


def theorem_a(at: Measured, delta: Radii, rule: Rule | None = None) -> Sides:
    """The measured form (deqzoo); of another descent than full-batch by its rule."""
    size = np.full_like(delta, at.norm_z + KAPPA * math.sqrt(max(at.lambda_0, 0.0)))
    names = ("(A1) δ", "(A2) κ√λ_0", "(A3) λ_0")
    return _inequalities(at, delta, size, at.norm_x, names, False, rule or _full_batch)


def a_priori(at: Measured, delta: Radii) -> Sides:
    """Ling's form, with 8 in (9) and |φ(0)| for a general φ."""
    L, n, m = at.lipschitz, at.examples, at.width
    grown = L * (at.norm_u + delta) * at.frobenius_x + at.offset * math.sqrt(m * n)
    size = grown / (1 - L * (at.norm_w + delta))
    names = ("(7) δ", "(8) κ√λ_0", "(9) λ_0")
    sides = _inequalities(at, delta, size, at.frobenius_x, names, True, _full_batch)
    if at.lambda_0 > 0:
        sides = replace(sides, largest_step=np.minimum(sides.largest_step, 2 / at.lambda_0))
    return sides


def epochs(batches: int) -> Form:
    """Theorem A for epochs of so many mini-batches (deqzoo): ``theory.mini_batches``."""

    def rule(at: Measured, floor: float, size: Radii, change: Radii) -> tuple[Radii, Radii]:
        step = np.minimum(1 / (8 * change**2), 1 / (64 * math.sqrt(batches) * size**2 * change))
        return np.full_like(size, 4.2 * at.error) / floor, floor * step

    return lambda at, delta: theorem_a(at, delta, rule)


def cross_entropy(loss: float, until: float) -> Form:
    """Theorem A for cross-entropy, down to a loss (deqzoo): ``theory.cross_entropy``."""
    spent = log_expm1(loss) - log_expm1(until)

    def rule(at: Measured, floor: float, size: Radii, change: Radii) -> tuple[Radii, Radii]:
        step = floor / (2 * change**2)
        return 4 * math.sqrt(at.examples) * spent / floor + step * math.sqrt(loss), step

    return lambda at, delta: theorem_a(at, delta, rule)


def log_expm1(x: float) -> float:
    """Log(eˣ - 1), x > 0."""
    return x + math.log(-math.expm1(-x))


def _full_batch(at: Measured, floor: float, size: Radii, change: Radii) -> tuple[Radii, Radii]:
    return np.full_like(size, 4 * at.error) / floor, floor / (4 * change**2)


def _inequalities(
    at: Measured,
    delta: Radii,
    size: Radii,
    xi: float,
    names: tuple[str, ...],
    travel_of_u: bool,
    rule: Rule,
) -> Sides:
    gamma = at.lipschitz / (1 - at.lipschitz * (at.norm_w + delta))
    alpha = at.norm_a + delta
    spread = gamma**2 * (size**2 + xi**2)
    travel = np.maximum(gamma * alpha * size, size)
    if travel_of_u:
        travel = np.maximum(travel, gamma * alpha * xi)
    floor = max(at.lambda_0, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):  # λ_0 = 0 meets no inequality
        reach, step = rule(at, np.float64(floor), size, spread * alpha**2 + size**2)
    sides = (
        (delta, travel * reach),
        (np.full_like(delta, KAPPA * math.sqrt(floor)), spread * alpha * reach),
        (np.full_like(delta, floor), 8 * spread * alpha**2),
    )
    return Sides(dict(zip(names, sides, strict=True)), step)


def travel_of_u(at: Measured, delta: float) -> float:
    """(4/λ_0) γαξ ‖r_0‖ with ξ = ‖X‖₂: within it, and not within δ, Theorem A holds U."""
    gamma = at.lipschitz / (1 - at.lipschitz * (at.norm_w + delta))
    return 4 / at.lambda_0 * gamma * (at.norm_a + delta) * at.norm_x * at.error


def radii(at: Measured) -> Radii:
    """A geometric grid of δ with L(‖W‖₂ + δ) < 1; empty where L‖W‖₂ >= 1."""
    room = 1 / at.lipschitz - at.norm_w if at.lipschitz > 0 else _WIDEST
    if not 0 < room < math.inf:
        return np.empty(0)
    return np.geomspace(1e-12 * room, room, _GRID, endpoint=False)


def _zoom(grid: Radii, excess: Callable[[Radii], Radii]) -> float:
    """Where the excess is least, between the neighbours of the grid's best radius."""
    for _ in range(_ZOOMS):
        best = int(np.argmin(excess(grid)))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        grid = np.geomspace(low, high, _FINE)
    return float(grid[np.argmin(excess(grid))])


def best_radius(at: Measured, form: Form) -> tuple[float, bool]:
    """The smallest δ that meets every inequality, which allows the largest step.

    Returns:
        δ and True; or, where none does, the δ that comes closest and False. NaN without any δ.
    """
    grid = radii(at)
    if not len(grid):
        return math.nan, False
    good = np.flatnonzero(form(at, grid).worst <= _ROOM)
    if len(good) and good[0] == 0:
        return float(grid[0]), True
    high = float(grid[good[0]]) if len(good) else _zoom(grid, lambda d: form(at, d).worst)
    if form(at, np.array([high])).worst[0] > _ROOM:
        return high, False
    low = float(grid[grid < high][-1])
    for _ in range(60):
        middle = math.sqrt(low * high)
        holds = form(at, np.array([middle])).worst[0] <= _ROOM
        low, high = (low, middle) if holds else (middle, high)
    return high, True


def largest_label_scale(at: Measured, form: Form) -> float:
    """The largest c for which labels c·y can be certified with a zero readout; 0 if none can.

    (A1) and (A2) are proportional to ‖r_0‖ = c‖y‖; (A3) does not know the labels.
    """
    grid, at = radii(at), at.without_readout()
    if not len(grid) or at.labels == 0:
        return 0.0

    def scale(delta: Radii) -> Radii:
        first, second, third = form(at, delta).sides.values()
        with np.errstate(divide="ignore", invalid="ignore"):
            allowed = np.minimum(first[0] / first[1], second[0] / second[1])
        return np.where(third[1] <= _ROOM * third[0], np.nan_to_num(_ROOM * allowed), 0.0)

    return float(scale(np.array([_zoom(grid, lambda delta: -scale(delta))]))[0])


def largest_readout(at: Measured, form: Form) -> float:
    """The ‖a‖₂ above which (A3) fails whatever the labels; 0 if it always does."""
    grid, at = radii(at), replace(at, norm_a=0.0)
    if not len(grid):
        return 0.0

    def allowed(delta: Radii) -> Radii:
        have, need = list(form(at, delta).sides.values())[2]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.nan_to_num(delta * np.sqrt(have / need) - delta)  # need ~ (‖a‖ + δ)²

    return max(0.0, float(allowed(np.array([_zoom(grid, lambda delta: -allowed(delta))]))[0]))


def needed_width(at: Measured, form: Form) -> float:
    """An estimate of the width at which a zero readout would be certified with these labels.

    λ_0, ‖Z‖₂² and ‖U‖₂² grow in proportion to the width. Infinite if no width up to 10¹² times this
    one is enough.
    """
    factor = 1.0
    while factor <= _WIDEST:
        if best_radius(at.without_readout().widened(factor), form)[1]:
            return at.width * factor
        factor *= 2
    return math.inf
