"""The file that a command is going to write: refused before the work, not after it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from launch import _command


def claim(path: Path, is_ours: Callable[[Path], bool], what: str) -> None:
    """Make the folder, and see that nothing but an earlier file of the same kind is replaced.

    Args:
        path: the file.
        is_ours: whether a path is that of such a file.
        what: what such a file is called, for the message.

    Raises:
        UsageError: the place cannot be written to, or holds something else.
    """
    _command.make_folder(path.parent, "--output")
    try:
        ours = not os.path.lexists(path) or is_ours(path)
    except OSError as error:
        raise _command.UsageError(f"cannot use {path} as --output: {error.strerror}") from None
    if not ours:
        raise _command.UsageError(
            f"{path} exists and is no {what}: choose another --output, or remove it"
        )
