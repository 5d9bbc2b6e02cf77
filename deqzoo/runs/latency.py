"""How long a call takes, once it is compiled."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax

_WARM_UP = 3


def median_seconds(call: Callable[[], Any], calls: int) -> float:
    """The median wall time of ``calls`` calls after a few that are not counted.

    Args:
        call: what is timed, until its arrays are ready.
        calls: how often, at least once.
    """
    seconds = []
    for _ in range(_WARM_UP + calls):
        started = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[_WARM_UP:])
