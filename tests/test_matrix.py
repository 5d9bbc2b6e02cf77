"""Every model of level A keeps its guarantee with every activation it admits, in every step."""

import math

import numpy as np
import pytest

from deqzoo import catalog
from deqzoo.training.promises import guarantees
from deqzoo.zoo.matrix import Pair, measure_pair, page

MODELS, ACTIVATIONS = catalog.models.names(), catalog.activations.names()


def sample(count=16):
    """Every model at least twice."""
    chosen = np.random.default_rng(5).choice(len(ACTIVATIONS), count)
    return [(MODELS[k % len(MODELS)], ACTIVATIONS[act]) for k, act in enumerate(chosen)]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "activation"), sample())
def test_the_guarantee_holds_at_the_start_and_after_every_step(model, activation):
    pair = measure_pair(model, activation, 60)
    assert pair.reason or (pair.holds and pair.steps == 60), pair


def test_who_is_not_admitted_hears_why():
    pair = measure_pair("mondeq", "identity", 1)
    assert pair.reason == "Identity() is affine and has no sector: use one that bends"
    assert not pair.holds


def test_the_largest_bound_of_all_steps_counts(monkeypatch):
    bounds = iter([0.5, 0.97123456, 0.9])
    monkeypatch.setattr(guarantees, "largest_bound", lambda *_: next(bounds))
    monkeypatch.setattr(
        "deqzoo.zoo.matrix.fit", lambda model, task, *, observers, **_: watched(*observers)
    )
    pair = measure_pair("implicit", "tanh", 2)
    assert (pair.bound, pair.holds) == (0.97123456, True)
    monkeypatch.setattr(guarantees, "largest_bound", lambda *_: math.nan)
    assert not measure_pair("implicit", "tanh", 2).holds


def watched(observer):
    for _ in range(3):
        observer._see({})


def test_the_page_rounds_up_and_gives_every_reason_once():
    reason = "{} is affine and has no sector: use one that bends"
    made = page(
        [
            Pair("wide", "tanh", "L‖W‖₂", 0.949991, 7),
            Pair("wide", "identity", "L‖W‖₂", 1.01, 7),
            Pair("mondeq", "tanh", "m", 0.9, 7),
            Pair("mondeq", "identity", reason=reason.format("Identity()")),
        ]
    )
    assert "after each of 7 training steps" in made
    assert "2 of 3 pairs that are admitted kept it" in made
    assert "| activation | `wide` | `mondeq` |\n|---|---|---|\n| bounded | L‖W‖₂ | m |\n" in made
    assert "| `tanh` | 0.95 | 0.9 |\n| `identity` | 1.01 | (1) |\n" in made
    assert f"(1) {reason.format('the activation')}." in made
    assert "Written by `python -m launch.zoo matrix --model=wide --model=mondeq`." in made
    assert "Not measured here: " in made
    assert "`classifier`" in made.partition("Not measured here: ")[2]
