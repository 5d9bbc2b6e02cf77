"""A signal ends a run after the step it came in, in all processes after the same step."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental import multihost_utils

Stop = Callable[[int], bool]
_APART = 1.0  # seconds; what wraps a command may hand on a signal that it has had already


def watch_signals() -> Stop:
    """``stop(step)``: whether SIGTERM, SIGINT or SIGHUP came, to be asked after every step.

    A second SIGINT goes to the handler there was before: to end at once.

    With several processes a signal to any of them stops all: JAX agrees on the step. That needs
    ``jax.distributed`` to have been initialised before.
    """
    if jax.process_count() == 1:
        return _alone()
    # JAX's runtime has a handler for SIGTERM alone.
    for number in asking_to_end():
        if number != signal.SIGTERM:
            _handle(number, lambda: os.kill(os.getpid(), signal.SIGTERM))
    return multihost_utils.reached_preemption_sync_point


def asking_to_end() -> tuple[signal.Signals, ...]:
    """The signals that ask a process to end; a hang-up not where ``nohup`` has it ignored."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return (signal.SIGTERM, signal.SIGINT, *(() if ignored else (signal.SIGHUP,)))


def _alone() -> Stop:
    came = threading.Event()
    for number in asking_to_end():
        _handle(number, came.set)
    return lambda step: came.is_set()


def _handle(number: signal.Signals, act: Callable[[], Any]) -> None:
    before, first = signal.getsignal(number), []

    def handle(*called: Any) -> None:
        first.append(time.monotonic())
        if number == signal.SIGINT and callable(before) and first[-1] - first[0] > _APART:
            before(*called)
        act()

    signal.signal(number, handle)
