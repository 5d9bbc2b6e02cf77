"""Images from the files of MNIST and CIFAR-10: what was written is read, and damage is named."""

import gzip
import os
import re
import struct

import numpy as np
import pytest

from deqzoo import catalog
from deqzoo.catalog import CatalogError
from deqzoo.data.examples import TaskError
from deqzoo.data.idx import read_idx

IDX = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
CIFAR = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx_bytes(array):
    """The idx file of an array, as the format is described."""
    head = struct.pack(
        f">BBBB{array.ndim}I", 0, 0, CODES[array.dtype.str[1:]], array.ndim, *array.shape
    )
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_idx(folder, side=28):
    """Four files of 60 training and 20 test images, the test files gzipped; the arrays by name."""
    rng, found = np.random.default_rng(7), {}
    for name in IDX:
        examples = 60 if name.startswith("train") else 20
        shape = (examples, side, side) if "images" in name else (examples,)
        values = rng.integers(0, 256, shape) if "images" in name else np.arange(examples) % 10
        found[name] = values.astype(np.uint8)
        data = idx_bytes(found[name])
        file = folder / (name if examples == 60 else f"{name}.gz")
        file.write_bytes(data if examples == 60 else gzip.compress(data))
    return found


def write_cifar(folder):
    """Six files of 12 records each; the records by name."""
    rng, found = np.random.default_rng(8), {}
    for name in CIFAR:
        found[name] = rng.integers(0, 256, (12, 3073), np.uint8)
        found[name][:, 0] %= 10
        found[name].tofile(folder / name)
    return found


def load(recipe):
    return catalog.tasks.get(recipe).load()


# The format.


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", CODES)
def test_an_array_is_read_as_it_was_written(dtype, packed, tmp_path):
    array = np.random.default_rng(0).uniform(-9, 99, (4, 3, 2)).astype(dtype)
    data = idx_bytes(array)
    path = tmp_path / "array"  # whatever its name
    path.write_bytes(gzip.compress(data) if packed else data)
    found = read_idx(path)
    assert (found.dtype, found.dtype.isnative) == (np.dtype(dtype), True)
    np.testing.assert_array_equal(found, array)


GOOD = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
PACKED = gzip.compress(GOOD)


CUT = "cannot read .*EOFError"
DAMAGED = {
    "empty": (b"", r"must begin with two zero bytes, .*, got the bytes \[\]"),
    "short": (GOOD[:3], r"got the bytes \[0, 0, 8\]"),
    "picture": (b"\x89PNG" + GOOD, r"got the bytes \[137, 80, 78, 71\]"),
    "magic": (b"\0\1" + GOOD[2:], r"got the bytes \[0, 1, 8, 3\]"),
    "dtype": (b"\0\0\x0a" + GOOD[3:], r"one of \[8, 9, .*, got the bytes \[0, 0, 10, 3\]"),
    "sizes": (GOOD[:9], "ends within its 3 dimensions"),
    "cut": (GOOD[:-1], r"must hold 24 bytes behind its header, shape \[2, 3, 4\], got 23;"),
    "longer": (GOOD + b"\0", "must hold 24 bytes .*, got more;"),
    "huge": (b"\0\0\x08\x02" + b"\xff" * 8, "holds 18446744065119617025 bytes, .* npy"),
    "vast": (b"\0\0\x0e\xff" + b"\xff" * 1020, "says that it holds"),
    "gzip cut": (PACKED[:-9], CUT),
    "gzip cut in its checksum": (PACKED[:-5], CUT),
    "gzip cut in its header": (PACKED[:5], CUT),
    "gzip of another checksum": (PACKED[:-8] + b"\1" + PACKED[-7:], "cannot read .*CRC"),
    "gzip damaged": (PACKED[:12] + b"\xff" * 8 + PACKED[20:], "cannot read .*(error|CRC)"),
    "gzip with more": (PACKED + b"more", "cannot read .*BadGzipFile"),
    "gzip of longer": (gzip.compress(GOOD + b"\0"), "must hold 24 bytes .*, got more;"),
    "gzip of shorter": (gzip.compress(GOOD[:-1]), "got 23;"),
}


@pytest.mark.parametrize(("data", "message"), DAMAGED.values(), ids=DAMAGED)
def test_damage_is_named_in_a_line(data, message, tmp_path):
    path = tmp_path / "damaged"
    path.write_bytes(data)
    with pytest.raises(TaskError, match=message) as raised:
        read_idx(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_no_more_is_unpacked_than_the_header_asks_for(tmp_path, monkeypatch):
    """Behind six bytes follow 200 MB of zeros, which gzip packs into 200 kB."""
    path = tmp_path / "bomb"
    head = struct.pack(">BBBBII", 0, 0, 8, 2, 2, 3)
    path.write_bytes(gzip.compress(head + bytes(200_000_000), compresslevel=1))
    taken, read = [], gzip.GzipFile.read

    def spied(self, size=-1):
        taken.append(len(data := read(self, size)))
        return data

    monkeypatch.setattr(gzip.GzipFile, "read", spied)
    with pytest.raises(TaskError, match="must hold 6 bytes .* got more"):
        read_idx(path)
    assert sum(taken) == len(head) + 7


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero", "/dev/null"):
        with pytest.raises(TaskError, match="cannot read .*(not a regular file|Is a directory)"):
            read_idx(path)


# The four files.


@pytest.mark.parametrize("task", ["idx", "fashion", "mnist"])
def test_images_and_labels_are_those_of_the_files(task, tmp_path):
    arrays = [*write_idx(tmp_path).values()]
    data = load(f"{task}(path={str(tmp_path)!r}, scaling='none', validation=0)")
    assert data.classes == 10
    for split, images, labels in ((data.train, *arrays[:2]), (data.test, *arrays[2:])):
        np.testing.assert_array_equal(split.x, images[..., None])
        np.testing.assert_array_equal(split.y, labels)
        assert split.x._stored.dtype == np.uint8  # a byte a pixel in memory


def test_the_short_form_names_the_folder(tmp_path):
    write_idx(tmp_path)
    long = load(f"idx(path={str(tmp_path)!r})").fingerprint
    assert load(f"idx:{tmp_path}").fingerprint == long


def test_as_many_classes_as_the_largest_label_says(tmp_path):
    write_idx(tmp_path)
    (tmp_path / IDX[1]).write_bytes(idx_bytes((np.arange(60) % 27).astype(np.int32)))
    assert load(f"idx:{tmp_path}").classes == 27


def test_a_file_as_it_is_goes_before_its_gzipped_twin(tmp_path):
    labels = write_idx(tmp_path)[IDX[3]]
    (tmp_path / IDX[3]).write_bytes(idx_bytes(labels[::-1].copy()))
    np.testing.assert_array_equal(load(f"idx:{tmp_path}").test.y, labels[::-1])


def test_digits_of_a_folder_are_chosen_and_labelled_by_position(tmp_path):
    arrays = [*write_idx(tmp_path).values()]
    plain, signs = (
        load(f"mnist(digits=(7, 2), path={str(tmp_path)!r}, scaling='none', validation=0{more})")
        for more in ("", ", signs=True")
    )
    kept = np.isin(arrays[1], (2, 7))
    np.testing.assert_array_equal(plain.train.x, arrays[0][kept][..., None])
    np.testing.assert_array_equal(plain.train.y, arrays[1][kept] == 2)
    np.testing.assert_array_equal(signs.train.y[:, 0], 2 * plain.train.y - 1)
    assert plain.test.examples == 4


@pytest.mark.parametrize("name", [*IDX])
def test_a_missing_file_is_named_with_what_to_do(name, tmp_path):
    write_idx(tmp_path)
    for file in tmp_path.glob(f"{name}*"):
        file.unlink()
    where = re.escape(f"there is no {name} and no {name}.gz in {tmp_path}: ")
    for task, what in (
        ("idx", "name the folder of the four idx files"),
        ("fashion", r"apt install dataset-fashion-mnist, or .* fashion\(path='FOLDER'\)"),
        ("mnist", "name the folder of the four files of MNIST"),
    ):
        with pytest.raises(TaskError, match=where + what):
            load(f"{task}(path={str(tmp_path)!r})")


def test_fashion_is_looked_for_where_the_package_puts_it(monkeypatch):
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    with pytest.raises(TaskError, match="in /usr/share/datasets/fashion-mnist: apt install"):
        load("fashion")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (
            IDX[0],
            np.ones((60, 784), "u1"),
            r"hold images \(n, height, width\), got uint8\(60, 784\)",
        ),
        (IDX[1], np.ones((60, 1), "u1"), r"must hold whole numbers \(n,\), got uint8\(60, 1\)"),
        (IDX[1], np.ones(60, "f4"), "must hold whole numbers"),
        (IDX[1], np.ones(59, "u1"), "as many images as labels, .* shapes .60, 28, 28. and .59,."),
        (IDX[0], np.ones((0, 28, 28), "u1"), "as many images as labels, at least one"),
        (IDX[0], np.ones((60, 28, 0), "u1"), "of at least a pixel"),
        (IDX[0], np.ones((60, 28, 27), "u1"), r"the test inputs have shape \(28, 28, 1\)"),
        (IDX[1], np.full(60, 3, "u1"), "mnist.* no image of |no training example"),
    ],
)
@pytest.mark.filterwarnings("ignore:no training example")
def test_files_that_do_not_belong_together_are_refused(name, array, message, tmp_path):
    write_idx(tmp_path)
    (tmp_path / name).write_bytes(idx_bytes(array))
    if "no image" in message:
        with pytest.raises(TaskError, match=r"holds no image of \[0, 1, 2, 4, 5"):
            load(f"mnist(path={str(tmp_path)!r})")
        return
    with pytest.raises(TaskError, match=message):
        load(f"idx:{tmp_path}")


# Fewer of them.


@pytest.mark.parametrize("task", ["idx", "fashion", "cifar10"])
def test_fewer_examples_are_some_of_them_in_their_order(task, tmp_path):
    (write_cifar if task == "cifar10" else write_idx)(tmp_path)
    every, some, few = (
        load(f"{task}(path={str(tmp_path)!r}, scaling='none', validation=0{number})")
        for number in ("", ", examples=40", ", examples=13")
    )
    assert (some.train.examples, few.train.examples) == (40, 13)
    assert some.test.examples == every.test.examples
    places = [
        [np.flatnonzero((np.asarray(larger.train.x) == x).all(axis=(1, 2, 3))) for x in small]
        for larger, small in ((every, some.train.x[:]), (some, few.train.x[:]))
    ]
    for place in places:
        assert np.all(np.diff(np.concatenate(place)) > 0)
    np.testing.assert_array_equal(every.train.y[np.concatenate(places[0])], some.train.y)
    with pytest.raises(TaskError, match="at most the 60 training examples .* got 61"):
        load(f"{task}(path={str(tmp_path)!r}, examples=61)")
    with pytest.raises(CatalogError, match="examples must be a whole number >= 1 or None, got 0"):
        load(f"{task}(path='any', examples=0)")


# CIFAR-10


def test_cifar_records_are_a_class_and_three_planes(tmp_path):
    records = [*write_cifar(tmp_path).values()]
    data = load(f"cifar10(path={str(tmp_path)!r}, scaling='none', validation=0)")
    assert (data.train.x.shape, data.test.x.shape) == ((60, 32, 32, 3), (12, 32, 32, 3))
    assert data.classes == 10
    for split, stored in ((data.train, np.concatenate(records[:5])), (data.test, records[5])):
        np.testing.assert_array_equal(split.y, stored[:, 0])
        assert split.x._stored.dtype == np.uint8
        for colour in range(3):
            plane = stored[:, 1 + 1024 * colour : 1025 + 1024 * colour].reshape(-1, 32, 32)
            np.testing.assert_array_equal(np.asarray(split.x)[..., colour], plane)


@pytest.mark.parametrize("name", ["data_batch_3.bin", "test_batch.bin"])
def test_cifar_names_what_is_missing_or_damaged(name, tmp_path):
    records = write_cifar(tmp_path)
    path, page = tmp_path / name, "CIFAR-10 binary version.*cs.toronto.edu/~kriz/cifar.html"
    recipe = f"cifar10:{tmp_path}"
    for size in (0, 1, 3072, 12 * 3073 - 1, 12 * 3073 + 1):
        path.write_bytes((records[name].tobytes() + b"\0")[:size])
        with pytest.raises(
            TaskError, match=f"{name} must hold records of 3073 .* got {size}.*{page}"
        ):
            load(recipe)
    changed = records[name].copy()
    changed[5, 0] = 10
    changed.tofile(path)
    with pytest.raises(TaskError, match=f"{name} must begin .* got 10 in record 5: .*{page}"):
        load(recipe)
    path.unlink()
    with pytest.raises(TaskError, match=f"there is no file .*{name}: unpack .*{page}"):
        load(recipe)
    os.mkfifo(path)
    with pytest.raises(TaskError, match=f"cannot read .*{name} .*not a regular file"):
        load(recipe)
