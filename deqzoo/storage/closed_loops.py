"""When one of many concurrent reads fails, the others end without a traceback each."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class _Unsaid:
    before: Callable[[Any], object]

    def __call__(self, unraisable: Any) -> None:
        """Pass over a loop that is closed, and nothing else."""
        if str(unraisable.exc_value) != "Event loop is closed":
            self.before(unraisable)


@contextlib.contextmanager
def closed_loops_unsaid() -> Iterator[None]:
    """Read with Orbax; threads of TensorStore then find no loop to hand their part to, and say so.

    After a failure this lasts for the rest of the process: they may still be on their way.
    """
    before = sys.unraisablehook
    if not isinstance(before, _Unsaid):
        sys.unraisablehook = _Unsaid(before)
    yield
    sys.unraisablehook = before
