"""A checkpoint is what was saved, part by part, and they do not fill the disk."""

import sys
import time

import numpy as np
import pytest

from deqzoo.storage.checkpoint import CheckpointError, Checkpoints, Keep, fill

SAVED = np.arange(1.0, 7.0, dtype=np.float32)


@pytest.fixture
def store(tmp_path):
    """Checkpoints of which all stay, closed in the end."""
    store = Checkpoints(tmp_path, writable=True, keep=lambda scores: {*scores})
    yield store
    store.close()


@pytest.mark.parametrize("like", [SAVED.reshape(2, 3), SAVED.view(np.int32)], ids=str)
def test_the_same_bytes_in_another_shape_or_dtype_are_damage(like, store):
    assert like.tobytes() == SAVED.tobytes()
    for step, leaf in ((1, SAVED), (2, like)):
        store.save(step, {"W": leaf}, 0.5)
    store.wait()
    np.testing.assert_array_equal(store.read(2)["W"], like)
    (store.folder / "1" / "state").rename(store.folder / "state")
    (store.folder / "2" / "state").rename(store.folder / "1" / "state")
    with pytest.raises(CheckpointError, match=r"step 1 is damaged \(checksum of W differs\)"):
        store.read(1)


def test_a_part_is_what_lies_below_its_path_and_not_what_begins_alike(store):
    state = {"a": {"b": {"c": SAVED}, "bc": -SAVED}, "ab": 2 * SAVED}
    store.save(1, state, 0.5)
    store.wait()
    for path in ("a/b", "a/b/", "a/b/c"):
        found = store.read(1, [path])
        assert {*found["a"]} == {"b"}, path
        np.testing.assert_array_equal(found["a"]["b"]["c"], SAVED)
    assert {*store.read(1, ["a"])} == {"a"}


def test_a_broken_file_ends_a_read_in_one_error_and_without_a_word_of_the_other_reads(
    store, monkeypatch
):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    state = {f"leaf{number}": SAVED + number for number in range(30)}
    store.save(1, state, 0.5)
    store.wait()
    assert {*store.read(1)} == {*state}
    assert sys.unraisablehook == told.append
    (store.folder / "1" / "state" / "manifest.ocdbt").write_bytes(b"")
    for _ in range(20):  # it is a race
        with pytest.raises(CheckpointError, match="step 1 is damaged"):
            store.read(1)
    time.sleep(0.2)  # for the threads of the others
    assert told == []


def test_of_equal_scores_the_later_step_is_the_best(store):
    for step, score in ((1, 0.7), (2, 0.5), (3, 0.5), (4, 0.6)):
        store.save(step, {"W": SAVED}, score)
    store.wait()
    assert store.best_step() == 3
    again = Checkpoints(store.folder, writable=False)
    assert again.best_step() == 3
    again.close()
    assert Keep(latest=1, best=1)({1: 0.7, 2: 0.5, 3: 0.5, 4: 0.6}) == {3, 4}


@pytest.mark.parametrize("cast", [False, True])
@pytest.mark.parametrize("found", [SAVED[:5], SAVED[:, None], 1j * SAVED, None])
def test_a_model_is_not_filled_with_arrays_of_another_shape_or_kind(found, cast):
    state = {"W": SAVED} if found is None else {"V": SAVED, "W": found}
    with pytest.raises(CheckpointError, match="for [VW], the model expects float32"):
        fill({"V": SAVED, "W": SAVED}, state, cast=cast)


def test_a_model_is_filled_with_another_precision_only_where_it_may_be_rounded():
    exact = {"W": np.array([1 / 3, 2.0])}
    template = {"W": np.zeros(2, np.float32)}
    with pytest.raises(CheckpointError, match="has float64.* for W, the model expects float32"):
        fill(template, exact)
    np.testing.assert_array_equal(fill(template, exact, cast=True)["W"], np.float32([1 / 3, 2.0]))


def test_no_more_checkpoints_lie_on_disk_while_a_run_saves_than_it_keeps(tmp_path):
    store, counts = Checkpoints(tmp_path, writable=True, keep=Keep(latest=2, best=1)), []
    for step in range(1, 9):
        store.save(step, {"W": SAVED}, 1 / step)
        counts.append(sum(each.name.isdigit() for each in tmp_path.iterdir()))
    store.close()
    assert max(counts) <= 2 + 1 + 1  # and the one that is being written
