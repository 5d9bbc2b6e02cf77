"""Arrays as the bytes of an npz file, which reading never takes more memory than."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from typing import IO, Any

import numpy as np


class ArraysError(ValueError):
    """Bytes that ``packed`` has not made."""


def packed(arrays: Sequence[Any]) -> bytes:
    """The file, readable with ``numpy.load``.

    Example:
        >>> import numpy as np
        >>> from deqzoo.storage.arrays import packed, unpacked
        >>> unpacked(packed([np.arange(3)]))
        [array([0, 1, 2])]
    """
    buffer = io.BytesIO()
    np.savez(buffer, *map(np.asarray, arrays))
    return buffer.getvalue()


def unpacked(data: bytes) -> list[np.ndarray]:
    """Undo ``packed``.

    Raises:
        ArraysError: it cannot be undone.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [_read(archive, each) for each in archive.infolist()]
    except Exception as error:  # zipfile and NumPy report damage by a dozen types
        raise ArraysError(" ".join(str(error).split())[:200]) from error


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type != zipfile.ZIP_STORED:
        raise ArraysError(f"{member.filename} is compressed")
    with archive.open(member) as file:
        _require_whole(file, member)
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def _require_whole(file: IO[bytes], member: zipfile.ZipInfo) -> None:
    """NumPy takes the memory that a header asks for before it looks for the numbers."""
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if math.prod(shape) * dtype.itemsize != member.file_size - file.tell():
        raise ArraysError(f"{member.filename} holds no {dtype}{shape}")
