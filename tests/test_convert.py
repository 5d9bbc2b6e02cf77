"""Weights that PyTorch saved: both forms of the file, and what must not be read."""

import collections
import io
import pickle
import random
import struct
import sys
import types
import zipfile

import numpy as np
import pytest

import deqzoo
from deqzoo.analysis.margins import proof
from deqzoo.storage import torch_file
from deqzoo.storage.torch_file import TorchFileError
from deqzoo.zoo.convert import ConvertError

WIDTH, MARGIN = 5, 20.0
PREFIX = "mon.linear_module."


def weights(rng):
    """Those of a small monotone model, as its authors name them."""
    draw = lambda *shape: (rng.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32)  # noqa: E731
    return {
        f"{PREFIX}U.weight": draw(WIDTH, 784),
        f"{PREFIX}U.bias": draw(WIDTH),
        f"{PREFIX}A.weight": draw(WIDTH, WIDTH),
        f"{PREFIX}B.weight": draw(WIDTH, WIDTH),
        "Wout.weight": draw(10, WIDTH),
        "Wout.bias": draw(10),
    }


@pytest.fixture
def torch(monkeypatch):
    """What a pickle of PyTorch's names, importable while it is written."""
    parent, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    parent.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})

    def rebuild(*parts):
        raise AssertionError("nothing of the file may be run")

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild
    monkeypatch.setitem(sys.modules, "torch", parent)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return parent


class _Tensor:
    def __init__(self, key, array):
        self.key, self.array = key, array


class _Pickler(pickle.Pickler):
    def reducer_override(self, value):
        if not isinstance(value, _Tensor):
            return NotImplemented
        array = value.array
        strides = tuple(n // array.itemsize for n in array.strides)
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        hooks = collections.OrderedDict()
        return rebuild, (_Storage(value.key, array.size), 0, array.shape, strides, False, hooks)

    def persistent_id(self, value):
        if not isinstance(value, _Storage):
            return None
        kind = sys.modules["torch"].FloatStorage
        tail = (None,) if self.is_old else ()
        return "storage", kind, value.key, "cuda:0", value.size, *tail


class _Storage:
    def __init__(self, key, size):
        self.key, self.size = key, size


def pickled(value, is_old=False):
    out = io.BytesIO()
    pickler = _Pickler(out, protocol=2)
    pickler.is_old = is_old
    pickler.dump(value)
    return out.getvalue()


def named(arrays):
    return collections.OrderedDict(
        (name, _Tensor(str(i), array)) for i, (name, array) in enumerate(arrays.items())
    )


def row(arrays):
    """The older form: pickle after pickle, then the numbers in another order than the names."""
    about = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    heads = (pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, about))
    keys = sorted((str(i) for i in range(len(arrays))), reverse=True)
    parts = [*heads, pickled(named(arrays), is_old=True), pickle.dumps(keys, 2)]
    stored = list(arrays.values())
    for key in keys:
        array = stored[int(key)]
        parts.append(struct.pack("<q", array.size) + memory(array))
    return b"".join(parts)


def memory(array):
    """The bytes in the order of the memory, which strides are about."""
    return array.tobytes("A")


def archive(arrays):
    """The newer form."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("name/data.pkl", pickled(named(arrays)))
        file.writestr("name/byteorder", "little")
        for i, array in enumerate(arrays.values()):
            file.writestr(f"name/data/{i}", memory(array))
    return out.getvalue()


FORMS = pytest.mark.parametrize("form", [row, archive])


@FORMS
def test_what_was_written_is_read(form, torch, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        **weights(rng),
        "turned": rng.standard_normal((4, 3)).astype(np.float32).T,
        "number": np.float32(3)[...],
    }
    path = tmp_path / "a.pt"
    path.write_bytes(form(arrays))
    found = torch_file.read(path)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


@FORMS
def test_a_monotone_model_of_others_gives_what_its_equation_says(form, torch, tmp_path):
    rng = np.random.default_rng(1)
    arrays = weights(rng)
    (tmp_path / "a.pt").write_bytes(form(arrays))
    recipe = f"mondeq(width={WIDTH}, margin={MARGIN})"
    member = deqzoo.convert(tmp_path / "a.pt", recipe, tmp_path / "mine")

    x = rng.integers(0, 256, (20, 28, 28, 1), np.uint8)
    U, b, A, B, D, d = (array.astype(float) for array in arrays.values())
    W = (1 - MARGIN) * np.eye(WIDTH) - A.T @ A + B - B.T
    u = ((x.reshape(20, -1) / 255 - 0.1307) / 0.3081) @ U.T + b
    z = np.zeros((20, WIDTH))
    for _ in range(2000):
        z = np.maximum(0.99 * z + 0.01 * (z @ W.T + u), 0)
    outputs, solution = member(x)
    assert solution.check()
    np.testing.assert_allclose(outputs, z @ D.T + d, atol=1e-3)

    # Pabbaraju, Winston and Kolter, "Estimating Lipschitz constants ...", Theorem 1.
    published = np.linalg.norm(D, 2) * np.linalg.norm(U, 2) / MARGIN
    slope = proof(member.model).slope()
    assert published <= slope <= published * (1 + 1e-6)
    again = deqzoo.load(tmp_path / "mine")
    np.testing.assert_array_equal(again(x)[0], outputs)
    assert again.certificate().level == "A"


def test_weights_of_another_model_are_refused_by_name(torch, tmp_path):
    arrays = weights(np.random.default_rng(0))
    path = tmp_path / "a.pt"
    path.write_bytes(archive(arrays))
    with pytest.raises(ConvertError, match="name the width of the file, such as width=5"):
        deqzoo.convert(path, "mondeq(width=6)", tmp_path / "b")
    with pytest.raises(ConvertError, match="no source of weights is known for lben"):
        deqzoo.convert(path, "lben", tmp_path / "b")
    del arrays["Wout.bias"]
    path.write_bytes(archive(arrays | {"g": np.float32(1)[...]}))
    with pytest.raises(ConvertError, match="Wout.bias is missing, g is not known"):
        deqzoo.convert(path, "mondeq(width=5)", tmp_path / "b")
    assert not (tmp_path / "b.safetensors").exists()


class _Caller:
    """What runs a command where it is unpickled by anybody who trusts it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_file_that_names_anything_else_is_refused_and_not_run(torch, tmp_path):
    path, witness = tmp_path / "a.pt", tmp_path / "witness"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", pickle.dumps({"w": _Caller(witness)}, 2))
    with pytest.raises(TorchFileError, match="it names '_?io.open'.*state_dict"):
        torch_file.read(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (9, 9)}, "does not lie within its numbers"),
        ({"strides": (100, 1)}, "does not lie within its numbers"),
        ({"strides": (-1, 1)}, "the strides"),
        ({"offset": 20}, "does not lie within its numbers"),
        ({"shape": (10**6, 10**6), "strides": (0, 0)}, "does not lie within its numbers"),
    ],
)
def test_a_tensor_takes_no_more_than_its_numbers(change, message):
    storage = torch_file._Storage("0", "FloatStorage", 25)
    parts = {"storage": storage, "offset": 0, "shape": (5, 5), "strides": (5, 1)} | change
    with pytest.raises(TorchFileError, match=message):
        torch_file._array(torch_file._Tensor(**parts), bytes(100))


def test_a_pickle_that_would_fill_the_memory_is_refused(tmp_path):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02Nr\xff\xff\xff\x7f.")
    with pytest.raises(TorchFileError, match="numbers its parts beyond its length"):
        torch_file.read(path)


@FORMS
def test_damage_ends_in_a_sentence(form, torch, tmp_path):
    whole = form(weights(np.random.default_rng(0)))
    path, dice, told = tmp_path / "a.pt", random.Random(0), []
    for _ in range(150):
        if dice.random() < 0.3:
            data = whole[: dice.randrange(len(whole))]
        else:
            place = dice.randrange(min(len(whole), 2500))
            place = place if dice.random() < 0.5 else len(whole) - 1 - place
            data = whole[:place] + bytes([dice.randrange(256)]) + whole[place + 1 :]
        path.write_bytes(data)
        try:
            torch_file.read(path)  # a change of a number, or of a name, shows nowhere here
        except TorchFileError as error:
            told.append(str(error))
    assert len(told) > 50
    assert not any("\n" in each for each in told)
