"""Where a path leads: the one place that expands ``~`` and refuses what is no place on a disk."""

from __future__ import annotations

import re
from pathlib import Path

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


class PathError(ValueError):
    """A path that leads to no file or folder of this machine."""


def local_path(path: str | Path) -> Path:
    """The path with ``~`` and ``~user`` expanded.

    Raises:
        PathError: the address of an object store, a home folder that is not known, or a path that
            no file system takes.

    Example:
        >>> from deqzoo.local_path import local_path
        >>> local_path("runs/gelu").as_posix()
        'runs/gelu'
    """
    text = str(path)
    if _ADDRESS.match(text):
        raise PathError(
            f"{text} is an address, and files are read and written on disk alone: give a folder, "
            "such as one where the store is mounted"
        )
    if "\0" in text:
        raise PathError(f"{text!r} is no path: it holds a zero byte")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise PathError(f"{text}: there is no such home folder; write the path out") from None
