"""Convex quadratic programs by interior points."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Step = tuple[np.ndarray, np.ndarray, np.ndarray]

_ROUNDS, _GOAL, _SHARE = 100, 1e-13, 0.99


def interior_point(
    P: Float[np.ndarray, "n n"],
    q: Float[np.ndarray, " n"],
    G: Float[np.ndarray, "m n"],
    h: Float[np.ndarray, " m"],
) -> Float[np.ndarray, " m"]:
    """The multipliers of min ½xᵀPx + qᵀx with Gx <= h, P positive semidefinite.

    Mehrotra's predictor and corrector; ends where complementarity has fallen to rounding.
    """
    x, s, w = np.zeros(len(q)), np.ones(len(h)), np.ones(len(h))
    for _ in range(_ROUNDS):
        dual, primal = P @ x + q + G.T @ w, G @ x + s - h
        gap = s @ w / len(h)
        if gap <= _GOAL * max(1.0, float(np.max(np.abs(q)))):
            break
        K = P + (G.T * (w / s)) @ G

        now = K, G, dual, primal, s, w
        _, ds, dw = _step(*now, s * w)
        reach = _largest(s, ds), _largest(w, dw)
        after = (s + reach[0] * ds) @ (w + reach[1] * dw) / len(h)
        dx, ds, dw = _step(*now, s * w + ds * dw - (after / gap) ** 3 * gap)
        alpha = _SHARE * min(_largest(s, ds), _largest(w, dw))
        x, s, w = x + alpha * dx, s + alpha * ds, w + alpha * dw
    return w


def _step(K, G, dual, primal, s, w, centre) -> Step:
    """Newton's step for x, s and w, with sw to change by -centre."""
    back = G.T @ ((w * primal - centre) / s)
    dx = np.linalg.solve(K, -dual - back)
    ds = -primal - G @ dx
    return dx, ds, -(centre + w * ds) / s


def _largest(v: np.ndarray, dv: np.ndarray) -> float:
    """How far v may move along dv and stay positive, at most 1."""
    falls = dv < 0
    return min(1.0, float(np.min(-v[falls] / dv[falls], initial=1 / _SHARE)))
