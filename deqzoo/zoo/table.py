"""The table of the trained members, made of their cards alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deqzoo.zoo.card import WITHOUT, Card
from deqzoo.zoo.measure import EXAMPLES
from deqzoo.zoo.proofs import STEPS, Proofs
from deqzoo.zoo.results import Results

BEGIN, END = "<!-- table: python -m launch.zoo table -->", "<!-- end of the table -->"
_HEADS = (
    "member",
    "level",
    "test metric",
    "without the equilibrium",
    "after 1, 3, 8, 20 steps",
    "bypassed",
    "starts that agree",
    "failed",
    "steps, forward + backward",
    "parameters",
    "s",
)
_SHOWN = ("1", "3", "8", "20")
_RADII = (0.05, 0.1, 0.25, 0.5)
_PROVED = (
    "member",
    f"labels proved final after {', '.join(map(str, STEPS))} steps",
    "changed",
    "equilibria proved",
    *(f"certified / attacked, radius {radius:g}" for radius in _RADII),
)
_NONE = "none"


class PageError(ValueError):
    """A page without the marks between which the table belongs."""


def table(cards: Iterable[Card]) -> str:
    """Markdown: a row a member, what is proved of each, and what the equilibrium is worth.

    Args:
        cards: of members that were built; others are left out.
    """
    measured = [(card, card.results) for card in cards if card.results is not None]
    proved = [f"- `{card.name}`: {card.theorem}" for card, _ in measured]
    worth = [f"- `{card.name}`: {results.verdict}" for card, results in measured]
    built = [f"    {card.command}" for card, _ in measured]
    machines = sorted({results.cpu for _, results in measured})
    reasons = [
        f"- `{card.name}`: {reason}"
        for card, results in measured
        for reason in dict.fromkeys(results.proofs.reasons.values())
    ]
    return "\n".join(
        [
            *_rows(_HEADS, [_cells(*each) for each in measured]),
            "Mean ± deviation over the seeds, a single number of one seed; the solves of the "
            f"shipped weights are of the first {EXAMPLES} test examples at most; s: seconds of "
            f"training all seeds, compilation included, on {'; '.join(machines)}.",
            *("", f"What the equilibrium is worth. Without it: {WITHOUT}.", "", *worth),
            *("", "## What is proved", "", "Of the weights that are shipped:", "", *proved),
            *("", "## What is proved, example by example", ""),
            *_rows(_PROVED, [(f"`{c.name}`", *_counted(r.proofs)) for c, r in measured]),
            f"Shares of the test examples, at most of the first {EXAMPLES}, in per cent and "
            "rounded down; radii are Euclidean, of scaled inputs.",
            *(("", *reasons) if reasons else ()),
            *("", "## Built again by", "", *built),
        ]
    )


def placed(page: str, made: str) -> str:
    """The page with another table between its marks.

    Raises:
        PageError: it has no marks.

    Example:
        >>> from deqzoo.zoo.table import BEGIN, END, placed
        >>> placed(f"before {BEGIN} old {END} after", "new") == (
        ...     f"before {BEGIN}{chr(10) * 2}new{chr(10) * 2}{END} after"
        ... )
        True
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise PageError(f"the page has no place for the table: expected {BEGIN} and {END} in it")
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of Markdown, and the empty line after it."""
    lines = (heads, ["---"] * len(heads), *rows)
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def _counted(found: Proofs) -> tuple[str, ...]:
    labels, radii = found.labels, found.radii
    balls = [_NONE] * len(_RADII)
    if radii is not None:
        pairs = zip(radii.certified, radii.attacked, strict=True)
        at = dict(zip(radii.radii, pairs, strict=True))
        balls = [" / ".join(map(found.share, at.get(radius, ()))) or _NONE for radius in _RADII]
    return (
        _NONE if labels is None else ", ".join(map(found.share, labels.final.values())),
        _NONE if labels is None else str(labels.violations),
        _NONE if found.equilibria is None else found.share(found.equilibria),
        *balls,
    )


def _cells(card: Card, found: Results) -> tuple[str, ...]:
    return (
        f"`{card.name}`",
        card.level,
        f"{found.metric} {found.told(found.values)}",
        found.told(found.without),
        ", ".join(found.one(found.after[step]) for step in _SHOWN if step in found.after),
        found.one(found.after["0"]) if "0" in found.after else "",
        f"{found.starts_converged} of {found.starts}, to {found.starts_distance:.0e}",
        f"{found.failed} of {found.examples * len(found.seeds)}",
        f"{found.forward_steps:.1f} + {found.backward_steps:.1f}",
        f"{card.parameters:,}",
        f"{found.seconds:.0f}",
    )
