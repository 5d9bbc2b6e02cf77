"""What may be handed to code that opens whatever it finds, and takes the memory that it is long."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

_SMALL = 2**30
_HOLLOW = 16  # times what is on the disk: no file system compresses weights so far


class UnusualError(ValueError):
    """A link, a pipe, a device, or a file that is nearly all hole."""


def require_ordinary(paths: Iterable[Path]) -> None:
    """Refuse what is neither a folder nor a file whose content lies on the disk.

    Raises:
        UnusualError: the message names the first.
        OSError: one cannot be looked at.
    """
    for path in paths:
        try:
            about = os.lstat(path)
        except FileNotFoundError:  # another process removes what need not stay
            continue
        if not (stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)):
            raise UnusualError(f"{path} is neither a file nor a folder")
        if about.st_size > max(_SMALL, _HOLLOW * 512 * about.st_blocks):
            raise UnusualError(f"{path} claims {about.st_size} bytes, of which the disk holds few")
