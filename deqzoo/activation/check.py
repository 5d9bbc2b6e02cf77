"""Measure what an activation declares: bounds, kinks, primitive, Hermite coefficients, dual."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import jax

from deqzoo import catalog
from deqzoo.activation.bound_facts import bound_facts
from deqzoo.activation.contract import Activation
from deqzoo.activation.declaration_facts import declaration_facts, dtype_facts, range_facts
from deqzoo.activation.derivative import derivative_facts
from deqzoo.activation.fact import Fact
from deqzoo.activation.integral_facts import dual_facts, hermite_facts, primitive_facts
from deqzoo.activation.learnable import Learnable
from deqzoo.activation.learnable_facts import learnable_facts
from deqzoo.activation.prox_facts import prox_facts
from deqzoo.activation.samples import Samples
from deqzoo.activation.saturation_facts import saturation_facts

_MEASURES = (
    bound_facts,
    primitive_facts,
    hermite_facts,
    dual_facts,
    prox_facts,
    saturation_facts,
)


class ActivationError(ValueError):
    """A declared fact differs from what is measured; the message names the fact."""


@dataclass(frozen=True)
class Report:
    """All facts of one activation; prints as a table."""

    activation: Activation
    facts: tuple[Fact, ...]

    @property
    def wrong(self) -> tuple[Fact, ...]:
        """The facts that do not hold."""
        return tuple(fact for fact in self.facts if not fact.holds)

    def __str__(self) -> str:
        rows = [f"{self.activation}"]
        rows += [
            f"  {'ok   ' if fact.holds else 'WRONG'} {fact.name:<30} "
            f"declared {_show(fact.declared):<34} measured {_show(fact.measured)}"
            for fact in self.facts
        ]
        return "\n".join(rows)


def check(activation: Activation | str) -> Report:
    """Measure each declared fact of an activation in float64.

    φ and its derivatives are sampled on a grid with far tails and beside the declared kinks, and
    maximised by refinement; jumps of φ, φ' and φ'' are enclosed ever closer and must be declared
    kinks; integrals and closed forms of the dual are compared with quadrature on finer panels than
    the defaults use. φ' is integrated and compared with differences of φ, so that a derivative
    written by hand, or stopped, hides no slope. A learnable activation is measured at its start and
    at many parameters, some of them extreme.

    Args:
        activation: an activation or its recipe.

    Returns:
        The report, in which every fact holds.

    Raises:
        ActivationError: some fact does not hold; the message names each with its declared and
            measured value.

    Example:
        >>> import activations
        >>> activations.check("tanh").wrong
        ()
    """
    act = catalog.activations.get(activation)
    with jax.enable_x64(True):
        learned = isinstance(act, Learnable)
        report = Report(act, tuple(learnable_facts(act, _facts) if learned else _facts(act)))
    if report.wrong:
        lines = [
            f"  {fact.name}: declared {_show(fact.declared)}, measured {_show(fact.measured)}"
            for fact in report.wrong
        ]
        raise ActivationError("\n".join([f"{act} declares what is not so:", *lines]))
    return report


def _facts(activation: Activation) -> Iterator[Fact]:
    """Kinds, then finiteness, then the rest: a group means something only if those before hold."""
    samples = Samples(activation)
    groups = (
        lambda: declaration_facts(activation),
        lambda: dtype_facts(activation),
        lambda: range_facts(samples),
        lambda: itertools.chain(*(measure(samples) for measure in _MEASURES)),
        lambda: derivative_facts(samples),
    )
    for group in groups:
        facts = [*group()]
        yield from facts
        if not all(fact.holds for fact in facts):
            return


def _show(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.15g}"
