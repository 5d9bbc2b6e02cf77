"""What a run measures of itself: lines of metrics, and the summary at its end."""

from __future__ import annotations

import math
from typing import Any

import jax

from deqzoo.data.examples import Split
from deqzoo.data.rows import thinned
from deqzoo.training.devices import layout
from deqzoo.training.evaluation import Chunks
from deqzoo.training.observer import Report
from deqzoo.training.promises import guarantees
from deqzoo.training.setup import Setup
from deqzoo.training.state import TrainState

_CHUNK = 512
_TRAIN = 100_000  # examples of the training split that are measured


class Reporter:
    """Measures a state.

    Args:
        setup: of the run.
        place: where the arrays of the run live.
    """

    def __init__(self, setup: Setup, place: layout.Layout):
        self._setup = setup
        self._promised = setup.model.guarantees()
        chunk = min(_CHUNK, setup.train.examples)
        self._chunks = Chunks(setup.pure, setup.metrics, chunk, place)

    def line(self, step: int, metrics: dict[str, float]) -> Report:
        """The line of a step that was taken."""
        examples = step * self._setup.batch_size
        return {"step": step, "epoch": examples / self._setup.train.examples, **metrics}

    def evaluation(self, state: TrainState) -> Report:
        """What an evaluation adds to the line of its step: the split to choose by, and the test."""
        weights = layout.fetch(state.parameters)
        return {**self.measured(state, self._setup.data.chooser, "test"), **self._bound(weights)}

    def summary(self, state: TrainState) -> Report:
        """What is reached at the end, on all splits."""
        return {
            "summary": True,
            "step": int(state.step),
            **self.measured(state, *self._setup.data.splits),
            "guarantees": guarantees.statements(self._promised),
            **self._bound(layout.fetch(state.parameters)),
        }

    def score(self, report: Report) -> float:
        """What decides which checkpoint is the best, lower being better; infinite if unknown."""
        name = self._setup.config.keep_best_by
        value = report.get(f"{self._setup.data.chooser}_{name}")
        if value is None or not math.isfinite(value):
            return math.inf
        return -value if self._setup.metrics[name].higher_is_better else value

    def measured(self, state: TrainState, *names: str) -> Report:
        """Loss, metrics and statistics of the solves on some splits, on each but once."""
        splits = [self._setup.data.splits[name] for name in names]
        numbers = {id(split): self._measure(state, split) for split in splits}
        return {
            f"{name}_{key}": value
            for name, split in zip(names, splits, strict=True)
            for key, value in numbers[id(split)].items()
        }

    def _measure(self, state: TrainState, whole: Split) -> dict[str, float]:
        """Of the training split at most 100,000 examples, a sum scaled up to all of them."""
        data, some = self._setup.data, whole
        if whole is data.train and whole is not data.test:
            some = jax.tree.map(lambda array: thinned(array, _TRAIN), whole)
        judged = self._chunks(state.model, *self._setup.on_host(some))
        found = judged.numbers(self._setup.metrics)
        if self._setup.loss.is_sum:
            found["loss"] *= whole.examples / some.examples
        return found

    def _bound(self, weights: dict[str, Any]) -> Report:
        """The largest bound of the guarantees; nothing where nothing is proved."""
        bound = guarantees.largest_bound(self._promised, weights)
        return {} if bound is None else {"bound": bound}
