"""The theorems as lists of conditions, each with its numbers and what would mend it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from deqzoo.activation.check import ActivationError
from deqzoo.activation.contract import Activation
from deqzoo.activation.digits import at_least, at_most
from deqzoo.activation.measured import is_ours, require_true_bounds
from deqzoo.theory import conditions
from deqzoo.theory.certificate import WELL_POSED, Condition, Descent, Theorem, compare
from deqzoo.theory.conditions import Form, Measured
from deqzoo.theory.inputs import LARGEST, Inputs

_PARALLEL = 1e-7  # sine of an angle that float32 inputs cannot tell from zero
_SPHERE = 1e-5
_DEPENDENT = (
    "the features of some inputs are linearly dependent: remove duplicates (and antipodal inputs "
    "if φ is odd), or use more width"
)
LING = "Ling et al., Theorem 1, with 8 for 4 in (9) and deqzoo's step for (10)"
A_PRIORI = "a-priori condition in Ling's form for general φ (deqzoo)"
TRUONG = "Truong, arXiv 2302.05797: hypotheses (his constants are not known here)"


def declared_bounds(activation: Activation) -> Condition:
    """Declared bounds, ours as the test suite knows them; a measured grid is named, no proof."""
    source = "one of deqzoo's" if is_ours(activation) else "measured on a grid"
    name = f"declared bounds of {activation}, {source}"
    try:
        require_true_bounds(activation)
    except ActivationError as error:
        return Condition(name, False, advice=" ".join(str(error).split()))
    return Condition(name, True)


def are_finite(named: dict[str, tuple[np.ndarray, ...]]) -> Iterator[Condition]:
    """A line for every name, such as inputs, targets and weights."""
    for name, arrays in named.items():
        bad = sum(int(np.sum(~(np.abs(array) < LARGEST))) for array in arrays)
        advice = f"{bad} values are NaN, infinite or beyond {LARGEST:g}: repair or remove them"
        yield Condition(f"{name} are finite", bad == 0, advice=advice if bad else "")


def well_posed(at: Measured) -> Condition:
    """L‖W‖₂ < 1."""
    gain = at.lipschitz * at.norm_w
    advice = f"scale W, or s_w, by less than {at_most(1 / gain, 4)}" if gain > 0 else ""
    return compare("L‖W‖₂ (upper bound)", gain, "<", 1.0, advice)


def descent_theorem(
    name: str, at: Measured, form: Form, posed: Theorem
) -> tuple[Theorem, Descent | None]:
    """One form of the convergence theorem, and what it gives where every line holds.

    Args:
        name: of the statement.
        at: the numbers.
        form: ``conditions.theorem_a`` or ``conditions.a_priori``.
        posed: the statement that the equilibrium is unique.
    """
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
        f"use a zero readout (s_a = 0) or ‖a‖₂ below {at_most(allowed, 3)}; no width can help, "
        f"since (A3) needs ‖a‖₂ < {at_least(ceiling, 3)} at any width and a ~ N(0, 1/m) has ‖a‖₂ "
        "near 1"
    )
    return compare("readout ‖a‖₂", at.norm_a, "<=", allowed, advice)


def _mend(at: Measured, form: Form) -> str:
    """What would certify, with numbers, cheapest first."""
    scale = conditions.largest_label_scale(at, form)
    start = "" if at.norm_a == 0 else "with a zero readout: "
    hints = []
    if scale > 0:
        hints.append(f"labels times {at_most(0.99 * scale, 3)}")
    width = conditions.needed_width(at, form)
    if math.isfinite(width):
        hints.append(f"or these labels at a width of about {width:.2g} (an estimate)")
    return start + ", ".join(hints) if hints else "use a zero readout (s_a = 0)"


def truong(act: Activation, s_w: float, inputs: Inputs) -> Theorem:
    """The hypotheses on activation, scale and data that are known of Truong's theorem."""
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
            f"use s_w below {at_most(1 / (2 * act.lipschitz), 4)}",
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
