"""A signal that asks to end ends a command at once, in one line."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

INTERRUPTED, PREEMPTED = 130, 75
NOTHING_LOST = "stopped by a signal: nothing is half written, run the same command again"


@dataclass(frozen=True)
class Leave:
    """A handler of signals that ends the process.

    An exception could be swallowed by whatever callback it happens to be raised in.

    Attributes:
        message: the line that is said.
        undo: removes what is not finished.
    """

    message: str
    undo: Callable[[], None] = lambda: None

    def __call__(self, number: int, *_: Any) -> None:
        """End with 130 after Ctrl-C, with 75 after another signal."""
        if not _only_one.acquire(blocking=False):
            threading.Event().wait()  # the other thread is about to end both
        self.undo()
        with contextlib.suppress(OSError):  # the terminal may be what is gone
            os.write(1, f"{self.message}\n".encode(errors="replace"))
        os._exit(INTERRUPTED if number == signal.SIGINT else PREEMPTED)


_only_one = threading.Lock()


def leave_on(signals: Iterable[signal.Signals], leave: Leave) -> None:
    """Let signals end the process, whatever its main thread is doing."""
    for number in signals:
        signal.signal(number, leave)
    _watch()


@functools.cache
def _watch() -> None:
    """Leave while the main thread is in compiled code as well, where it handles no signal."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_leave_when_woken, args=(reading,), daemon=True).start()


def _leave_when_woken(reading: int) -> None:
    while True:
        (number,) = os.read(reading, 1)
        handler = signal.getsignal(number)
        if isinstance(handler, Leave):
            handler(number)
