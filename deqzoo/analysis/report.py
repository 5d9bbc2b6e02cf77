"""The report of one or more runs: analysis.json, the pictures, and report.html around them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deqzoo.analysis import page
from deqzoo.analysis.compare import Comparison
from deqzoo.analysis.finding import Finding, shown
from deqzoo.analysis.sections import Result, told
from deqzoo.runs.run import Run
from deqzoo.shown import Shown, Table
from deqzoo.storage.files import plain
from deqzoo.training.promises import guarantees

FORMAT = 1
_COMPARISON = "comparison"


@dataclass(frozen=True)
class Examined:
    """A run and what its analyses gave.

    Attributes:
        name: a short name, different for every run of a report.
        run: the run at the step that was analysed.
        results: one of each section.
        notes: what else a reader should know.
    """

    name: str
    run: Run
    results: tuple[Result, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for strict JSON."""
        run = self.run
        return {
            "name": self.name,
            "workdir": str(run.path),
            "step": run.step,
            "checkpoints": list(run.steps),
            "config": run.config.to_dict(),
            "resolved": run.resolved,
            "versions": run.versions,
            "guarantees": guarantees.statements(run.model.guarantees()),
            "notes": list(self.notes),
            "sections": {result.section.name: result.to_dict() for result in self.results},
        }


@dataclass(frozen=True, repr=False)
class Report(Shown):
    """All that is told of some runs.

    Attributes:
        runs: at least one.
        comparison: of two or more, if it was made.
        failure: why its picture could not be drawn.
    """

    runs: tuple[Examined, ...]
    comparison: Comparison | None = None
    failure: str = ""

    def shown(self) -> Table:
        """The main facts of every run."""
        rows = ((label, ", ".join(map(_told, facts))) for label, *facts in fact_rows(self.runs))
        return Table(f"Report on {', '.join(each.name for each in self.runs)}", tuple(rows))

    @property
    def failed(self) -> bool:
        """Whether any analysis or picture failed."""
        return bool(self.failure) or any(r.failure for each in self.runs for r in each.results)

    def to_dict(self) -> dict[str, Any]:
        """What stands in analysis.json."""
        values = {
            "format": FORMAT,
            "runs": [each.to_dict() for each in self.runs],
            "comparison": None if self.comparison is None else self.comparison.to_dict(),
        }
        return plain(values)

    def drawn(self, folder: Path) -> Report:
        """Draw every picture into the folder; the report with what failed there."""
        runs = []
        for number, each in enumerate(self.runs):
            results = tuple(
                _draw(result, picture_path(folder, number, result.section.name))
                for result in each.results
            )
            runs.append(replace(each, results=results))
        comparison = self.comparison
        failure = _try(comparison, folder / f"{_COMPARISON}.png") if comparison else ""
        return replace(self, runs=tuple(runs), failure=failure)

    def html(self, folder: Path) -> str:
        """report.html around the pictures that ``drawn`` left in the folder."""
        names = ", ".join(each.name for each in self.runs)
        body = [
            page.heading(1, f"Analysis of {names}", "top"),
            page.contents([*self._links()]),
            *self._compared(folder),
            *self._facts(),
        ]
        for number, each in enumerate(self.runs):
            body += _run(each, number, folder)
        return page.document(f"deqzoo: {names}", body)

    def _links(self) -> Iterator[tuple[str, str]]:
        if self.comparison is not None:
            yield _COMPARISON, "Comparison"
        for number, each in enumerate(self.runs):
            if len(self.runs) > 1:
                yield f"run-{number}", each.name
            else:
                yield from ((_anchor(number, r), r.section.title) for r in each.results)
        if len(self.runs) == 1:
            yield "settings-0", "Settings"

    def _facts(self) -> list[str]:
        """Every fact, a column for each run."""
        rows = fact_rows(self.runs)
        if not rows:
            return []
        alone = len(self.runs) == 1
        facts = (
            page.pairs([(label, value) for label, value in rows])
            if alone
            else page.table(["", *(each.name for each in self.runs)], rows)
        )
        return [page.heading(2, "Main facts", "facts"), facts]

    def _compared(self, folder: Path) -> list[str]:
        found = self.comparison
        if found is None:
            return []
        head = ["", *found.names]
        body = [page.heading(2, "Comparison", _COMPARISON)]
        body += [page.paragraph(note, "note") for note in found.notes]
        body += _figure(found, folder / f"{_COMPARISON}.png", "Comparison", self.failure)
        if found.settings:
            body.append(page.paragraph("Settings that differ:"))
            body.append(page.table(head, [(key, *row) for key, row in found.settings.items()]))
        body.append(page.paragraph("Last value of each metric:"))
        body.append(page.table(head, [(key, *row) for key, row in found.final.items()]))
        if found.groups:
            body.append(page.pairs([*found.facts.items()]))
        return body


def fact_rows(runs: tuple[Examined, ...]) -> list[tuple[Any, ...]]:
    """(label, value of every run) for every fact of every section, None where a run has it not."""
    found: list[dict[str, Any]] = [{} for _ in runs]
    for column, each in zip(found, runs, strict=True):
        for result in each.results:
            if result.finding is not None:
                column |= result.finding.facts
    labels = dict.fromkeys(label for column in found for label in column)
    return [(label, *(column.get(label) for column in found)) for label in labels]


def _told(fact: Any) -> str:
    return "-" if fact is None else shown(fact)


def picture_path(folder: Path, number: int, name: str) -> Path:
    """Where the picture of a section of the run of this number is."""
    return folder / (f"{number + 1}-{name}.png" if number else f"{name}.png")


def _draw(result: Result, path: Path) -> Result:
    if result.finding is None:
        return result
    return replace(result, failure=_try(result.finding, path))


def _try(finding: Finding, path: Path) -> str:
    """Draw; the error if it fails. A missing matplotlib is the caller's."""
    try:
        finding.draw(path)
    except ModuleNotFoundError:
        raise
    except Exception as error:
        return f"the picture could not be drawn: {told(error)}"
    return ""


def _anchor(number: int, result: Result) -> str:
    return f"{result.section.name}-{number}"


def _run(each: Examined, number: int, folder: Path) -> list[str]:
    run = each.run
    versions = run.versions
    body = [
        page.heading(2, each.name, f"run-{number}"),
        page.paragraph(
            f"{run.config.model} with {run.config.activation} on {run.config.task}, step "
            f"{run.step} (checkpoints: {', '.join(map(str, run.steps))}), trained with deqzoo "
            f"{versions.get('deqzoo', '?')} and JAX {versions.get('jax', '?')} on "
            f"{versions.get('backend', '?')}.",
            "lead",
        ),
        *(page.paragraph(f"{said}.") for said in guarantees.statements(run.model.guarantees())),
        *(page.paragraph(note, "note") for note in each.notes),
    ]
    for result in each.results:
        body += _section(result, number, folder)
    settings = {**run.config.to_dict(), **{f"resolved: {k}": v for k, v in run.resolved.items()}}
    rows = [(key, str(value)) for key, value in settings.items()]
    return [*body, page.heading(3, "Settings", f"settings-{number}"), page.table([], rows)]


def _section(result: Result, number: int, folder: Path) -> list[str]:
    section, finding = result.section, result.finding
    body = [page.heading(3, section.title, _anchor(number, result))]
    if finding is None:
        if result.failure:
            return [*body, page.paragraph(f"This analysis failed: {result.failure}", "failed")]
        return [*body, page.paragraph(f"Left out: {result.omitted}.", "quiet")]
    path = picture_path(folder, number, section.name)
    return [*body, *_figure(finding, path, section.title, result.failure)]


def _figure(finding: Finding, path: Path, title: str, failure: str) -> list[str]:
    if failure:
        return [page.paragraph(failure, "failed"), page.paragraph(finding.seen)]
    return [page.picture(path, f"{title}: {finding.seen}", finding.seen, finding.healthy)]
