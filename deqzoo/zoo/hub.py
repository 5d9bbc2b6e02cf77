"""A card as the README of a repository on the Hugging Face Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deqzoo.zoo.card import Card

_TASKS = {"accuracy": "classification"}


def page(card: Card) -> str:
    """YAML between two rules, as the Hub reads it, then the card as a table.

    Every value is written as JSON, which is YAML as well.

    Args:
        card: of a member.
    """
    front = "\n".join(_lines(_front(card), ""))
    rows = "\n".join(f"| {name} | {text.replace('|', chr(92) + '|')} |" for name, text in card.rows)
    return (
        f"---\n{front}\n---\n\n# {card.name}\n\n| | |\n|---|---|\n{rows}\n\n"
        f"```python\nimport deqzoo\n\noutputs, solution = deqzoo.load({card.name!r})(x)\n```\n"
    )


def _front(card: Card) -> dict[str, Any]:
    found = {"license": "mit", "library_name": "deqzoo", "tags": ["deep-equilibrium-model", "jax"]}
    results, data = card.results, card.data
    if results is None or data is None:
        return found
    metrics = [{"type": results.metric, "value": results.mean, "name": _named(card)}]
    task = {"type": _TASKS.get(results.metric, "other")}
    dataset = {"type": data.task, "name": data.task, "split": "test", "revision": data.fingerprint}
    result = {"task": task, "dataset": dataset, "metrics": metrics}
    return {**found, "model-index": [{"name": card.name, "results": [result]}]}


def _named(card: Card) -> str:
    results = card.results
    return "" if results is None else f"test {results.metric}, mean of {results.trained}"


def _lines(value: dict[str, Any], indent: str) -> Iterator[str]:
    """Block style, which the Hub's own tools write."""
    for key, each in value.items():
        if isinstance(each, dict):
            yield f"{indent}{key}:"
            yield from _lines(each, indent + "  ")
        elif isinstance(each, list) and each and isinstance(each[0], dict):
            yield f"{indent}{key}:"
            for item in each:
                first, *rest = _lines(item, indent + "  ")
                yield f"{indent}- {first.strip()}"
                yield from rest
        else:
            yield f"{indent}{key}: {json.dumps(each, ensure_ascii=False)}"
