"""What the guarantees of a model say of these weights, and what training keeps of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from deqzoo import catalog
from deqzoo.activation.contract import Activation
from deqzoo.activation.digits import at_least, at_most
from deqzoo.nn.explicit import Explicit
from deqzoo.nn.guarantee import NOTHING, Guarantee
from deqzoo.nn.model import Model
from deqzoo.settings import SettingError
from deqzoo.training.config import ConfigError, TrainConfig
from deqzoo.training.constraint import Constraint


def largest_bound(guarantees: Sequence[Guarantee], parameters: dict[str, Any]) -> float | None:
    """The largest bound, below 1 where every guarantee holds; None without any, NaN if one is."""
    bounds = [guarantee.sharp_bound(parameters) for guarantee in guarantees]
    return float(np.max(bounds)) if bounds else None


def quantity(guarantees: Sequence[Guarantee]) -> str:
    """What the largest bound is a bound of: ``L‖W‖₂``."""
    return ", ".join(dict.fromkeys(guarantee.quantity for guarantee in guarantees))


def statements(guarantees: Sequence[Guarantee]) -> list[str]:
    """The theorems with level and source, or that nothing is proved."""
    return [
        f"level {each.level}, while {each.quantity} < 1: {each.theorem} ({each.source})"
        for each in guarantees
    ] or [NOTHING]


def require_something_to_keep(model: Model, constraint: str) -> None:
    """Refuse a constraint that was asked for where there is no bound that it could keep.

    The default one is harmless there.

    Raises:
        ConfigError: it was asked for in vain.
    """
    if constraint == TrainConfig.constraint:
        return
    try:
        catalog.constraints.get(constraint).require(model)
    except SettingError as error:
        raise ConfigError(f"--constraint={constraint} {error}") from None


def describe(model: Model, parameters: dict[str, Any], constraint: Constraint) -> list[str]:
    """Sentences for a reader: bounds, equilibrium, what training keeps, theorems' hypotheses."""
    guarantees = model.guarantees()
    if isinstance(model.deq, Explicit):
        return ["no equation is solved: a network of finite depth, of which nothing is proved"]
    if not guarantees:
        return [f"{NOTHING}: watch the residual and the status of the solves"]
    lines = [_facts(model.activation)]
    for each in guarantees:
        lines += _said(each, each.sharp_bound(parameters))
    return [*lines, *_kept(guarantees, constraint), *_hypotheses(model.activation)]


def _facts(activation: Activation) -> str:
    low, high = at_most(activation.slope[0]), at_least(activation.slope[1])
    return (
        f"{activation}: φ' in [{low}, {high}], L = {at_least(activation.lipschitz)}, |φ''| <= "
        f"{at_least(activation.curvature)}"
    )


def _said(guarantee: Guarantee, bound: float) -> Iterator[str]:
    rate, held = guarantee.rate(bound), bound < 1
    verdict = guarantee.theorem if held else "no guarantee: the equilibrium need not exist"
    if held and rate is not None:
        verdict += f"; every step gains a factor {at_least(rate, 4)}"
    yield f"level {guarantee.level}: {guarantee.quantity} <= {at_least(bound, 4)}: {verdict}"
    yield f"  by {guarantee.source}; needs {' and '.join(guarantee.hypotheses)}"


def _kept(guarantees: Sequence[Guarantee], constraint: Constraint) -> Iterator[str]:
    kept = quantity([each for each in guarantees if not each.by_construction])
    if not kept:
        yield "holds by construction, after every step"
    elif constraint.enforces:
        yield f"{constraint} keeps {kept} below 1 after every step"
    else:
        yield (
            f"{constraint} does not enforce {kept} < 1: it is reported, and a warning is given if "
            "it fails"
        )


def _hypotheses(activation: Activation) -> Iterator[str]:
    yield "does the activation meet what these ask of it?"
    for each in activation.hypotheses:
        yield f"{'yes' if each.met else 'no '} {each.theorem}: {each.reason}"
