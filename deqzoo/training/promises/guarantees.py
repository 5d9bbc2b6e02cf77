"""What the declared bounds of an activation guarantee for a model with these weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from deqzoo.activation.check import check
from deqzoo.activation.contract import Activation
from deqzoo.core import spectral
from deqzoo.nn.model import Model
from deqzoo.training.constraint import Constraint, Path

UNIQUE = "exists and is unique for every input"


def require_true_bounds(activation: Activation) -> None:
    """Measure what a plug-in from elsewhere declares, before anything is promised in its name.

    The built-in activations are measured by the test suite.

    Raises:
        ActivationError: a declared fact is wrong; the message names it.
    """
    if type(activation).__module__.partition(".")[0] != "activations":
        check(activation)


def contraction_factors(parameters: dict[str, Any], limits: dict[Path, float]) -> dict[Path, float]:
    """‖W‖₂ divided by its limit, per constrained matrix: for z = φ(Wz + b) the factor L‖W‖₂."""
    factors = {}
    for path, limit in limits.items():
        weight = parameters
        for key in path:
            weight = weight[key]
        factors[path] = spectral.spectral_norm(np.asarray(weight)) / limit
    return factors


def describe(model: Model, parameters: dict[str, Any], constraint: Constraint) -> list[str]:
    """Sentences for a reader: bounds, equilibrium, what training keeps, theorems' hypotheses."""
    activation = model.activation
    low, high = activation.slope
    lines = [
        f"{activation}: φ' in [{low:.6g}, {high:.6g}], L = {activation.lipschitz:.6g}, |φ''| <= "
        f"{activation.curvature:.6g}"
    ]
    factors = contraction_factors(parameters, model.norm_limits())
    for path, factor in factors.items():
        verdict = (
            f"the equilibrium {UNIQUE}; Picard gains a factor {factor:.4f} a step"
            if factor < 1
            else "no guarantee: the equilibrium need not exist"
        )
        lines.append(f"L‖W‖₂ = {factor:.4f} for {'/'.join(path)}: {verdict}")
    kept = (
        f"{constraint} keeps L‖W‖₂ below 1 after every step"
        if constraint.guarantees
        else f"{constraint} does not enforce L‖W‖₂ < 1: it is reported, and a warning is given if "
        "it fails"
    )
    lines += [kept, "does the activation meet what these ask of it?"]
    lines += [f"{'yes' if h.met else 'no '} {h.theorem}: {h.reason}" for h in activation.hypotheses]
    return lines
