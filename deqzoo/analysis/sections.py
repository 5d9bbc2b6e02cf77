"""The analyses of a run in the order of the report, each kept apart from the failure of others."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deqzoo.analysis.convergence import convergence
from deqzoo.analysis.curves import curves
from deqzoo.analysis.depth import depth
from deqzoo.analysis.final_labels import final_labels
from deqzoo.analysis.finding import Finding, InapplicableError
from deqzoo.analysis.flatness import flatness
from deqzoo.analysis.gram import gram
from deqzoo.analysis.jacobian import jacobian_spectrum
from deqzoo.analysis.path_independence import path_independence
from deqzoo.analysis.promises import promises
from deqzoo.analysis.proved_equilibria import proved_equilibria
from deqzoo.analysis.radii import certified_radii
from deqzoo.analysis.subject import Subject
from deqzoo.analysis.weights import weights
from deqzoo.runs.run import Run

_PROVED = 64  # examples whose Jacobian is inverted
_JACOBIANS = 32  # examples whose Jacobian is looked at: each takes its own iteration


def _classifier(subject: Subject) -> Subject:
    y = np.asarray(subject.test.y)
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise InapplicableError("this task has no class for every example")
    return subject


@dataclass(frozen=True)
class Section:
    """One analysis.

    Attributes:
        name: its key in analysis.json.
        title: its heading.
        of_run: measures a run alone; None if examples are needed.
        of_subject: measures a run on examples; None if they are not needed.
    """

    name: str
    title: str
    of_run: Callable[[Run], Finding] | None = None
    of_subject: Callable[[Subject], Finding] | None = None

    @property
    def needs_data(self) -> bool:
        """Whether examples are needed."""
        return self.of_subject is not None


SECTIONS = (
    Section("training", "Training", curves),
    Section("promises", "Certificate and prediction", promises),
    Section("weights", "Guarantee", weights),
    Section("gram", "Gram matrix", None, lambda s: gram(s.run, s.train.x)),
    Section(
        "jacobian",
        "Jacobian at the equilibrium",
        None,
        lambda s: jacobian_spectrum(s.model, s.test.at(slice(_JACOBIANS)).x),
    ),
    Section(
        "flatness",
        "Flatness",
        None,
        lambda s: flatness(s.model, s.train.at(slice(_JACOBIANS)).x),
    ),
    Section("convergence", "Convergence", None, lambda s: convergence(s.model, s.test.x)),
    Section(
        "path_independence",
        "Path independence",
        None,
        lambda s: path_independence(s.model, s.test.x, s.metric),
    ),
    Section("depth", "Effective depth", None, lambda s: depth(s.model, s.test.x, s.metric)),
    Section(
        "equilibria",
        "Equilibria proved one by one",
        None,
        lambda s: proved_equilibria(s.model, s.test.at(slice(_PROVED)).x),
    ),
    Section(
        "final_labels",
        "Labels proved final",
        None,
        lambda s: final_labels(_classifier(s).model, s.test.x),
    ),
    Section(
        "radii",
        "Certified radii",
        None,
        lambda s: certified_radii(_classifier(s).model, s.test.x, s.test.y),
    ),
)


@dataclass(frozen=True)
class Result:
    """What became of a section.

    Attributes:
        section: the analysis.
        finding: what it found, or None.
        omitted: why it does not apply to this run.
        failure: the error that stopped it.
    """

    section: Section
    finding: Finding | None = None
    omitted: str = ""
    failure: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The finding, or why there is none."""
        found = {} if self.finding is None else self.finding.to_dict()
        kept = {"failed": self.failure, "omitted": self.omitted}
        return {**found, **{key: text for key, text in kept.items() if text}}


def examine(section: Section, run: Run, subject: Subject | None) -> Result:
    """Measure; any error of an analysis is a result, so that the others are kept.

    Args:
        section: the analysis.
        run: the run.
        subject: the run with its examples; may be None for a section that needs none.
    """
    try:
        if section.of_run is not None:
            return Result(section, section.of_run(run))
        if section.of_subject is None or subject is None:
            raise ValueError(f"the section {section.name} needs examples")
        return Result(section, section.of_subject(subject))
    except InapplicableError as reason:
        return Result(section, omitted=str(reason))
    except Exception as error:
        return Result(section, failure=told(error))


def told(error: Exception) -> str:
    """An error in one line, with the place it came from."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())[:500]
    return f"{type(error).__name__}: {text} ({Path(place.filename).name}, line {place.lineno})"
