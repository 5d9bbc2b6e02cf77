"""Batches are a pure function of (seed, step) that visits every example once an epoch."""

import numpy as np
import pytest

from deqzoo.training.batches import indices


@pytest.mark.parametrize(("examples", "size"), [(10, 3), (10, 5), (7, 7), (5, 4), (100, 32)])
def test_an_epoch_visits_every_example_once(examples, size):
    steps = examples  # size epochs in all
    stream = np.concatenate([indices(1, step, examples, size) for step in range(steps)])
    for epoch in stream.reshape(size, examples):
        assert sorted(epoch) == list(range(examples))


def test_the_order_depends_on_seed_and_epoch_and_nothing_else():
    first = [indices(0, step, 50, 20) for step in range(9)]
    again = [indices(0, step, 50, 20) for step in reversed(range(9))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(indices(0, 0, 50, 20), indices(1, 0, 50, 20))
    assert not np.array_equal(indices(0, 0, 50, 25), indices(0, 2, 50, 25))


def test_the_full_batch_keeps_the_order_of_the_data():
    assert np.array_equal(indices(3, 8, 6, 6), np.arange(6))
