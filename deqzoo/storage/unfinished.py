"""What a process takes back if it has to end before it is done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

_UNDO: dict[object, Callable[[], object]] = {}


@contextlib.contextmanager
def undone(undo: Callable[[], object]) -> Iterator[None]:
    """Call ``undo`` when the block ends, and in ``undo_all`` if that comes before.

    Example:
        >>> from deqzoo.storage.unfinished import undone
        >>> with undone(lambda: print("swept")):
        ...     print("work")
        work
        swept
    """
    key = object()
    _UNDO[key] = undo
    try:
        yield
    finally:
        _UNDO.pop(key, None)
        undo()


def undo_all() -> None:
    """Undo what is under way, the latest first; for a process that ends at once after it."""
    for undo in reversed([*_UNDO.values()]):
        with contextlib.suppress(Exception):
            undo()
