"""One declared fact beside its measurement."""

from __future__ import annotations

from typing import NamedTuple


class Fact(NamedTuple):
    """One declared fact beside its measurement."""

    name: str
    declared: float | str
    measured: float | str
    holds: bool
