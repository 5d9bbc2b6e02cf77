"""How two records differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deqzoo.settings import quoted


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What two records do not share, a phrase each; of nested ones what those do not share.

    Example:
        >>> from deqzoo.storage.difference import difference
        >>> difference({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 4, "d": 3}})
        ['c: 2 there, 4 here']
    """
    phrases: list[str] = []
    for key in sorted({*old, *new}):
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            phrases += difference(before, now)
        elif before != now:
            phrases.append(f"{key}: {quoted(before)} there, {quoted(now)} here")
    return phrases
