"""An equilibrium proved near a computed state, after the solve: Newton-Kantorovich, in float64."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from deqzoo.activation.contract import Activation

_EPS = float(np.finfo(np.float64).eps)
_VALUES = 2**21  # of the Jacobians held at a time
_ULPS = 16.0  # roundings that a value of φ or φ' may be off by


class Proved(NamedTuple):
    """What is proved of each state, in the maximum norm.

    Attributes:
        holds: whether there is exactly one equilibrium within ``radius`` of the state.
        radius: NaN where nothing is proved.
        h: β c ‖W‖² η, to be at most 1/2.
    """

    holds: Bool[np.ndarray, " batch"]
    radius: Float[np.ndarray, " batch"]
    h: Float[np.ndarray, " batch"]


def prove(
    activation: Activation,
    W: Float[np.ndarray, "n n"],
    u: Float[np.ndarray, "batch n"],
    z: Float[np.ndarray, "batch n"],
) -> Proved:
    """Exactly one solution of z = φ(Wz + u) near each given z, if h = β c ‖W‖² η <= 1/2.

    Of F(z) = z - φ(Wz + u) the derivative I - DW changes by at most c ‖W‖² a unit, c the curvature
    of φ. With R a computed inverse and q = ‖I - R(I - DW)‖ < 1, β = ‖R‖/(1 - q) bounds the inverse
    and η = ‖RF(z)‖/(1 - q) the Newton step; then one solution lies within
    r = 2η/(1 + √(1 - 2h)). Roundings are enclosed: those of sums and products by their count, those
    of φ and φ' as 16 units in the last place each, which is assumed. All norms are maximum norms.

    An activation without a curvature has to be linear between its kinks, as measured, and no kink
    may be crossed within r: there c = 0.

    Args:
        activation: φ.
        W: of all examples.
        u: of each.
        z: states of any accuracy.

    Raises:
        ValueError: φ bends between kinks and declares no curvature.

    References:
        Kantorovich's theorem: Ortega and Rheinboldt, "Iterative Solution of Nonlinear Equations in
        Several Variables" (1970), 12.6.2; Rump, "Verification methods", Acta Numerica 19 (2010),
        for roundings.

    Example:
        >>> import numpy as np, activations
        >>> from deqzoo.analysis.kantorovich import prove
        >>> W, u, z = np.array([[0.5]]), np.array([[0.3]]), np.array([[0.512]])
        >>> found = prove(activations.get("tanh"), W, u, z)  # the equilibrium is 0.50083
        >>> bool(found.holds[0]), bool(0.01116 < found.radius[0] < 0.0112)
        (True, True)
    """
    if not np.isfinite(activation.curvature):
        _require_linear_pieces(activation)
    block = max(1, _VALUES // max(W.size, 1))
    starts = range(0, max(len(z), 1), block)
    parts = [_proved(activation, W, u[k : k + block], z[k : k + block]) for k in starts]
    return Proved(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _proved(activation: Activation, W: Any, u: Any, z: Any) -> Proved:
    """``prove``, of so many examples that their Jacobians fit into memory."""
    is_piecewise = not np.isfinite(activation.curvature)
    c = 0.0 if is_piecewise else activation.curvature
    with np.errstate(all="ignore"):
        at = _evaluated(activation, W, u, z, c)
        beta, eta = _factors(at, W)
        rows = np.sum(np.abs(W), axis=1) * (1 + len(W) * _EPS)  # the largest is the norm of W
        h = beta * c * np.max(rows) ** 2 * eta * (1 + 16 * _EPS)
        radius = 2 * eta / (1 + np.sqrt(np.maximum(1 - 2 * h, 0))) * (1 + 16 * _EPS)
        holds = np.isfinite(radius) & (h <= 0.5)
        if is_piecewise:
            holds &= _is_within_a_piece(activation, at, rows * radius[:, None])
    return Proved(holds, np.where(holds, radius, np.nan), h)


class _Evaluated(NamedTuple):
    """Computed numbers, each with a bound of what it is off by.

    Attributes:
        y: Wz + u.
        y_off: of that.
        residual: F(z).
        residual_off: of that.
        slope: φ'(y).
        slope_off: of that.
    """

    y: Float[np.ndarray, "batch n"]
    y_off: Float[np.ndarray, "batch n"]
    residual: Float[np.ndarray, "batch n"]
    residual_off: Float[np.ndarray, "batch n"]
    slope: Float[np.ndarray, "batch n"]
    slope_off: Float[np.ndarray, "batch n"]


def _evaluated(activation: Activation, W: Any, u: Any, z: Any, c: float) -> _Evaluated:
    y = z @ W.T + u
    y_off = (len(W) + 2) * _EPS * (np.abs(z) @ np.abs(W).T + np.abs(u))
    image, slope = activation.in_float64(y), activation.slope_in_float64(y)
    residual = z - image
    image_off = activation.lipschitz * y_off + _ULPS * _EPS * np.abs(image)
    slope_off = c * y_off + _ULPS * _EPS * np.abs(slope)
    return _Evaluated(y, y_off, residual, image_off + _EPS * np.abs(residual), slope, slope_off)


def _factors(at: _Evaluated, W: Float[np.ndarray, "n n"]) -> tuple[np.ndarray, np.ndarray]:
    """β and η; not finite where q < 1 is not proved."""
    n = len(W)
    J = np.eye(n) - at.slope[:, :, None] * W
    R = _inverses(J)
    sizes = np.abs(R)
    J_off = at.slope_off[:, :, None] * np.abs(W) + 2 * _EPS * np.abs(J)
    product = np.abs(np.eye(n) - R @ J) + sizes @ (J_off + 2 * (n + 2) * _EPS * np.abs(J))
    q = np.max(np.sum(product, axis=2), axis=1) * (1 + n * _EPS)
    step_off = at.residual_off + (n + 2) * _EPS * np.abs(at.residual)
    step = np.abs(_applied(R, at.residual)) + _applied(sizes, step_off)
    left = np.where(q < 1, (1 - q) * (1 - 8 * _EPS), np.nan)
    beta = np.max(np.sum(sizes, axis=2), axis=1) * (1 + n * _EPS) / left
    return beta, np.max(step, axis=1) * (1 + n * _EPS) / left


def _applied(matrices: Any, vectors: Any) -> np.ndarray:
    return np.einsum("bij,bj->bi", matrices, vectors)


def _inverses(matrices: Float[np.ndarray, "batch n n"]) -> Float[np.ndarray, "batch n n"]:
    """Computed inverses; NaN of what is singular or not finite."""
    found = np.full_like(matrices, np.nan)
    for k in np.flatnonzero(np.all(np.isfinite(matrices), axis=(1, 2))):
        try:
            found[k] = np.linalg.inv(matrices[k])
        except np.linalg.LinAlgError:
            continue
    return found


def _is_within_a_piece(
    activation: Activation, at: _Evaluated, reach: Float[np.ndarray, "batch n"]
) -> Bool[np.ndarray, " batch"]:
    """Whether no entry of Wz + u comes to a kink within the radius."""
    kinks = np.array(activation.kinks, np.float64)
    nearest = np.min(np.abs(at.y[:, :, None] - kinks), axis=2)
    return np.all(nearest > (reach + at.y_off) * (1 + 8 * _EPS), axis=1)


def _require_linear_pieces(activation: Activation) -> None:
    """By φ' at points between kinks, and beyond the outer ones."""
    kinks = np.sort(np.array(activation.kinks, np.float64))
    edges = np.concatenate([[kinks[0] - 1e3], kinks, [kinks[-1] + 1e3]]) if len(kinks) else []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = low + (high - low) * np.linspace(0.001, 0.999, 257)
        slopes = activation.slope_in_float64(inside)
        if not np.ptp(slopes) <= 1e-12 * max(activation.lipschitz, 1e-300):
            break
    else:
        if len(kinks):
            return
    raise ValueError(
        f"{activation} declares no finite curvature and is not linear between its kinks: nothing "
        "bounds how fast the Jacobian changes"
    )
