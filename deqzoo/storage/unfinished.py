"""What a process takes back if it has to end before it is done."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_UNDO: dict[object, Callable[[], object]] = {}
_beginning = threading.Lock()


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


@contextlib.contextmanager
def begun(begin: Callable[[], Any], undo: Callable[[Any], object]) -> Iterator[Any]:
    """What ``begin()`` returns; ``undo`` of it, when the block ends or in ``undo_all``.

    ``undo_all`` finds it begun and noted, or not begun at all.
    """
    with contextlib.ExitStack() as end:

        def begin_and_note() -> Any:
            with _beginning:
                thing = begin()
                end.enter_context(undone(functools.partial(undo, thing)))
            return thing

        # A thread of its own: the handler of a signal stops the main one wherever it is.
        with ThreadPoolExecutor(1) as thread:
            thing = thread.submit(begin_and_note).result()
        yield thing


def undo_all() -> None:
    """Undo what is under way, the latest first, and let nothing begin any more.

    For a process that ends at once after it.
    """
    _beginning.acquire()
    for undo in reversed([*_UNDO.values()]):
        with contextlib.suppress(Exception):
            undo()
