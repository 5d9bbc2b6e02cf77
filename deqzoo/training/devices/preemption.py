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
    """``stop(step)``: whether SIGTERM or SIGINT came, to be asked after every step.

    With several processes a signal to any of them stops all: JAX agrees on the step. That needs
    ``jax.distributed`` to have been initialised before.
    """
    if jax.process_count() == 1:
        return _alone()
    # JAX's runtime has a handler for SIGTERM alone.
    signal.signal(signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    return multihost_utils.reached_preemption_sync_point


def _alone() -> Stop:
    came = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: came.set())
    return lambda step: came.is_set()
