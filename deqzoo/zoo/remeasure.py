"""Measure a member anew from its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp

from deqzoo.analysis.metric import Metric
from deqzoo.data.examples import in_dtype
from deqzoo.runs.measures import metrics_of
from deqzoo.runs.placement import input_dtype
from deqzoo.storage import shelf
from deqzoo.training.evaluation import LOSS
from deqzoo.zoo.card import Card, CardError
from deqzoo.zoo.load import load, located
from deqzoo.zoo.measure import first, measure


def remeasure(member: str | Path) -> Card:
    """Write the card with what its weights alone decide, measured now, and all else as it was.

    That is every field of ``Measured``; what needs training (the metric of every seed, the rows
    without the equilibrium, seconds) and what the weights are checked by are kept.

    Args:
        member: as ``load`` takes it.

    Raises:
        CardError: it was not built by ``launch.zoo build``, or as ``load``.
        ShelfError, TensorsError, CatalogError: as ``load``.
        TaskError: its data are not here.
        EvaluationError: there are others.
    """
    found = load(member)
    card = found.card
    if card.results is None:
        raise CardError(f"{card.name} was not built by launch.zoo build: nothing was measured")
    data = found.data()
    model, measures = found.model, metrics_of(data)
    test = jax.tree.map(jnp.asarray, first(in_dtype(data.test, input_dtype(model))))
    name = card.results.metric
    now = measure(model, test, Metric(name, measures[name], test.y), measures[LOSS])  # pyright: ignore[reportArgumentType]
    card = replace(card, results=replace(card.results, **now._asdict()))
    card.write(located(member).with_suffix(shelf.CARD))
    return card
