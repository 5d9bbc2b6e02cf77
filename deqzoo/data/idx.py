"""Arrays in idx files, the format of MNIST and its relatives, plain or gzipped."""

from __future__ import annotations

import contextlib
import gzip
import math
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from deqzoo.data import regular_file
from deqzoo.data.examples import TaskError
from deqzoo.settings import told

_DTYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_GZIP = b"\x1f\x8b"
_LARGEST = 2**31  # bytes of an array that is held in memory
_AGAIN = "it is damaged or no idx file: get it anew"


def read_idx(path: Path) -> np.ndarray:
    """The array of a file: two zero bytes, dtype, number of dimensions, sizes, values.

    Sizes and values are big-endian. Whether the file is gzipped its first bytes tell, not its name.
    No more than the header asks for is unpacked.

    Args:
        path: of the file.

    Raises:
        TaskError: the file is damaged, cut short or longer than its header says, larger than 2 GiB,
            or no regular file.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from deqzoo.data.idx import read_idx
        >>> path = Path(tempfile.mkdtemp(), "labels-idx1-ubyte")
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        >>> read_idx(path)
        array([7, 2, 1], dtype=uint8)

    References:
        Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits",
        https://yann.lecun.com/exdb/mnist/, the section on the file formats.
    """
    try:
        with open(path, "rb", opener=regular_file.opener) as file, _unpacked(file) as stream:
            return _array(path, stream)
    except (OSError, EOFError, MemoryError, zlib.error) as error:
        raise TaskError(f"cannot read {path} ({told(error)}); {_AGAIN}") from error


def _unpacked(file: IO[bytes]) -> contextlib.AbstractContextManager[IO[bytes]]:
    gzipped = file.read(2) == _GZIP
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if gzipped else contextlib.nullcontext(file)  # type: ignore


def _array(path: Path, stream: IO[bytes]) -> np.ndarray:
    head = stream.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _DTYPES:
        raise TaskError(
            f"{path} must begin with two zero bytes, a dtype (one of {[*_DTYPES]}) and a number of "
            f"dimensions, got the bytes {[*head]}; {_AGAIN}"
        )
    dtype, sizes = np.dtype(_DTYPES[head[2]]), stream.read(4 * head[3])
    if len(sizes) < 4 * head[3]:
        raise TaskError(f"{path} ends within its {head[3]} dimensions; {_AGAIN}")
    shape = np.frombuffer(sizes, ">u4").tolist()
    size = math.prod(shape) * dtype.itemsize
    if size > _LARGEST:
        raise TaskError(
            f"{path} says that it holds {size} bytes, shape {shape}; of more than {_LARGEST} bytes "
            "make npy files, which the task npy leaves on disk"
        )
    values = stream.read(size + 1)  # the end is where gzip compares its checksum
    if len(values) != size:
        found = len(values) if len(values) < size else "more"
        raise TaskError(
            f"{path} must hold {size} bytes behind its header, shape {shape}, got {found}; {_AGAIN}"
        )
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
