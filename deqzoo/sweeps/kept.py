"""Which common checkpoints of the lanes stay: those that the run of some lane would keep, alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

from deqzoo.storage.checkpoint import Keep


class Kept:
    """``kept(saved)``: the steps that stay, of those that are saved.

    Args:
        rule: of a run.
        lanes: how many there are.

    Example:
        >>> from deqzoo.storage.checkpoint import Keep
        >>> from deqzoo.sweeps.kept import Kept
        >>> kept = Kept(Keep(latest=1, best=1), lanes=2)
        >>> for step, scores in ((1, (0.5, 0.9)), (2, (0.6, 0.8)), (3, (0.7, 0.9)), (4, (0.8, 1))):
        ...     for lane, score in enumerate(scores):
        ...         kept.judge(lane, step, score)
        >>> kept([1, 2, 3, 4]), kept.of(1, [1, 2, 3, 4])
        ({1, 2, 4}, {2: 0.8, 4: 1})
    """

    def __init__(self, rule: Keep, lanes: int):
        self._rule = rule
        self._scores: list[dict[int, float]] = [{} for _ in range(lanes)]

    def judge(self, lane: int, step: int, score: float) -> None:
        """Take down what a lane has reached; lower is better."""
        self._scores[lane][step] = score

    def of(self, lane: int, saved: Iterable[int]) -> dict[int, float]:
        """Step -> score of those that a lane would keep."""
        found = {step: self._scores[lane].get(step, math.inf) for step in saved}
        return {step: found[step] for step in sorted(self._rule(found))}

    def __call__(self, saved: Iterable[int]) -> set[int]:
        """What any lane would keep: the newest, from which all go on, is among it."""
        steps = [*saved]
        return {*itertools.chain(*(self.of(lane, steps) for lane in range(len(self._scores))))}
