"""Certify a wide DEQ: check every hypothesis with the actual numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from deqzoo import catalog
from deqzoo.activation.digits import at_most
from deqzoo.theory import conditions
from deqzoo.theory.bounds import gram_bounds
from deqzoo.theory.certificate import (
    THEOREM_A,
    WELL_POSED,
    Certificate,
    Theorem,
    compare,
)
from deqzoo.theory.error import TheoryError
from deqzoo.theory.inputs import as_float64, as_inputs
from deqzoo.theory.limit import WideLimit
from deqzoo.theory.measure import expected, measure
from deqzoo.theory.network import Network
from deqzoo.theory.prediction import TangentPrediction, predict
from deqzoo.theory.statements import (
    A_PRIORI,
    LING,
    are_finite,
    declared_bounds,
    descent_theorem,
    truong,
    well_posed,
)
from deqzoo.theory.theorem_network import TheoremNetwork

_LARGEST_KERNEL = 4096
_WIDEST = 1e15


def certify(
    subject: Network | TheoremNetwork | WideLimit | tuple,
    inputs: Any,
    targets: Any,
    *,
    width: int | None = None,
    predict_loss: bool = True,
) -> Certificate:
    """Check what is proved of full-batch gradient descent on ½‖ŷ - y‖² from this start.

    Theorem A (deqzoo's own, for any Lipschitz activation), Ling's Condition 1 with its factor
    corrected, Truong's hypotheses, and the uniqueness of the equilibrium are examined with the
    measured numbers, every rounding on the safe side: ‖W‖₂ by an upper bound proved with a Cholesky
    factorisation, λ_0 less the error of the equilibria. A hypothesis that fails says by what
    factor, and what would mend it. Nothing raises for data that fail: the line says so.

    Args:
        subject: a ``Network``, a model with ``network()``, or for an estimate before any draw a
            ``WideLimit`` or a tuple (activation, s_w, s_u, s_a) together with ``width``.
        inputs: (n, ...), all training examples.
        targets: real values (n,) or (n, k).
        width: m, for an estimate only.
        predict_loss: also form the tangent kernel, (nk)² numbers, unless nk > 4096.

    Returns:
        A ``Certificate``; print it.

    Raises:
        TheoryError: shapes that do not fit, or an estimate without a width.

    Example:
        >>> import numpy as np, activations
        >>> from deqzoo.theory import Network, certify
        >>> x = np.random.default_rng(0).standard_normal((4, 6))
        >>> network = Network.draw(activations.get("tanh"), 256, 6, s_w=0.4, s_a=0.0)
        >>> certify(network, x, 1e-3 * np.ones(4)).certified
        True
        >>> certify(network, x, np.ones(4)).certified
        False

    References:
        Ling et al., "Global Convergence of Over-parameterized Deep Equilibrium Models", arXiv
        2205.13814. Truong, "Global Convergence Rate of Deep Equilibrium Models with General
        Activations", arXiv 2302.05797. Theorem A: docs/theory.md.
    """
    x, y = _arrays(inputs, targets)
    if isinstance(subject, WideLimit | tuple):
        limit = subject if isinstance(subject, WideLimit) else WideLimit(*subject)
        if width is None or not 1 <= width <= _WIDEST:
            raise TheoryError(
                "an estimate needs the width it speaks of: certify(..., width=m), 1 <= m <= "
                f"{_WIDEST:g}; got {width}"
            )
        return _estimate(limit, x, y, width, predict_loss)
    network = as_network(subject)
    if network.U.shape[1] != x.shape[1] or len(network.a) != y.shape[1]:
        raise TheoryError(
            f"the network takes {network.U.shape[1]} inputs and gives {len(network.a)} outputs, "
            f"but the data have {x.shape[1]} and {y.shape[1]}"
        )
    return _certify(network, x, y, predict_loss)


def as_network(subject: Any) -> Network:
    """The wide DEQ that a theorem speaks of.

    Raises:
        TheoryError: it is none.
    """
    if not isinstance(subject, Network | TheoremNetwork):
        raise TheoryError(
            f"the theorems speak of the wide DEQ z = φ(Wz + Ux), ŷ = a z, and {type(subject)} is "
            "not one: use deqzoo.models.wide.Wide (--model=wide)"
        )
    return subject if isinstance(subject, Network) else subject.network()


def _arrays(inputs: Any, targets: Any) -> tuple[np.ndarray, np.ndarray]:
    x, y = as_float64("inputs", inputs), np.asarray(targets)
    if not np.issubdtype(y.dtype, np.floating):
        raise TheoryError(
            f"targets must be real values, got {y.dtype}: give class labels as one-hot rows, for "
            "example np.eye(classes)[labels]"
        )
    y = np.asarray(y, np.float64)
    y = y[:, None] if y.ndim == 1 else y
    if x.ndim < 2 or y.ndim != 2 or len(x) != len(y) or not len(x):
        raise TheoryError(
            "expected inputs (n, ...) and targets (n,) or (n, k) of one length n >= 1, got "
            f"{np.shape(inputs)} and {np.shape(targets)}"
        )
    return x.reshape(len(x), -1), y


# A drawn network.


def _certify(network: Network, x: np.ndarray, y: np.ndarray, predict_loss: bool) -> Certificate:
    act = network.activation
    title = f"{act}, m = {network.width}, n = {len(x)}, d = {x.shape[1]}" + (
        f", {y.shape[1]} outputs" if y.shape[1] > 1 else ""
    )
    arrays = {"inputs": (x,), "targets": (y,), "weights": (network.W, network.U, network.a)}
    sound = (declared_bounds(act), *are_finite(arrays))
    if not all(line.holds for line in sound):
        return Certificate(title, (Theorem("declared bounds and data", sound),))
    measured, solve, error = measure(network, x, y)
    posed = Theorem(WELL_POSED, (*sound, well_posed(measured), solve))
    free, free_descent = descent_theorem(THEOREM_A, measured, conditions.theorem_a, posed)
    name = LING if act == catalog.activations.get("relu") else A_PRIORI
    ling, ling_descent = descent_theorem(name, measured, conditions.a_priori, posed)
    inputs = as_inputs(x)
    s_w = float(np.linalg.norm(network.W)) / math.sqrt(network.width)
    prediction = None
    if predict_loss and solve.holds and error.size <= _LARGEST_KERNEL:
        prediction = predict(network.tangent_kernel(x), error.ravel())
    return Certificate(
        title,
        (posed, free, ling, truong(act, s_w, inputs)),
        measured=measured,
        loss=float(np.sum(np.square(error)) / 2),
        descent=free_descent,
        a_priori=ling_descent,
        prediction=prediction,
        label_scale=conditions.largest_label_scale(measured, conditions.theorem_a),
    )


# Before any draw.


def _estimate(
    limit: WideLimit, x: np.ndarray, y: np.ndarray, width: int, predict_loss: bool
) -> Certificate:
    act, s_w = limit.activation, limit.s_w
    title = f"{act} at infinite width, read at m = {width}, n = {len(x)}, d = {x.shape[1]}"
    sound = (declared_bounds(act), *are_finite({"inputs": (x,), "targets": (y,)}))
    if not all(line.holds for line in sound):
        return Certificate(title, (Theorem("declared bounds and data", sound),), is_estimate=True)
    inputs, bounds = as_inputs(x), gram_bounds(limit, x)
    measured = expected(limit, inputs, y, width, bounds.lambda_min, bounds.lambda_max)
    posed = Theorem(
        WELL_POSED,
        (
            *sound,
            compare("s_w L (the kernel exists)", limit.kernel_gain, "<", 1.0),
            compare(
                "2 s_w L (‖W‖₂ tends to 2 s_w)",
                2 * limit.kernel_gain,
                "<",
                1.0,
                f"use s_w below {at_most(1 / (2 * act.lipschitz))}",
            ),
        ),
    )
    free, _ = descent_theorem(THEOREM_A, measured, conditions.theorem_a, posed)
    return Certificate(
        title,
        (
            posed,
            Theorem(f"{free.name}, estimated", free.conditions, claims=False),
            truong(act, s_w, inputs),
        ),
        measured=measured,
        loss=measured.error**2 / 2,
        prediction=_expected_prediction(limit, x, y, width) if predict_loss else None,
        population=bounds,
        label_scale=conditions.largest_label_scale(measured, conditions.theorem_a),
        is_estimate=True,
    )


def _expected_prediction(
    limit: WideLimit, x: np.ndarray, y: np.ndarray, width: int
) -> TangentPrediction | None:
    """From a zero output, one kernel for every output; None where it would be too large."""
    if len(x) > _LARGEST_KERNEL:
        return None
    return predict(limit.ntk(x, width=width), -y)
