"""Files that are whole or absent, and JSON that every reader takes."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
from pathlib import Path
from typing import IO, Any

import numpy as np

from deqzoo.data import regular_file
from deqzoo.storage import durable, unfinished

SCRATCH = ".tmp"  # what the name of a file ends with while it is written
_LARGEST = 2**30  # bytes of a file that is read as a whole


def read(path: Path) -> bytes:
    """All of a file.

    Raises:
        OSError: it cannot be read, is too large to be one of ours, or is none: of a pipe or a
            device one might wait for ever.
    """
    with open(path, "rb", opener=regular_file.opener) as file:
        if os.fstat(file.fileno()).st_size > _LARGEST:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        return file.read()


def write(path: Path, data: bytes | str) -> None:
    """Write a file so that a kill or a power loss leaves the old one or the new one, always whole.

    A link in its place, or in that of the scratch file, is replaced and never followed.
    """
    durable.make_folder(path.parent)
    scratch = path.with_name(path.name + SCRATCH)
    scratch.unlink(missing_ok=True)
    with unfinished.undone(lambda: scratch.unlink(missing_ok=True)):
        with open(scratch, "xb") as file:
            file.write(writable(data).encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        durable.replace(scratch, path)


def appended(path: Path) -> IO[str]:
    """A file of lines, open to add to.

    Raises:
        OSError: it cannot be opened, or is none: what a link leads to is nobody's to change.
    """
    opener = lambda name, flags: regular_file.opener(name, flags | os.O_NOFOLLOW)  # noqa: E731
    return open(path, "a", buffering=1, encoding="utf-8", opener=opener)


def writable(text: str) -> str:
    r"""Text in which bytes of a path that are no UTF-8 are escaped, as JSON does it.

    Example:
        >>> from deqzoo.storage.files import writable
        >>> print(writable("run" + chr(0xDCFF)))
        run\udcff
    """
    return text.encode(errors="backslashreplace").decode()


def to_json(value: Any, indent: int | None = 2) -> str:
    """Strict JSON in UTF-8, ending with a new line; see ``plain``."""
    text = json.dumps(plain(value), indent=indent, allow_nan=False, ensure_ascii=False)
    return writable(text) + "\n"


def plain(value: Any) -> Any:
    """Lists, dictionaries, numbers and text; complex numbers as [re, im], NaN and infinity as null.

    Example:
        >>> import numpy as np
        >>> from deqzoo.storage.files import plain
        >>> plain({"a": np.array([1.0, np.nan]), "b": 2j})
        {'a': [1.0, None], 'b': [0.0, 2.0]}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, complex):
        return plain([value.real, value.imag])
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    return None if isinstance(value, float) and not math.isfinite(value) else value
