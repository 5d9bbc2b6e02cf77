"""Hundreds of damaged folders of runs: loaded is what was saved, or one sentence says why not."""

import itertools
import json
import os
import resource
import shutil

import jax
import numpy as np
import pytest

import deqzoo
from deqzoo.nn.pure_model import PureModel
from deqzoo.storage.workdir import Workdir
from deqzoo.training import TrainConfig, train

pytestmark = pytest.mark.slow
MANY = 500
ROOM = 2**31  # bytes that all of it may take more than what was there
SETTINGS = {
    "width": 4,
    "steps": 4,
    "checkpoint_every": 2,
    "batch_size": "8",
    "task": "sphere(examples=16, dimension=3)",
}
ODD = (None, True, -1, 0, 3, 1e300, "", "relu", "x" * 5000, [], [1], {}, {"a": 1}, 10**30)
BYTES = (b"", b"\0" * 100, b"[" * 10**5, b"9" * 5000, b"{}", b"null", b"3", bytes(range(256)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "run"
    list(train(TrainConfig(workdir=str(path), **SETTINGS)))
    return path


def weights(loaded):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(PureModel(loaded.model).state)]


def cut(path, rng):
    os.truncate(path, rng.integers(path.stat().st_size + 1))


def flip(path, rng):
    data = bytearray(path.read_bytes())
    if data:
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(data))


def overwrite(path, rng):
    path.write_bytes(BYTES[rng.integers(len(BYTES))])


def lose(path, rng):
    del rng
    path.unlink()


def replace(path, rng):
    """By what is no file, or leads elsewhere."""
    path.unlink()
    kind = rng.integers(5)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    else:
        path.symlink_to([path, "/dev/zero", "/nowhere"][kind - 2])


def grow(path, rng):
    """To a size that no machine has the memory for, of which the disk holds nothing."""
    del rng
    os.truncate(path, 2**42)


def edit(path, rng):
    """A value somewhere in a file of JSON; another file is flipped."""
    try:
        value = at = json.loads(path.read_text())
    except ValueError:
        return flip(path, rng)
    while isinstance(at, dict) and at:
        key = [*at][rng.integers(len(at))]
        if not isinstance(at[key], dict) or not at[key] or rng.integers(3) == 0:
            at[key] = ODD[rng.integers(len(ODD))]
            break
        at = at[key]
    return path.write_text(json.dumps(value))


DAMAGE = (cut, flip, overwrite, lose, replace, grow, edit)


def files_of(folder):
    """Those at the top as often as all those of Orbax."""
    top = [each for each in folder.iterdir() if each.is_file() and each.name != ".lock"]
    below = [each for each in (folder / "checkpoints").rglob("*") if each.is_file()]
    return itertools.chain(sorted(top) * 6, sorted(below))


def damaged(run, place, number):
    """A copy in which one file or two are not what they were."""
    rng = np.random.default_rng(number)
    shutil.copytree(run, place)
    for _ in range(rng.integers(1, 3)):
        known = [*files_of(place)]
        DAMAGE[number % len(DAMAGE)](known[rng.integers(len(known))], rng)
    return place


@pytest.mark.parametrize("part", range(5))
def test_a_damaged_folder_is_read_right_or_refused(part, run, outcome, tmp_path):
    saved = {step: weights(deqzoo.load_run(run, step=step)) for step in (2, 4)}
    summary = Workdir(run).read_summary()
    before, refused = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    for number in range(part * MANY // 5, (part + 1) * MANY // 5):
        place = damaged(run, tmp_path / str(number), number)
        loaded, told = outcome(lambda place=place: deqzoo.load_run(place))
        assert len(told) < 3000, (number, told)
        refused += loaded is None
        if loaded is not None:
            assert weights(loaded) == saved[loaded.step], number
            found, told = outcome(lambda loaded=loaded: loaded.summary)
            assert found in (summary, None), number
            outcome(lambda loaded=loaded: repr(loaded))
        shutil.rmtree(place)
    assert 0 < refused < MANY // 5
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < ROOM


def test_a_damaged_folder_is_trained_on_or_refused(run, outcome, tmp_path):
    whole = weights(deqzoo.load_run(run))
    trained = 0
    for number in range(MANY, MANY + 28):
        place = damaged(run, tmp_path / str(number), number)
        (place / "summary.json").unlink(missing_ok=True) if number % 2 else None
        config = TrainConfig(workdir=str(place), **SETTINGS)
        done, told = outcome(lambda config=config: list(train(config)))
        if done is not None:
            trained += 1
            assert weights(deqzoo.load_run(place)) == whole, number
        shutil.rmtree(place, ignore_errors=True)
    assert trained > 5
