"""Arrays of an npz file of unknown origin: read, or refused in a line."""

from __future__ import annotations

import contextlib
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deqzoo.data.examples import TaskError
from deqzoo.settings import quoted

# What numpy and zipfile raise on crafted or damaged members.
_UNREADABLE = (
    ArithmeticError,
    EOFError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextlib.contextmanager
def opened(path: Path, write: str) -> Iterator[np.lib.npyio.NpzFile]:
    """The archive.

    Args:
        path: of the file.
        write: how to write such a file, which ends the errors.

    Raises:
        TaskError: there is none, or it is damaged or something else.
    """
    if not path.is_file():
        raise TaskError(f"there is no file {path}; correct the path or {write}")
    with path.open("rb") as file:
        try:
            archive = np.load(file, allow_pickle=False) if zipfile.is_zipfile(path) else None
        except _UNREADABLE as error:
            raise TaskError(f"{path} is damaged ({quoted(str(error))}); {write}") from error
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise TaskError(f"{path} is not an npz archive; {write}")
        with archive:
            yield archive


def array(path: Path, archive: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    """One of its arrays.

    Raises:
        TaskError: it cannot be read.
    """
    try:
        return np.asarray(archive[key])
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise TaskError(
            f"cannot read {key} of {path}: {reason}; store one plain array of numbers, "
            "not objects or rows of different length"
        ) from error
