"""A signal ends a run after the step it came in, in all processes after the same step."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import jax
from jax.experimental import multihost_utils

Stop = Callable[[int], bool]


def watch_signals() -> Stop:
    """``stop(step)``: whether SIGTERM, SIGINT or SIGHUP came, to be asked after every step.

    With several processes a signal to any of them stops all: JAX agrees on the step. That needs
    ``jax.distributed`` to have been initialised before.
    """
    if jax.process_count() == 1:
        return _alone()
    # JAX's runtime has a handler for SIGTERM alone.
    for number in asking_to_end():
        if number != signal.SIGTERM:
            signal.signal(number, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    return multihost_utils.reached_preemption_sync_point


def asking_to_end() -> tuple[signal.Signals, ...]:
    """The signals that ask a process to end; a hang-up not where ``nohup`` has it ignored."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return (signal.SIGTERM, signal.SIGINT, *(() if ignored else (signal.SIGHUP,)))


def _alone() -> Stop:
    came = threading.Event()
    for number in asking_to_end():
        signal.signal(number, lambda *_: came.set())
    return lambda step: came.is_set()
