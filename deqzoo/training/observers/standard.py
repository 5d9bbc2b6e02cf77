"""Who watches a run, in which order."""

from __future__ import annotations

from collections.abc import Iterable

from deqzoo.storage.workdir import Workdir
from deqzoo.training.observer import Observer
from deqzoo.training.observer_list import ObserverList
from deqzoo.training.observers.clock import Clock
from deqzoo.training.observers.health import Health
from deqzoo.training.observers.journal import Journal
from deqzoo.training.observers.profile import Profile
from deqzoo.training.options import RunOptions
from deqzoo.training.setup import Setup
from deqzoo.training.sink import Sink


def standard(
    setup: Setup, options: RunOptions, workdir: Workdir, given: Iterable[Observer]
) -> ObserverList:
    """Those that every run has and those given to it; sinks come after what writes the line."""
    given = tuple(given)
    return ObserverList(
        [
            Clock(setup.batch_size),
            Profile(options.profiled),
            *setup.observers,
            *(each for each in given if not isinstance(each, Sink)),
            Health(options.max_failed),
            Journal(workdir),
            *(each for each in given if isinstance(each, Sink)),
        ]
    )
