"""What is proved of single test examples, by the weights that are shipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from deqzoo.analysis.final_labels import final_labels
from deqzoo.analysis.finding import InapplicableError
from deqzoo.analysis.proved_equilibria import proved_equilibria
from deqzoo.analysis.radii import certified_radii
from deqzoo.data.examples import Split
from deqzoo.nn.model import Model

STEPS = (5, 8, 12, 20)


@dataclass(frozen=True, kw_only=True)
class Radii:
    """Labels on balls of scaled inputs, as ``deqzoo.analysis.radii`` finds them.

    Attributes:
        radii: Euclidean ones.
        certified: examples with the right label on the whole ball, proved, for every radius.
        attacked: examples whose right label an attack left.
        clean: examples with the right label.
    """

    radii: tuple[float, ...]
    certified: tuple[int, ...]
    attacked: tuple[int, ...]
    clean: int


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Labels proved to be those of the equilibria, as ``deqzoo.analysis.final_labels`` finds them.

    Attributes:
        final: number of solver steps -> examples whose label is proved then.
        violations: examples so proved whose equilibrium has another label.
    """

    final: dict[str, int]
    violations: int


@dataclass(frozen=True, kw_only=True)
class Proofs:
    """Counts of test examples, from which shares are rounded down.

    Attributes:
        examples: that were looked at.
        radii: None where nothing is proved.
        labels: None where nothing is proved.
        equilibria: examples of which exactly one equilibrium is proved near the computed state
            (level B); None where the proof does not apply.
        reasons: name of an attribute that is None -> why.
    """

    examples: int
    radii: Radii | None
    labels: Labels | None
    equilibria: int | None
    reasons: dict[str, str]

    def share(self, count: int) -> str:
        """Of the examples, in per cent and rounded down.

        Example:
            >>> from deqzoo.zoo.proofs import Proofs
            >>> found = Proofs(examples=3, radii=None, labels=None, equilibria=2, reasons={})
            >>> found.share(2), found.share(3)
            ('66.66', '100.00')
        """
        return f"{10_000 * count // self.examples / 100:.2f}"

    @property
    def brief(self) -> str:
        """The last of each in a line; nothing of what is None."""
        parts = []
        if self.labels is not None:
            steps, count = [*self.labels.final.items()][-1]
            parts.append(f"{self.share(count)} % of the labels after {steps} steps")
        if self.radii is not None:
            certified = zip(self.radii.radii, self.radii.certified, strict=True)
            told = (f"{self.share(count)} % at radius {radius:g}" for radius, count in certified)
            parts.append(f"accuracy {', '.join(told)}")
        if self.equilibria is not None:
            parts.append(f"{self.share(self.equilibria)} % of the equilibria")
        return ", ".join(parts) or "nothing"

    @property
    def faults(self) -> tuple[str, ...]:
        """A sentence for everything that cannot be, whatever the model is."""
        wrong = []
        if self.radii is not None:
            clean, found = self.radii.clean, self.radii
            for radius, proved, left in zip(
                found.radii, found.certified, found.attacked, strict=True
            ):
                if not proved <= left <= clean:
                    wrong.append(
                        f"at radius {radius:g} {proved} labels are proved, an attack leaves "
                        f"{left} of {clean}"
                    )
        if self.labels is not None and self.labels.violations:
            wrong.append(f"{self.labels.violations} labels that were proved final changed")
        return tuple(wrong)


def proofs(model: Model, test: Split) -> Proofs:
    """Try every proof.

    Args:
        model: trained.
        test: examples, scaled.
    """
    attempts: dict[str, Callable[[], Any]] = {
        "radii": lambda: _radii(model, test),
        "labels": lambda: _labels(model, test),
        "equilibria": lambda: int(np.sum(np.isfinite(proved_equilibria(model, test.x).radius))),
    }
    found, reasons = {}, {}
    for name, attempt in attempts.items():
        try:
            found[name] = attempt()
        except InapplicableError as error:
            found[name], reasons[name] = None, str(error)
    return Proofs(examples=test.examples, reasons=reasons, **found)


def _radii(model: Model, test: Split) -> Radii:
    _require_classes(test)
    found = certified_radii(model, test.x, test.y)
    return Radii(
        radii=tuple(found.radii.tolist()),
        certified=_counts(found.certified, test),
        attacked=_counts(found.attacked, test),
        clean=_counts([found.clean], test)[0],
    )


def _labels(model: Model, test: Split) -> Labels:
    _require_classes(test)
    found = final_labels(model, test.x, STEPS)
    counts = _counts(found.final, test)
    final = {str(step): count for step, count in zip(STEPS, counts, strict=True)}
    return Labels(final=final, violations=found.violations)


def _counts(shares: Any, test: Split) -> tuple[int, ...]:
    return tuple(round(share * test.examples) for share in np.asarray(shares, float).tolist())


def _require_classes(test: Split) -> None:
    labels = np.asarray(test.y)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InapplicableError("its targets are not one class of each example")
