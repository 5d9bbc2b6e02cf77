"""What a run measures of itself: lines of metrics, and the summary at its end."""

from __future__ import annotations

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
_TRAIN = 100_000  # examples of the training split that the summary measures


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
        """What an evaluation adds to the line of its step."""
        weights = layout.fetch(state.parameters)
        test = self.measure(state, self._setup.data.test)
        report: Report = {f"test_{name}": value for name, value in test.items()}
        return {**report, **self._bound(weights)}

    def summary(self, state: TrainState) -> Report:
        """What is reached at the end, on the training split by at most 100,000 examples of it."""
        train = self._measure_train(state)
        test = self.measure(state, self._setup.data.test)
        return {
            "summary": True,
            "step": int(state.step),
            **{f"train_{name}": train[name] for name in self._setup.metrics},
            **{f"test_{name}": value for name, value in test.items()},
            "guarantees": guarantees.statements(self._promised),
            **self._bound(layout.fetch(state.parameters)),
        }

    def measure(self, state: TrainState, split: Split) -> dict[str, float]:
        """Loss, metrics and statistics of the solves on a split."""
        judged = self._chunks(state.model, *self._setup.on_host(split))
        return judged.numbers(self._setup.metrics)

    def _measure_train(self, state: TrainState) -> dict[str, float]:
        whole = self._setup.data.train
        some = jax.tree.map(lambda array: thinned(array, _TRAIN), whole)
        found = self.measure(state, some)
        if self._setup.loss.is_sum:
            found["loss"] *= whole.examples / some.examples
        return found

    def _bound(self, weights: dict[str, Any]) -> Report:
        """The largest bound of the guarantees; nothing where nothing is proved."""
        bound = guarantees.largest_bound(self._promised, weights)
        return {} if bound is None else {"bound": bound}
