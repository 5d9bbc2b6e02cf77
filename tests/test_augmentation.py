"""Augmented images: moved as they are stored, drawn by seed, step and example, to train alone."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from test_data import interrupt
from test_training import assert_equal_bits, parameters_of

import deqzoo
from deqzoo import catalog
from deqzoo.data.arrays import data_of_arrays
from deqzoo.data.augmentation import Augmentation
from deqzoo.data.examples import Data, Split, TaskError, in_dtype
from deqzoo.data.rows import Rows
from deqzoo.data.scaling import scaled
from deqzoo.training import RunOptions, TrainConfig, Training, train
from deqzoo.training.batches import Batches, Drawn, indices
from deqzoo.training.devices import mesh
from deqzoo.training.devices.layout import Layout

RNG = np.random.default_rng(0)
BOTH = Augmentation(shift=2, flip=True)
SMALL = {
    "task": "digits(shift=1, flip=True)",
    "width": 16,
    "batch_size": "100",
    "solver": "picard",
    "adjoint": "implicit(solver='picard')",
    "steps": 7,
    "log_every": 1,
    "eval_every": 3,
    "checkpoint_every": 3,
}


def load(recipe):
    return catalog.tasks.get(recipe).load()


def pixels(n=40, side=6):
    """Images of which no pixel is black."""
    return RNG.integers(1, 256, (n, side, side + 1, 3)).astype(np.uint8)


def reference(image, shift, row, column, mirrored):
    """An image, pixel by pixel."""
    height, width, _ = image.shape
    found = np.zeros_like(image)
    for y, x in itertools.product(range(height), range(width)):
        at = y + row - shift, (width - 1 - x if mirrored else x) + column - shift
        if 0 <= at[0] < height and 0 <= at[1] < width:
            found[y, x] = image[at]
    return found


# What is drawn.


def split_mix(state, count):
    """The words of SplitMix64, one after the other, as its authors write it."""
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        word = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % 2**64
        yield word ^ (word >> 31)


def test_the_sequence_is_that_of_split_mix():
    assert [*split_mix(1234567, 2)] == [6457827717110365317, 3203168211198807973]  # published
    for seed, step, shift in ((0, 0, 2), (10**30, 7, 5)):
        (start,) = np.random.SeedSequence([seed, step, 1]).generate_state(1, np.uint64).tolist()
        words = [*split_mix(start, 50)]
        many = 2 * shift + 1
        expected = [[(w >> 40) * many >> 24, (w >> 16) % 2**24 * many >> 24, w % 2] for w in words]
        found = Augmentation(shift, flip=True).draws(seed, step, np.arange(50))
        assert found.tolist() == expected


def test_a_draw_is_a_function_of_seed_step_and_example_and_nothing_else():
    every = BOTH.draws(3, 5, np.arange(1000))
    chosen = RNG.permutation(1000)[:99]
    assert np.array_equal(BOTH.draws(3, 5, chosen), every[chosen])
    for other in (BOTH.draws(4, 5, np.arange(1000)), BOTH.draws(3, 6, np.arange(1000))):
        assert np.mean(np.all(other == every, axis=1)) < 0.05  # 1/50


def test_every_move_is_equally_likely_and_half_are_mirrored():
    draws = np.concatenate([BOTH.draws(0, step, np.arange(2000)) for step in range(50)])
    counts = np.bincount(np.ravel_multi_index(draws.T, (5, 5, 2)), minlength=50)
    assert len(counts) == 50
    assert np.sum((counts - 2000) ** 2 / 2000) < 49 + 5 * np.sqrt(2 * 49)  # chi-squared


def test_what_is_not_asked_for_is_not_drawn():
    assert not np.any(Augmentation(shift=3).draws(0, 0, np.arange(99))[:, 2])
    assert not np.any(Augmentation(flip=True).draws(0, 0, np.arange(99))[:, :2])


# What is done.


@pytest.mark.parametrize("shift", [0, 1, 3])
def test_images_are_moved_as_the_reference_moves_them(shift):
    images, augmentation = pixels(), Augmentation(shift, flip=True)
    draws = augmentation.draws(0, 0, np.arange(40))
    found = augmentation.moved(images, draws)
    expected = [reference(i, shift, *d) for i, d in zip(images, draws.tolist(), strict=True)]
    np.testing.assert_array_equal(found, expected)
    assert (found.dtype, found.shape) == (images.dtype, images.shape)


@pytest.mark.parametrize("scaling", ["standard", "sphere", "none"])
@pytest.mark.parametrize("stored", ["memory", "rows"])
def test_a_batch_holds_images_moved_as_they_are_stored_and_scaled_then(scaling, stored):
    x, y = pixels(), np.arange(40) % 2
    train = Split(x if stored == "memory" else Rows(x), y)
    plain = scaled(Data(train, Split(x, y), 2), scaling)
    data = scaled(Data(train, Split(x, y), 2, augmentation=BOTH), scaling)
    drawn = Drawn(in_dtype(data.train, "float32"), 12, 5, data.augmentation)
    black, factor = 0.0, 1.0
    if scaling == "standard":
        black, factor = -x.mean(dtype=float) / x.std(dtype=float), 1 / x.std(dtype=float)
    for step in range(4):
        found, chosen = drawn(step), indices(5, step, 40, 12)
        draws = BOTH.draws(5, step, chosen)
        images = [reference(x[i], 2, *d) for i, d in zip(chosen, draws.tolist(), strict=True)]
        expected = np.array(images) * factor + black
        if scaling == "sphere":
            norms = np.sqrt(np.sum(np.square(expected), axis=(1, 2, 3), keepdims=True))
            expected = expected * np.sqrt(x[0].size) / norms
        np.testing.assert_allclose(found.x, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(found.y, y[chosen])
        assert found.x.dtype == np.float32
        if scaling != "sphere":  # bit for bit: the pixels of the images, and black
            allowed = np.append(np.unique(plain.train.x), np.float32(black))
            assert {*np.unique(found.x)} <= {*allowed}
            assert np.float32(black) in found.x
    np.testing.assert_array_equal(data.train.x, plain.train.x)
    np.testing.assert_array_equal(data.test.x, plain.test.x)


def test_black_is_scaled_to_the_bits_of_black():
    x = pixels()
    x[0] = 0
    data = scaled(Data(Split(x, np.arange(40) % 2), Split(x, x), 2, augmentation=BOTH), "standard")
    found = Drawn(data.train, 40, 0, BOTH)(0).x
    assert {*np.unique(found)} <= {*np.unique(np.asarray(data.train.x))}


def test_an_image_that_is_moved_out_of_its_frame_is_black():
    x = np.zeros((9, 4, 4, 1), np.uint8)
    x[:, 0, 0] = 7
    data = scaled(
        Data(Split(x, np.arange(9) % 2), Split(x, x), 2, augmentation=Augmentation(3)), "sphere"
    )
    norms = np.linalg.norm(Drawn(data.train, 9, 0, data.augmentation)(0).x.reshape(9, -1), axis=1)
    assert {*norms} == {0.0, 4.0}


def test_arrays_of_ones_own_are_moved_too():
    x = pixels().astype(np.float32)
    data = replace(data_of_arrays((x, np.arange(40) % 2), validation=0), augmentation=BOTH)
    drawn = Drawn(data.train, 16, 0, data.augmentation)
    chosen = indices(0, 0, 32, 16)
    expected = BOTH.moved(data.train.x[chosen], BOTH.draws(0, 0, chosen))
    np.testing.assert_array_equal(drawn(0).x, expected)


@pytest.mark.parametrize(
    ("x", "augmentation"),
    [
        (np.ones((4, 8, 8, 1)), Augmentation(shift=8)),
        (np.ones((4, 9, 3, 1)), Augmentation(shift=3)),
        (np.ones((4, 8, 8)), Augmentation(flip=True)),
        ({"a": np.ones((4, 8, 8, 1)), "b": np.ones((4, 8, 8, 1))}, Augmentation(flip=True)),
    ],
)
def test_what_is_no_image_of_its_size_is_refused(x, augmentation):
    split = Split(x, np.arange(4) % 2)
    with pytest.raises(TaskError, match="shift and flip are for images .* of more pixels each way"):
        Data(split, split, 2, augmentation=augmentation)


def test_a_task_refuses_a_shift_beyond_its_images():
    with pytest.raises(TaskError, match=r"got Augmentation\(shift=8, flip=False\) .*\(8, 8, 1\)"):
        load("digits(shift=8)")
    with pytest.raises(catalog.CatalogError, match="shift must be a whole number >= 0, got -1"):
        load("digits(shift=-1)")
    with pytest.raises(catalog.CatalogError, match="unexpected keyword argument 'flip'"):
        load("sphere(flip=True)")


# What a run makes of it.


def config(workdir, **settings):
    return TrainConfig(**{**SMALL, "workdir": str(workdir), **settings})


def test_the_full_batch_is_another_in_every_step():
    data = load("digits(shift=1)")
    size = data.train.examples
    layout = Layout(mesh.build("data:1", batch=size))
    batches = Batches(Drawn(data.train, size, 0, data.augmentation), layout)
    (first, labels), (second, _), (again, _) = (batches(step) for step in (0, 1, 0))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(labels, data.train.y)


def test_the_shares_of_all_processes_are_the_batch_of_one():
    drawn = Drawn(load("digits(shift=1)").train, 12, 0, Augmentation(1, flip=True))
    whole, parts = drawn(3), [drawn(3, np.arange(12)[rows]) for rows in (slice(5), slice(5, 12))]
    np.testing.assert_array_equal(np.concatenate([part.x for part in parts]), whole.x)


@pytest.mark.slow
@pytest.mark.parametrize("before", ["memory", "grain"])
@pytest.mark.parametrize("after", ["memory", "grain"])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(before, after, tmp_path):
    pytest.importorskip("grain")
    whole, parts = (config(tmp_path / name) for name in ("whole", "parts"))
    list(train(whole))
    interrupt(parts, RunOptions(loader=before))
    resumed = Training(parts, RunOptions(loader=after))
    assert resumed.step == 3
    list(resumed.reports())
    resumed.close()
    assert_equal_bits(parameters_of(parts.workdir, 7), parameters_of(whole.workdir, 7))


@pytest.mark.slow
def test_it_changes_the_training_and_not_what_is_measured(tmp_path):
    list(train(config(tmp_path / "run")))
    run = deqzoo.load_run(tmp_path / "run")
    for split in ("train", "validation", "test"):
        found = deqzoo.evaluate(run, load("digits"), split=split)
        assert found.metrics["loss"] == pytest.approx(run.summary[f"{split}_loss"], rel=1e-5)
    list(train(config(tmp_path / "plain", task="digits", steps=1)))
    rows = [deqzoo.load_run(tmp_path / name).metrics[0]["loss"] for name in ("run", "plain")]
    assert rows[0] != rows[1]


def test_another_augmentation_is_another_run():
    data = load("digits")
    prints = {replace(data, augmentation=a).fingerprint for a in (None, BOTH, Augmentation(1))}
    assert len(prints) == 3
    assert data.fingerprint in prints
