"""The table of the trained members, made of their cards alone."""

from __future__ import annotations

from collections.abc import Iterable

from deqzoo.zoo.card import WITHOUT, Card

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


class PageError(ValueError):
    """A page without the marks between which the table belongs."""


def table(cards: Iterable[Card]) -> str:
    """Markdown: a row a member, what is proved of each, and what the equilibrium is worth.

    Args:
        cards: of members that were built; others are left out.
    """
    measured = [card for card in cards if card.results is not None]
    head = f"| {' | '.join(_HEADS)} |\n|{'---|' * len(_HEADS)}"
    rows = [f"| {' | '.join(_cells(card))} |" for card in measured]
    proved = [f"- `{card.name}`: {card.theorem}" for card in measured]
    worth = [f"- `{card.name}`: {card.results.verdict}" for card in measured if card.results]
    built = [f"    {card.command}" for card in measured]
    machines = sorted({card.results.cpu for card in measured if card.results})
    return "\n".join(
        [
            *(head, *rows, ""),
            "Mean ± deviation over the seeds; s: seconds of training all of them, compilation "
            f"included, on {'; '.join(machines)}.",
            *("", "What is proved of the weights that are shipped:", "", *proved, ""),
            f"What the equilibrium is worth. Without it: {WITHOUT}.",
            *("", *worth, "", "Each is built again by", "", *built),
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


def _cells(card: Card) -> tuple[str, ...]:
    found = card.results
    if found is None:
        return ()
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
