"""Opening a file that is one: of a pipe or a device one might wait for ever."""

from __future__ import annotations

import errno
import os
import stat


def opener(name: str, flags: int) -> int:
    """For ``open(..., opener=...)``: a descriptor of a regular file, without waiting.

    Raises:
        OSError: it cannot be opened, or is a folder, a pipe or a device.

    Example:
        >>> import os
        >>> from deqzoo.data.regular_file import opener
        >>> open(os.devnull, "rb", opener=opener)
        Traceback (most recent call last):
        OSError: [Errno 22] not a regular file: '/dev/null'
    """
    # Opening a pipe would wait for its other end.
    descriptor = os.open(name, flags | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", name)
    return descriptor
