"""A signal that asks to end ends a command at once, in one line.

Imports hardly anything: until it is imported, Ctrl-C ends in a traceback.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import os
import signal

INTERRUPTED, PREEMPTED = 130, 75
NOTHING_LOST = "stopped by a signal: nothing is half written, run the same command again"
_PATIENCE = 10.0  # seconds for undoing
_once, _never = _thread.allocate_lock(), _thread.allocate_lock()
_never.acquire()


class Leave:
    """A handler of signals that ends the process.

    An exception could be swallowed by whatever callback it happens to be raised in.

    Args:
        message: the line that is said.
        undo: removes what is not finished.
    """

    def __init__(self, message=NOTHING_LOST, undo=lambda: None):
        self._message, self._undo = message, undo

    def __call__(self, number, *_):
        """Wait for the thread that leaves, so that nothing else happens meanwhile."""
        _never.acquire(timeout=_PATIENCE)
        self.leave(number)  # somebody has taken the thread's pipe

    def leave(self, number):
        """End with 130 after Ctrl-C, with 75 after another signal."""
        self._undo()
        with contextlib.suppress(OSError):  # the terminal may be what is gone
            os.write(1, f"{self._message}\n".encode(errors="replace"))
        os._exit(INTERRUPTED if number == signal.SIGINT else PREEMPTED)


def leave_on(signals, leave):
    """Let signals end the process, whatever its main thread is doing."""
    for number in signals:
        signal.signal(number, leave)
    if _once.acquire(blocking=False):
        _watch()
        # Once all is done, Python's own last word would be that a signal ended the process.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


def _watch():
    """Leave from a thread: in compiled code the main one handles no signal."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    _thread.start_new_thread(_leave_when_woken, (reading,))


def _leave_when_woken(reading):
    while True:
        (number,) = os.read(reading, 1)
        handler = signal.getsignal(number)
        if isinstance(handler, Leave):
            handler.leave(number)
