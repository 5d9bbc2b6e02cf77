"""Hundreds of crafted files of arrays and exported models: what they say, or one sentence."""

import io
import json
import resource
import warnings
import zipfile

import jax
import numpy as np
import pytest
from flax import nnx
from test_images import write_cifar, write_idx

import deqzoo
from deqzoo import catalog
from deqzoo.models.classifier import Classifier
from deqzoo.runs.loader import load_exported, pack, unpack

pytestmark = pytest.mark.slow
MANY = 200
ROOM = 2**31  # bytes that all of it may take more than what was there
ODD = (None, True, -1, 10**30, 1e300, "", "float16", "x" * 5000, [], [1], [[]], {}, {"a": 1})


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def claiming(data, rng):
    """A header that asks for more than there is, or for nothing that numpy knows."""
    shape = [(10**12, 3), (-1, 3), (2**62, 2**62), "3", (12, 3, 0)][rng.integers(5)]
    head = (
        repr({"descr": "<f4", "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    )
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + data[128:]


def damaged(data, rng):
    kind = rng.integers(4)
    if kind == 0:
        return data[: rng.integers(len(data))]
    if kind == 1:
        return claiming(data, rng)
    broken = bytearray(data)
    broken[rng.integers(len(data) if kind == 2 else 128)] ^= 1 << rng.integers(8)
    return bytes(broken)


def drawn_array(rng, examples):
    """Numbers of any kind in any shape."""
    shape = (examples, *rng.integers(0, 4, rng.integers(0, 3)))
    values = rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 40)
    values[rng.random(shape) < rng.choice([0, 0, 0.1])] = rng.choice([np.nan, np.inf, -1, 1e308])
    kinds = ["f4", "f8", "f2", "i8", "u1", "u8", "?", "c8", "S3", "U2", "O", ">f4", "M8[s]"]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return values.astype(kinds[rng.integers(len(kinds))])


def crafted_npz(path, rng):
    x, y = rng.standard_normal((12, 3)).astype("f4"), np.arange(12) % 3
    members = {"x.npy": npy(x), "y.npy": npy(y)}
    name = ["x.npy", "y.npy"][rng.integers(2)]
    kind = rng.integers(4)
    if kind == 0:
        members[name] = npy(drawn_array(rng, rng.choice([12, 12, 12, 0, 11])))
    elif kind == 1:
        members[name] = damaged(members[name], rng)
    elif kind == 2:
        members["y.npy"] = npy(rng.choice([-(2**63), -1, 0, 1, 2, 255, 2**31, 2**62], 12))
    with zipfile.ZipFile(path, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as file:
        for each, data in members.items():
            file.writestr(each, data)
    if kind == 3:
        path.write_bytes(damaged(path.read_bytes(), rng))


def grown():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_a_crafted_npz_is_data_or_one_sentence(outcome, tmp_path):
    before, kept = grown(), 0
    for number in range(MANY):
        path = tmp_path / f"{number}.npz"
        crafted_npz(path, np.random.default_rng(number))
        data, told = outcome(lambda path=path: catalog.tasks.get(f"npz:{path}").load())
        assert (data is None) == bool(told)
        assert len(told) < 1000
        if data is not None:
            kept += 1
            for split in (data.train, data.test):
                leaves = jax.tree.leaves((split.x, split.y))
                assert all(np.all(np.isfinite(leaf)) and leaf.size for leaf in leaves), number
            if data.classes is not None:
                assert 0 <= int(data.train.y.min()) <= int(data.train.y.max()) < data.classes
    assert 10 < kept < MANY - 50
    assert grown() - before < ROOM


def crafted_images(folder, rng):
    """The files of MNIST or CIFAR-10, of which one is another."""
    names = [*(write_idx(folder) if rng.integers(2) else write_cifar(folder))]
    file = next(folder.glob(f"{names[rng.integers(len(names))]}*"))
    data, kind = file.read_bytes(), rng.integers(4)
    if kind == 0:
        data = data[: rng.integers(len(data))]
    elif kind == 1:
        data += rng.bytes(rng.integers(1, 9))
    else:
        broken = bytearray(data)
        broken[rng.integers(len(data) if kind == 2 else 16)] ^= 1 << rng.integers(8)
        data = bytes(broken)
    file.write_bytes(data)
    return "cifar10" if file.suffix == ".bin" else "idx"


def test_crafted_images_are_data_or_one_sentence(outcome, tmp_path):
    before, kept = grown(), 0
    for number in range(MANY):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        task = crafted_images(folder, np.random.default_rng(number))
        load = catalog.tasks.get(f"{task}(path={str(folder)!r}, shift=1)").load
        data, told = outcome(load)
        assert (data is None) == bool(told)
        assert len(told) < 1000
        kept += data is not None
        assert data is None or np.all(np.isfinite(data.train.x))
    assert 10 < kept < MANY - 50
    assert grown() - before < ROOM


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An artefact, inputs, and what it gives for them."""
    pytest.importorskip("flatbuffers")
    path = tmp_path_factory.mktemp("exported") / "m"
    deqzoo.export(Classifier((4,), 2, width=4, rngs=nnx.Rngs(0)), path, spec=(4,))
    x = np.random.default_rng(0).standard_normal((3, 4)).astype("f4")
    return path, x, np.asarray(load_exported(path)(x)[0]).tobytes()


def crafted(members, rng):
    """Other bytes with a right checksum; the program stays, for it is code."""
    names = [each for each in members if each != "program.bin"]
    name = names[rng.integers(len(names))]
    kind = rng.integers(5)
    if kind == 0:
        del members[name]
    elif kind == 1:
        members[name] = members[names[rng.integers(len(names))]]
    elif kind == 2:
        members[name] = damaged(members[name] + b" " * 128, rng)
    elif kind == 3 and name.endswith(".npy"):
        members[name] = npy(drawn_array(rng, 4))
    else:
        about = at = json.loads(members["export.json"])
        for _ in range(rng.integers(1, 4)):
            key = rng.choice([*at]) if isinstance(at, dict) else rng.integers(len(at))
            inner = at[key]
            if not isinstance(inner, dict | list) or not inner:
                break
            about, at = about, inner
            key = rng.choice([*at]) if isinstance(at, dict) else int(rng.integers(len(at)))
        at[key] = ODD[rng.integers(len(ODD))]
        members["export.json"] = json.dumps(about).encode()
    return members


def test_a_crafted_export_is_the_model_or_one_sentence(exported, outcome, tmp_path):
    path, x, wanted = exported
    before, refused, place = grown(), 0, tmp_path / "crafted"
    weights = {name: data for name, data in unpack(path).items() if name.endswith(".npy")}
    for number in range(MANY):
        rng = np.random.default_rng(number)
        members = crafted(unpack(path), rng)
        place.write_bytes(pack(members))
        if number % 5 == 0:  # and without one
            place.write_bytes(damaged(path.read_bytes(), rng))
        model, told = outcome(lambda: load_exported(place))
        assert len(told) < 1000
        refused += model is None
        if model is not None:
            found, _ = outcome(lambda model=model: model(x))
            same = all(members.get(name) == data for name, data in weights.items())
            assert found is None or not same or np.asarray(found[0]).tobytes() == wanted, number
            repr(model)
    assert MANY // 4 < refused < MANY
    assert grown() - before < ROOM
