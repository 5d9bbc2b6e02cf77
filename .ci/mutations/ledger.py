"""What has been tried and what came of it, a JSON line each, the last one in force."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Row:
    """A change and its verdict.

    Attributes:
        file: the file.
        line: the line.
        change: the line before and after.
        word: ``noticed``, ``timeout``, ``survived`` or ``unclear``; of what was not tried, "".
        by: the test that noticed it.
        seconds: how long that took.
    """

    file: str
    line: int
    change: str
    word: str = ""
    by: str = ""
    seconds: int = 0


class Ledger:
    """The rows of a file, which grows.

    Args:
        path: the file.
    """

    def __init__(self, path: Path):
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        rows = [Row(**json.loads(line)) for line in lines]
        self._known = {(row.file, row.line, row.change): row for row in rows}

    def of(self, row: Row) -> Row:
        """What is known of a change."""
        return self._known.get((row.file, row.line, row.change), row)

    def add(self, row: Row) -> None:
        """Keep a verdict."""
        self._known[row.file, row.line, row.change] = row
        with self._path.open("a") as file:
            file.write(json.dumps(dataclasses.asdict(row)) + "\n")
