"""Arrays out of a file that PyTorch's ``save`` wrote, without PyTorch and without running it.

Such a file is a pickle, which may call whatever it names. Here it names an ordered dictionary,
tensors and their storages, or it is refused.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deqzoo.settings import quoted, told
from deqzoo.storage.ordinary import UnusualError, require_ordinary

_MAGIC = 0x1950A86A20F9469CFC6C  # how files of the older form begin
_PROTOCOL = 1001
_LARGEST = 2**31  # bytes of a file that is read
_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class TorchFileError(ValueError):
    """A file that cannot be read, or that names more than arrays."""


class _Storage(NamedTuple):
    """A row of numbers that lies elsewhere in the file."""

    key: str
    dtype: str
    count: int


class _Tensor(NamedTuple):
    """A part of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a dictionary of tensors (a ``state_dict``), by name.

    Both forms of the file are read: an archive, as PyTorch has written it since 1.6, and the row of
    pickles before that.

    Args:
        path: of the file, of 2 GiB at most.

    Raises:
        TorchFileError: it is no such file, is damaged, or names anything but tensors.
    """
    try:
        require_ordinary([path])
        if path.stat().st_size > _LARGEST:
            raise TorchFileError(f"{path} is larger than {_LARGEST} bytes")
        data = path.read_bytes()
    except (OSError, UnusualError) as error:
        raise TorchFileError(f"{path} cannot be read: {error}") from None
    try:
        return _of_archive(data) if data[:2] == b"PK" else _of_row(data)
    except TorchFileError as error:
        raise TorchFileError(f"{path}: {error}") from None
    except Exception as error:  # bytes that are no pickle end in whatever they happen to say
        raise TorchFileError(f"{path} is damaged, or no file of PyTorch's: {told(error)}") from None


def _of_archive(data: bytes) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = {name.partition("/")[2]: name for name in archive.namelist()}

        def member(name: str) -> bytes:
            about = archive.getinfo(names[name])
            if about.compress_type != zipfile.ZIP_STORED or about.file_size > len(data):
                raise TorchFileError(f"its part {name} is packed, as PyTorch never does")
            return archive.read(about)

        if "byteorder" in names and member("byteorder") != b"little":
            raise TorchFileError("its numbers are not little-endian")
        tensors = _tensors(member("data.pkl"))
        return _filled(tensors, lambda storage: member(f"data/{storage.key}"))


def _of_row(data: bytes) -> dict[str, np.ndarray]:
    pickles = _pickles(data)
    magic, protocol, about = (_Unpickler(next(pickles)[0]).load() for _ in range(3))
    if magic != _MAGIC or protocol != _PROTOCOL or about["little_endian"] is not True:
        raise TorchFileError("it is no file of PyTorch's, or its numbers are not little-endian")
    tensors = _tensors(next(pickles)[0])
    keys, at = next(pickles)
    sizes = {each.storage.key: _size(each.storage) for each in tensors.values()}
    places = {}
    for key in _Unpickler(keys).load():
        places[key] = slice(at + 8, at + 8 + sizes[key])  # before it stands how many they are
        at = places[key].stop
    return _filled(tensors, lambda storage: data[places[storage.key]])


def _pickles(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Pickle after pickle, and where each ends."""
    at = 0
    while True:
        end = at + _length(data[at:])
        yield data[at:end], end
        at = end


def _length(data: bytes) -> int:
    """Of the first pickle; refused is one that would make its reader remember more than it has."""
    for opcode, argument, position in pickletools.genops(data):
        if "PUT" in opcode.name and isinstance(argument, int) and argument > len(data):
            raise TorchFileError("it numbers its parts beyond its length")
        if opcode.name == "STOP":
            return int(position or 0) + 1
    raise TorchFileError("it has no end")


def _tensors(data: bytes) -> dict[str, _Tensor]:
    _length(data)
    found = _Unpickler(data).load()
    if not isinstance(found, dict) or not all(isinstance(a, _Tensor) for a in found.values()):
        raise TorchFileError(
            "it holds no dictionary of tensors: save model.state_dict(), not the model"
        )
    return {str(name): tensor for name, tensor in found.items()}


class _Unpickler(pickle.Unpickler):
    """Takes plain values, dictionaries and references to numbers.

    What it hands out has nothing that a pickle could set or call to any effect.
    """

    def __init__(self, data: bytes):
        super().__init__(io.BytesIO(data))

    def find_class(self, module: str, name: str) -> Any:
        """What a file may name.

        Raises:
            TorchFileError: it names something else.
        """
        known: dict[str, Any] = {
            "collections.OrderedDict": lambda *pairs: collections.OrderedDict(*pairs),
            "torch._utils._rebuild_tensor_v2": lambda *parts: _Tensor(*parts[:4]),
            "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
            **{f"torch.{each}": each for each in _DTYPES},
        }
        if f"{module}.{name}" not in known:
            raise TorchFileError(
                f"it names {quoted(f'{module}.{name}')}, and only tensors are read: save the "
                "state_dict() of a model in float32"
            )
        return known[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> _Storage:
        """A storage, of which the numbers are read later."""
        kind, dtype, key, _, count = pid[:5]
        if kind != "storage" or dtype not in _DTYPES or type(count) is not int or count < 0:
            raise TorchFileError("it refers to something that is no storage of numbers")
        return _Storage(str(key), dtype, count)


def _size(storage: _Storage) -> int:
    return storage.count * np.dtype(_DTYPES[storage.dtype]).itemsize


def _filled(
    tensors: dict[str, _Tensor], fetch: Callable[[_Storage], bytes]
) -> dict[str, np.ndarray]:
    return {name: _array(tensor, fetch(tensor.storage)) for name, tensor in tensors.items()}


def _array(tensor: _Tensor, data: bytes) -> np.ndarray:
    storage, offset, shape, strides = tensor
    if len(data) != _size(storage):
        raise TorchFileError(f"{_size(storage)} bytes of numbers are wanted, {len(data)} are there")
    whole = [offset, *shape, *strides]
    if not all(type(n) is int and n >= 0 for n in whole) or len(shape) != len(strides):
        raise TorchFileError(f"a tensor has the shape {shape} and the strides {strides}")
    reach = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    count = math.prod(shape)
    if count > storage.count or (count and reach >= storage.count):
        raise TorchFileError(f"a tensor of shape {shape} does not lie within its numbers")
    numbers = np.frombuffer(data, _DTYPES[storage.dtype])[offset:]
    steps = tuple(step * numbers.itemsize for step in strides)
    return np.array(np.lib.stride_tricks.as_strided(numbers, shape, steps))
