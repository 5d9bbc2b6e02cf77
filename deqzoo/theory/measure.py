"""The numbers that the convergence theorems need, of a drawn network or as its width suggests."""

from __future__ import annotations

import math

import numpy as np

from deqzoo.core import spectral
from deqzoo.core.solution import Status
from deqzoo.theory.certificate import Condition
from deqzoo.theory.conditions import Measured
from deqzoo.theory.inputs import Inputs
from deqzoo.theory.limit import WideLimit
from deqzoo.theory.network import Network

_ROUNDING = 8 * float(np.finfo(float).eps)


def measure(
    network: Network, x: np.ndarray, y: np.ndarray
) -> tuple[Measured, Condition, np.ndarray]:
    """The numbers, the verdict on the solve, and ŷ - y."""
    act = network.activation
    Z, stats = network.equilibrium(x)
    norm_w = spectral.proved_norm(network.W)
    gain = act.lipschitz * norm_w
    converged = stats.status == Status.CONVERGED
    found = Condition(
        "equilibrium found for every input",
        bool(np.all(converged)),
        advice=f"{int(np.sum(~converged))} of {len(x)} solves failed: lower s_w",
    )
    # Of a contraction the residual, with the rounding it was measured with, bounds ‖Z - Z*‖_F;
    # without one nothing is certified anyway.
    residual = float(np.linalg.norm(stats.residual)) + rounding_of_the_map(network, x, Z)
    distance = residual / (1 - gain) if gain < 1 else residual
    values = np.linalg.svd(Z, compute_uv=False) if np.all(np.isfinite(Z)) else np.full(1, np.nan)
    rounding = _ROUNDING * max(Z.shape) * values[0] + distance
    smallest = max(0.0, float(values[-1]) - rounding) if len(x) <= network.width else 0.0
    error = Z @ network.a.T - y
    norm_a = _norm(network.a)
    measured = Measured(
        examples=len(x),
        dimension=x.shape[1],
        width=network.width,
        lipschitz=act.lipschitz,
        offset=abs(float(act.in_float64(0.0))),
        norm_w=norm_w,
        norm_u=_norm(network.U),
        norm_a=norm_a,
        norm_z=float(values[0] + rounding),
        lambda_0=float(smallest**2 * (1 - _ROUNDING)),
        norm_x=_norm(x),
        frobenius_x=float(np.linalg.norm(x)) * (1 + _ROUNDING * x.size**0.5),
        error=float(np.linalg.norm(error)) * (1 + _ROUNDING) + norm_a * rounding,
        labels=float(np.linalg.norm(y)),
    )
    return measured, found, error


def rounding_of_the_map(network: Network, x: np.ndarray, Z: np.ndarray) -> float:
    """How far the computed φ(Wz + Ux) can be from the true one, in Frobenius norm."""
    norm = np.linalg.norm
    products = norm(network.W) * norm(Z) + norm(network.U) * norm(x)
    terms = network.width + x.shape[1] + 2
    eps = float(np.finfo(float).eps)
    return float(terms * eps * network.activation.lipschitz * products + _ROUNDING * norm(Z))


def _norm(matrix: np.ndarray) -> float:
    """‖A‖₂ with room for the rounding of the decomposition."""
    return float(np.linalg.norm(matrix, 2)) * (1 + _ROUNDING * max(matrix.shape))


def expected(
    limit: WideLimit, inputs: Inputs, y: np.ndarray, width: int, smallest: float, largest: float
) -> Measured:
    """The numbers of a network of this width up to fluctuations of order m^(-1/2)."""
    d, labels = inputs.dimension, float(np.linalg.norm(y))
    floor = smallest - len(inputs) * _ROUNDING * largest
    outputs = limit.s_a**2 * float(np.sum(limit.variances(inputs.rows).square)) * y.shape[1]
    return Measured(
        examples=len(inputs),
        dimension=d,
        width=width,
        lipschitz=limit.activation.lipschitz,
        offset=abs(float(limit.activation.in_float64(0.0))),
        norm_w=2 * limit.s_w,
        norm_u=limit.s_u * (1 + math.sqrt(width / d)),
        norm_a=limit.s_a * (1 + math.sqrt(y.shape[1] / width)),
        norm_z=math.sqrt(width * largest),
        lambda_0=max(0.0, width * floor) if len(inputs) <= width else 0.0,
        norm_x=_norm(inputs.rows),
        frobenius_x=float(np.linalg.norm(inputs.rows)),
        error=math.sqrt(labels**2 + outputs),
        labels=labels,
    )
