"""Processes of our own, which do not outlive us."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from deqzoo.storage import unfinished


def running(
    command: Sequence[str], environment: Mapping[str, str], **options: Any
) -> contextlib.AbstractContextManager[subprocess.Popen]:
    """A process for as long as the block lasts; Ctrl-C is for us, and we end it."""
    begin = functools.partial(
        subprocess.Popen, command, env=environment, start_new_session=True, **options
    )
    return unfinished.begun(begin, _end)


def _end(process: subprocess.Popen) -> None:
    """Kill, and return when nothing of it runs any more: until then it may still write files."""
    process.kill()
    # Leaves it to be waited for: another thread may be in the midst of doing so.
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
