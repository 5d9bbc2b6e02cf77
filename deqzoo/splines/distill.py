"""An activation as a spline of few knots that is nowhere steeper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Float

from deqzoo.activation.contract import Activation
from deqzoo.activation.learnable import Learnable
from deqzoo.activation.piecewise_linear import PiecewiseLinear
from deqzoo.settings import In, fitted
from deqzoo.splines.sup_error import REACH, sup_error, tail_error
from deqzoo.splines.tails import Tails, tails

Interval = tuple[float, float]

_NEAR, _PANELS = 20.0, 10_000
_ROUNDS = 30  # halvings of the logarithm of the error


@dataclass(frozen=True)
class Distilled:
    """A spline s in place of φ, and how far they are apart.

    Attributes:
        of: φ.
        spline: s; its slopes lie in those that φ declares.
        error: a bound of |φ - s| wherever ``where`` says, proved from the bounds of φ' and φ''.
        where: the interval.
        tail: the largest |φ - s| found outside, up to |x| = 1e8; measured, not proved.
    """

    of: Activation
    spline: PiecewiseLinear
    error: float
    where: Interval
    tail: float


def distill(activation: Activation, knots: int, interval: Interval | None = None) -> Distilled:
    """A spline whose pieces are secants of φ, with knots where φ bends.

    Of a φ of straight pieces, such as a learned spline, knots are left out one by one, always the
    one that is missed least. Of any other the kinks are knots; the others share ∫ √|φ''| equally,
    which makes the errors h²|φ''|/8 of short secants equal and the largest of order 1/knots². A
    secant has a mean of φ' as its slope, so that s is nowhere steeper than φ. Outside its knots s
    has the slopes of the lines that φ approaches; the outermost knots lie where what φ still
    changes against them is as large as the error between.

    Args:
        activation: φ.
        knots: at most so many.
        interval: knots are spread inside it and the outermost secants, which end with it, go on:
            for a φ that approaches no line, as sin, or where only this interval matters.

    Raises:
        ValueError: φ is learnable or a line, has more kinks than there are to be knots, or
            approaches no line and no interval is given.

    References:
        Equal shares of √|φ''| are how free-knot approximation by lines is done; the tails, the
        bound of the slopes and the proof of the error: deqzoo.

    Example:
        >>> import activations
        >>> from deqzoo.splines import distill
        >>> found = distill(activations.get("tanh"), knots=8, interval=(-4.0, 4.0))
        >>> round(found.error, 4), found.spline.lipschitz <= 1
        (0.0185, True)
    """
    knots = fitted("knots", knots, Annotated[int, In("[2, 1000]")])
    _require_ordinary(activation, knots)
    if interval is None:
        spline = _with_tails(activation, knots, tails(activation))
    else:
        interval = _ordered(interval)
        edges = _spread(activation, *interval, knots + 1)
        edges = edges if _is_bent(activation) else _thinned(activation, edges, knots + 2)
        spline = _secants(activation, edges, None)
    where = interval or (-REACH, REACH)
    tail = tail_error(activation, spline, where)
    return Distilled(activation, spline, sup_error(activation, spline, where), where, tail)


def _require_ordinary(activation: Activation, knots: int) -> None:
    if isinstance(activation, Learnable):
        raise ValueError(f"{activation} is learnable: freeze it, and distill what it has become")
    if activation.is_affine:
        raise ValueError(f"{activation} is a line: there is nothing to put knots on")
    needed = len(activation.kinks) + 2
    if _is_bent(activation) and needed > knots:
        raise ValueError(
            f"expected at least {needed} knots for {activation}, got {knots}: its kinks must be "
            "knots, and what bends between or outside them takes two more"
        )


def _is_bent(activation: Activation) -> bool:
    return bool(_bends(activation, -_NEAR, _NEAR)[1][-1] > 0)


def _ordered(interval: Interval) -> Interval:
    low, high = fitted("interval", tuple(interval), tuple[float, ...])
    if not -REACH <= low < high <= REACH:
        raise ValueError(f"expected an interval in [-{REACH:g}, {REACH:g}], got {interval}")
    return low, high


def _with_tails(activation: Activation, knots: int, ends: Tails) -> PiecewiseLinear:
    """The error of the tails and that between them balanced by bisection."""
    if not _is_bent(activation):
        return _secants(activation, _thinned(activation, np.array(activation.kinks), knots), ends)
    low, high = np.log(1e-12), np.log(1e3)
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        left, right = ends.within(np.exp(middle))
        pieces = max(1, knots - 1 - len(activation.kinks))
        share = _bends(activation, left, right)[1][-1] / pieces
        low, high = (middle, high) if share**2 / 8 > np.exp(middle) else (low, middle)
    left, right = ends.within(np.exp(high))
    return _secants(activation, _spread(activation, left, right, knots - 1), ends)


def _thinned(
    activation: Activation, points: Float[np.ndarray, " points"], count: int
) -> Float[np.ndarray, " count"]:
    """So many of the points where φ turns, its ends among them: the rest are left out one by one.

    Each time the one whose secant, over all that are left out there, misses φ least.
    """
    values, kept = activation.in_float64(points), [*range(len(points))]

    def missed(i: int) -> float:
        ends = [kept[i - 1], kept[i + 1]]
        between = slice(ends[0], ends[1] + 1)
        line = np.interp(points[between], points[ends], values[ends])
        return float(np.max(np.abs(values[between] - line)))

    while len(kept) > count:
        kept.pop(min(range(1, len(kept) - 1), key=missed))
    return points[kept]


def _bends(activation: Activation, left: float, right: float) -> tuple[np.ndarray, np.ndarray]:
    """Points of an interval, and ∫ √|φ''| up to each of them."""
    x = np.linspace(left, right, _PANELS + 1)
    bend = np.abs(np.diff(activation.slope_in_float64((x[:-1] + x[1:]) / 2))) / (x[1] - x[0])
    kinks = np.array(activation.kinks)
    near = np.any(np.abs(x[1:-1, None] - kinks) < 2 * (x[1] - x[0]), axis=1)
    root = np.sqrt(np.where(near, 0.0, bend)) * (x[1] - x[0])
    return x, np.concatenate([[0.0], np.cumsum(root), [np.sum(root)]])


def _spread(activation: Activation, left: float, right: float, pieces: int) -> np.ndarray:
    """The ends of an interval, the kinks inside, and points that share ∫ √|φ''| between them."""
    kinks = np.array([kink for kink in activation.kinks if left < kink < right])
    x, sums = _bends(activation, left, right)
    count = pieces - len(kinks)
    inner = np.interp(np.linspace(0, sums[-1], count + 1)[1:-1], sums, x) if sums[-1] else kinks
    return np.unique(np.concatenate([[left, right], kinks, inner]))


def _secants(
    activation: Activation, edges: Float[np.ndarray, " edges"], ends: Tails | None
) -> PiecewiseLinear:
    """Through φ at the edges; outside goes the outermost secant on, or a line of the tails."""
    low, high = activation.slope
    values = activation.in_float64(edges)
    slopes = np.clip(np.diff(values) / np.diff(edges), low, high)
    if ends is None:
        edges, inner, values = edges[1:-1], slopes, values[1:-1]
    else:
        inner = np.concatenate([[ends.left], slopes, [ends.right]])
    spline = PiecewiseLinear(tuple(edges.tolist()), tuple(inner.tolist()))
    offset = float(values[0] - spline.in_float64(edges[0])) if len(edges) else 0.0
    return PiecewiseLinear(spline.knots, spline.slopes, offset)
