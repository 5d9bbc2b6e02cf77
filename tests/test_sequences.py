"""Tasks of sequences: labels by another way, and longer tests in the one shape there is."""

import itertools

import numpy as np
import pytest

from deqzoo import catalog
from deqzoo.data.examples import TaskError


def read(recipe):
    return catalog.tasks.get(recipe).load()


def test_parity_and_the_words_of_a5_are_products_of_their_elements():
    data = read("parity(examples=20)")
    for bits, labels in zip(*data.train, strict=True):
        assert labels.tolist() == [sum(bits[: t + 1]) % 2 for t in range(32)]
    even = [p for p in itertools.permutations(range(5)) if _swaps(p) % 2 == 0]
    for word, labels in zip(*read("a5(examples=20)").train, strict=True):
        place = [*range(5)]
        for g, label in zip(word, labels, strict=True):
            place = [even[g][i] for i in place]
            assert tuple(place) == even[label]


def _swaps(permutation):
    """How many exchanges sort it."""
    left, swaps = [*permutation], 0
    for i in range(5):
        while left[i] != i:
            at = left[i]
            left[i], left[at] = left[at], left[i]
            swaps += 1
    return swaps


def test_letters_are_said_again_after_the_sign():
    data = read("copy(length=6, memory=3, examples=20, test_length=9)")
    assert data.spec.shape == (14,)
    for split, size in ((data.train, 11), (data.test, 14)):
        for tokens, labels in zip(*split, strict=True):
            assert np.flatnonzero(tokens == 9).tolist() == [size - 3]
            np.testing.assert_array_equal(labels[size - 3 : size], tokens[:3] - 1)
            assert np.sum(labels >= 0) == 3


@pytest.mark.parametrize("name", ["parity", "a5"])
def test_a_longer_test_leaves_the_labels_of_training_short(name):
    data = read(f"{name}(length=8, test_length=20, examples=40)")
    for split, size in ((data.train, 8), (data.validation, 8), (data.test, 20)):
        assert split.x.shape == split.y.shape == (split.examples, 20)
        assert np.all(split.y[:, :size] >= 0)
        assert np.all(split.y[:, size:] == -1)


def test_a_shorter_test_is_refused():
    with pytest.raises(TaskError, match="test_length must be at least length, 32, got 16"):
        read("parity(test_length=16)")
