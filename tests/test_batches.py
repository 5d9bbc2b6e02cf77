"""Batches are a pure function of (seed, step) that visits every example once an epoch."""

import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from deqzoo.data.examples import Split
from deqzoo.data.rows import Rows
from deqzoo.training import ConfigError, RunOptions, TrainConfig, Training
from deqzoo.training.batches import Batches, Drawn, indices
from deqzoo.training.devices import mesh
from deqzoo.training.devices.layout import Layout
from deqzoo.training.grain_batches import _AHEAD, GrainBatches


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


def test_a_batch_is_cut_from_the_epochs_laid_end_to_end():
    stream = np.concatenate([np.random.default_rng([5, e]).permutation(30) for e in range(4)])
    for step in range(8):
        assert np.array_equal(indices(5, step, 30, 13), stream[step * 13 : (step + 1) * 13])


def test_rows_on_disk_are_as_good_as_an_array():
    x, y = np.arange(40.0, dtype=np.float32).reshape(20, 2), np.arange(20, dtype=np.int32)
    layout = Layout(mesh.build("data:1", batch=6))
    for size in (6, 20):
        batches = [
            Batches(Drawn(Split(kind(x), kind(y)), size, seed=2), layout)
            for kind in (lambda a: a, lambda a: Rows(a, lambda rows: rows))
        ]
        for step in range(5):
            (a, b), (c, d) = (each(step) for each in batches)
            assert np.array_equal(a, c)
            assert np.array_equal(b, d)


# Grain

N, SIZE = 50, 12


class Share:
    """The layout of a process that holds some rows of every batch."""

    def __init__(self, rows):
        self.rows = rows

    def own_rows(self, size):
        return np.arange(size)[self.rows]

    def put_own(self, size, *arrays):
        return arrays


@pytest.fixture
def grain_batches():
    """Open batches of Grain, and close them in the end."""
    pytest.importorskip("grain")
    opened = []

    def open_(seed=0, rows=slice(None), x=None):
        x = np.arange(N, dtype=np.float32)[:, None] if x is None else x
        y = np.arange(N)
        opened.append(GrainBatches(Drawn(Split(x, y), SIZE, seed), Share(rows)))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def labels(batches, steps):
    return np.concatenate([batches(step)[1] for step in steps])


def test_grain_reads_the_batches_of_the_other_loader(grain_batches):
    batches = grain_batches(seed=4)
    for step in range(N):  # SIZE epochs
        x, y = batches(step)
        assert np.array_equal(y, indices(4, step, N, SIZE))
        assert np.array_equal(x[:, 0], y)


def test_the_shares_of_all_processes_are_the_batch_of_one(grain_batches):
    read = [[], []]

    def spied(process):
        def scale(rows):
            read[process] += rows[:, 0].astype(int).tolist()
            return rows

        return Rows(np.arange(N, dtype=np.float32)[:, None], scale)

    whole = grain_batches()
    shares = [
        grain_batches(rows=rows, x=spied(process))
        for process, rows in enumerate((slice(0, 8), slice(8, None)))
    ]
    for step in range(20):
        parts = [each(step) for each in shares]
        for joined, array in zip(zip(*parts, strict=True), whole(step), strict=True):
            assert np.array_equal(np.concatenate(joined), array)
    for rows, count in zip((8, 4), map(len, read), strict=True):  # and what was read ahead
        assert 20 * rows <= count <= (20 + _AHEAD) * rows


def test_grain_goes_on_from_its_state_whatever_was_read_ahead(grain_batches):
    first, second, third = (grain_batches() for _ in range(3))
    expected = labels(first, range(30))
    assert np.array_equal(labels(second, range(17)), expected[: 17 * SIZE])
    state = second.state(17)
    assert state == {"next_index": 17}  # used, not read
    third.restore(17, state)
    for resumed in (second, third):
        assert np.array_equal(labels(resumed, range(17, 30)), expected[17 * SIZE :])


def test_grain_repeats_a_step_that_is_asked_for_again(grain_batches):
    batches = grain_batches()
    expected = labels(batches, range(9))
    assert batches.state(4) == {"next_index": 4}
    assert np.array_equal(labels(batches, range(4, 9)), expected[4 * SIZE :])


def test_a_process_reads_the_rows_of_its_devices():
    layout = Layout(mesh.build("data:1", batch=6, devices=jax.devices()[:1]))
    assert layout.own_rows(6).tolist() == list(range(6))
    two = {"first": (slice(4, 6),), "second": (slice(0, 2),), "copy": (slice(4, 6),)}
    layout.batch = SimpleNamespace(addressable_devices_indices_map=lambda shape: two)
    assert layout.own_rows(6).tolist() == [0, 1, 4, 5]


def test_without_grain_nothing_is_written_and_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    config = TrainConfig(workdir=str(tmp_path / "run"))
    with pytest.raises(ConfigError, match=r"--loader=grain needs .* pip install 'deqzoo\[data\]'"):
        Training(config, RunOptions(loader="grain"))
    assert not (tmp_path / "run").exists()
