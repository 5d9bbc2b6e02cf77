"""Several models on the same examples, chunk by chunk: each judged, and beside the first."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from deqzoo.data.examples import Split
from deqzoo.data.metric import Metric
from deqzoo.nn.model import Model
from deqzoo.nn.pure_model import PureModel
from deqzoo.runs.placement import on_default_device
from deqzoo.training.evaluation import Chunks, Judged, joined


class Judgement(NamedTuple):
    """What a model made of all examples.

    Attributes:
        judged: of every example.
        difference: the largest |outputs - outputs of the first model|.
        seconds: of one pass, without compiling.
    """

    judged: Judged
    difference: float
    seconds: float


def side_by_side(
    models: Sequence[Model], metrics: Mapping[str, Metric], split: Split, size: int
) -> list[Judgement]:
    """What every model makes of all examples, its outputs beside those of the first.

    No more than two chunks of outputs exist, whatever their width.

    Args:
        models: at least one; they stay as they are.
        metrics: name -> metric.
        split: examples in the dtype of the models.
        size: examples in a chunk.
    """
    passes = [_Pass(model, metrics, split, size) for model in models]
    for start in range(0, split.examples, size):
        reference = None
        for each in passes:
            reference = each.take(start, reference)
    return [each.judgement(split.examples) for each in passes]


class _Pass:
    """One model on its way through the examples; compiling takes no time of its seconds."""

    def __init__(self, model: Model, metrics: Mapping[str, Metric], split: Split, size: int):
        pure = PureModel(model)
        chunks = Chunks(pure, metrics, size, keeps_outputs=True)
        self._one = partial(chunks.one, on_default_device(pure.state), *split)
        jax.block_until_ready(self._one())
        self._parts: list[Judged] = []
        self._differences: list[Array] = []
        self._seconds = 0.0

    def take(self, start: int, reference: Any) -> Any:
        """Judge a chunk; the outputs to compare the next model with."""
        started = time.perf_counter()
        outputs, judged = self._one(start)
        self._parts.append(jax.device_get(judged))
        self._seconds += time.perf_counter() - started
        first = outputs if reference is None else reference
        self._differences.append(jnp.max(jnp.abs(outputs - first)))
        return first

    def judgement(self, examples: int) -> Judgement:
        """All chunks together."""
        difference = float(max(self._differences))
        return Judgement(joined(self._parts, examples), difference, self._seconds)
