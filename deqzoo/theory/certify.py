"""Certify a wide DEQ: check every hypothesis with the actual numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from deqzoo import catalog, spectral
from deqzoo.activation import Activation
from deqzoo.check import ActivationError, check
from deqzoo.solution import Status
from deqzoo.theory import conditions
from deqzoo.theory.bounds import gram_bounds
from deqzoo.theory.certificate import (
    THEOREM_A,
    WELL_POSED,
    Certificate,
    Condition,
    Descent,
    Theorem,
    compare,
)
from deqzoo.theory.conditions import Form, Measured
from deqzoo.theory.error import TheoryError
from deqzoo.theory.inputs import Inputs, as_inputs
from deqzoo.theory.limit import WideLimit
from deqzoo.theory.network import Network
from deqzoo.theory.prediction import TangentPrediction, predict

_PARALLEL = 1e-7  # sine of an angle that float32 inputs cannot tell from zero
_SPHERE = 1e-5
_LARGEST_KERNEL = 4096
_ROUNDING = 8 * float(np.finfo(float).eps)
LING = "Ling et al., Theorem 1, with 8 for 4 in (9)"
A_PRIORI = "a-priori condition in Ling's form for general φ (deqzoo)"
_DEPENDENT = (
    "the features of some inputs are linearly dependent: remove duplicates (and antipodal inputs "
    "if φ is odd), or use more width"
)
TRUONG = "Truong, arXiv 2302.05797: hypotheses (his constants are not known here)"


class HasNetwork(Protocol):
    """A model that knows itself as a wide DEQ, such as ``deqzoo.models.wide.Wide``."""

    def network(self) -> Network | None:
        """Its weights as plain arrays; None if it is no wide DEQ."""
        ...


def certify(
    subject: Network | HasNetwork | WideLimit | tuple,
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
        if width is None:
            raise TheoryError("an estimate needs the width it speaks of: certify(..., width=m)")
        return _estimate(limit, x, y, width, predict_loss)
    network = subject if isinstance(subject, Network) else subject.network()
    if network is None:
        raise TheoryError(
            f"the theorems speak of the wide DEQ z = φ(Wz + Ux), ŷ = a z, and {type(subject)} is "
            "not one: use deqzoo.models.wide.Wide (--model=wide)"
        )
    if network.U.shape[1] != x.shape[1] or len(network.a) != y.shape[1]:
        raise TheoryError(
            f"the network takes {network.U.shape[1]} inputs and gives {len(network.a)} outputs, "
            f"but the data have {x.shape[1]} and {y.shape[1]}"
        )
    return _certify(network, x, y, predict_loss)


def _arrays(inputs: Any, targets: Any) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(inputs, np.float64), np.asarray(targets)
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
    sound = (_bounds_are_true(act), *_are_finite(x, y, network))
    if not all(line.holds for line in sound):
        return Certificate(title, (Theorem("declared bounds and data", sound),))
    measured, solve, error = _measure(network, x, y)
    posed = Theorem(WELL_POSED, (*sound, *_well_posed(act, measured), solve))
    free, free_descent = _descent_theorem(THEOREM_A, measured, conditions.theorem_a, posed)
    name = LING if act == catalog.activations.get("relu") else A_PRIORI
    ling, ling_descent = _descent_theorem(name, measured, conditions.a_priori, posed)
    inputs = as_inputs(x)
    s_w = float(np.linalg.norm(network.W)) / math.sqrt(network.width)
    prediction = None
    if predict_loss and solve.holds and error.size <= _LARGEST_KERNEL:
        prediction = predict(network.tangent_kernel(x), error.ravel())
    return Certificate(
        title,
        (posed, free, ling, _truong(act, s_w, inputs)),
        measured=measured,
        loss=float(np.sum(np.square(error)) / 2),
        descent=free_descent,
        a_priori=ling_descent,
        prediction=prediction,
        label_scale=conditions.largest_label_scale(measured, conditions.theorem_a),
    )


def _bounds_are_true(activation: Activation) -> Condition:
    """Declared bounds measured; those of the built-in plug-ins are measured by the test suite."""
    name = f"declared bounds of {activation} are true"
    if type(activation).__module__.partition(".")[0] == "activations":
        return Condition(name, True)
    try:
        check(activation)
    except ActivationError as error:
        return Condition(name, False, advice=" ".join(str(error).split()))
    return Condition(name, True)


def _are_finite(x: np.ndarray, y: np.ndarray, network: Network) -> Iterator[Condition]:
    weights = (network.W, network.U, network.a)
    for name, arrays in (("inputs", (x,)), ("targets", (y,)), ("weights", weights)):
        bad = sum(int(np.sum(~np.isfinite(array))) for array in arrays)
        advice = f"{bad} values are NaN or infinite: repair or remove them"
        yield Condition(f"{name} are finite", bad == 0, advice=advice if bad else "")


def _measure(
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
    # Of a contraction the residual bounds ‖Z - Z*‖_F; without one nothing is certified anyway.
    residual = float(np.linalg.norm(stats.residual))
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


def _norm(matrix: np.ndarray) -> float:
    """‖A‖₂ with room for the rounding of the decomposition."""
    return float(np.linalg.norm(matrix, 2)) * (1 + _ROUNDING * max(matrix.shape))


def _well_posed(act: Activation, at: Measured) -> Iterator[Condition]:
    gain = at.lipschitz * at.norm_w
    advice = f"scale W, or s_w, by less than {1 / gain:.4g}" if gain > 0 else ""
    yield compare("L‖W‖₂ (upper bound)", gain, "<", 1.0, advice)


# The two forms of the convergence theorem.


def _descent_theorem(
    name: str, at: Measured, form: Form, posed: Theorem
) -> tuple[Theorem, Descent | None]:
    lines = [
        Condition(f"{WELL_POSED} (above)", posed.holds, advice="mend the lines above first"),
        compare("width m", at.width, ">=", at.examples, f"use a width of at least {at.examples}"),
        compare("λ_0 = λ_min(G), lower bound", at.lambda_0, ">", 0.0, _DEPENDENT),
    ]
    delta, found = conditions.best_radius(at, form)
    if math.isnan(delta) or not all(line.holds for line in lines):
        rest = ", ".join(label.split()[0] for label in form(at, np.ones(1)).sides)
        lines.append(Condition(rest, False, advice="not examined: mend the lines above first"))
        return Theorem(name, tuple(lines)), None
    lines.append(_readout_line(at, form))
    sides = form(at, np.array([delta]))
    advice = _mend(at, form)
    for label, (have, need) in sides.sides.items():
        lines.append(compare(label, float(have[0]), ">=", float(need[0]), advice))
        advice = ""  # said once
    theorem = Theorem(name, tuple(lines))
    if not (found and theorem.holds):
        return theorem, None
    return theorem, Descent(delta, at.lambda_0, float(sides.largest_step[0]))


def _readout_line(at: Measured, form: Form) -> Condition:
    """(A3) alone bounds the readout, at every width: λ_0 <= ‖Z‖₂² <= B²."""
    allowed = conditions.largest_readout(at, form)
    share = math.sqrt(at.examples) if form is conditions.a_priori else 1.0
    ceiling = max(0.0, 1 / at.lipschitz - at.norm_w) / (2 * math.sqrt(2) * share)
    advice = (
        f"use a zero readout (s_a = 0) or ‖a‖₂ below {allowed:.3g}; no width can help, since "
        f"(A3) needs ‖a‖₂ < {ceiling:.3g} at any width and a ~ N(0, 1/m) has ‖a‖₂ near 1"
    )
    return compare("readout ‖a‖₂", at.norm_a, "<=", allowed, advice)


def _mend(at: Measured, form: Form) -> str:
    """What would certify, with numbers, cheapest first."""
    scale = conditions.largest_label_scale(at, form)
    start = "" if at.norm_a == 0 else "with a zero readout: "
    hints = []
    if scale > 0:
        hints.append(f"labels times {0.99 * scale:.3g}")
    width = conditions.needed_width(at, form)
    if math.isfinite(width):
        hints.append(f"or these labels at a width of about {width:.2g} (an estimate)")
    if not hints:
        gain = at.lipschitz * at.norm_w
        return f"no labels and no width are enough at L‖W‖₂ = {gain:.3g}: use a smaller s_w"
    return start + ", ".join(hints)


# Hypotheses on activation and data.


def _truong(act: Activation, s_w: float, inputs: Inputs) -> Theorem:
    d = inputs.dimension
    norms = np.sqrt(inputs.squares * d)
    closest, pair = _closest_to_parallel(inputs)
    sigma = s_w**2 / 2
    lines = (
        compare("sup |φ'|", act.lipschitz, "<", math.inf),
        compare(
            "sup |φ''|",
            act.curvature,
            "<",
            math.inf,
            "φ' jumps; the rectifier is covered by Ling et al., every Lipschitz φ by Theorem A",
        ),
        compare(
            "σ_w² = s_w²/2",
            sigma,
            "<",
            act.max_sigma_w2,
            f"use s_w below {1 / (2 * act.lipschitz):.4g}",
        ),
        compare(
            "largest |‖x‖/√d - 1|",
            float(np.max(np.abs(norms / math.sqrt(d) - 1))),
            "<=",
            _SPHERE,
            "scale the inputs to norm √d (scaling='sphere'); Theorem A needs no sphere",
        ),
        compare(
            "smallest sine of an angle between inputs",
            closest,
            ">",
            _PARALLEL,
            f"inputs {pair[0]} and {pair[1]} are parallel: remove one",
        ),
    )
    return Theorem(TRUONG, lines, claims=False)


def _closest_to_parallel(inputs: Inputs) -> tuple[float, tuple[int, int]]:
    """The smallest |sin θ| of two different inputs, and which they are."""
    smallest, pair = 1.0, (0, 0)
    for start in range(0, len(inputs), 512):
        part = inputs[slice(start, start + 512)]
        sines = np.abs(np.sin(part.angles(inputs)))
        sines[np.arange(len(part)), start + np.arange(len(part))] = np.inf
        i, j = np.unravel_index(np.argmin(sines), sines.shape)
        if sines[i, j] < smallest:
            smallest, pair = float(sines[i, j]), (start + int(i), int(j))
    return smallest, pair


# Before any draw.


def _estimate(
    limit: WideLimit, x: np.ndarray, y: np.ndarray, width: int, predict_loss: bool
) -> Certificate:
    act, s_w = limit.activation, limit.s_w
    title = f"{act} at infinite width, read at m = {width}, n = {len(x)}, d = {x.shape[1]}"
    finite = Condition("inputs and targets are finite", bool(np.all(np.isfinite(x))))
    sound = (_bounds_are_true(act), finite)
    if not (all(line.holds for line in sound) and np.all(np.isfinite(y))):
        broken = (_bounds_are_true(act), Condition(finite.name, False, advice="repair the data"))
        return Certificate(title, (Theorem("declared bounds and data", broken),), is_estimate=True)
    inputs, bounds = as_inputs(x), gram_bounds(limit, x)
    measured = _expected(limit, inputs, y, width, bounds.lambda_min, bounds.lambda_max)
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
                f"use s_w below {1 / (2 * act.lipschitz):.6g}",
            ),
        ),
    )
    free, _ = _descent_theorem(THEOREM_A, measured, conditions.theorem_a, posed)
    return Certificate(
        title,
        (
            posed,
            Theorem(f"{free.name}, estimated", free.conditions, claims=False),
            _truong(act, s_w, inputs),
        ),
        measured=measured,
        loss=measured.error**2 / 2,
        prediction=_expected_prediction(limit, x, y, width) if predict_loss else None,
        population=bounds,
        label_scale=conditions.largest_label_scale(measured, conditions.theorem_a),
        is_estimate=True,
    )


def _expected(
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


def _expected_prediction(
    limit: WideLimit, x: np.ndarray, y: np.ndarray, width: int
) -> TangentPrediction | None:
    """From a zero output, one kernel for every output; None where it would be too large."""
    if len(x) > _LARGEST_KERNEL:
        return None
    parts = [predict(limit.ntk(x, width=width), -column) for column in y.T]
    weights: Float[np.ndarray, " n"] = np.sum([part.weights for part in parts], axis=0)
    return TangentPrediction(parts[0].eigenvalues, weights)
