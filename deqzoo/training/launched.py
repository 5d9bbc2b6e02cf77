"""How a run was launched: the command line, the host, and the commits of the code it ran."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]
_SECONDS = 10.0  # git answers at once, unless its folder is on a disk that is gone


def launched() -> dict[str, Any]:
    """Plain values for JSON.

    ``commit`` is that of the folder the run was started in, ``deqzoo_commit`` that of the library,
    each with ``-dirty`` behind it where tracked files were changed; None outside a checkout.

    Example:
        >>> from deqzoo.training.launched import launched
        >>> sorted(launched())
        ['command', 'commit', 'deqzoo_commit', 'host']
    """
    return {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "host": platform.node(),
        "commit": commit(Path.cwd()),
        # An installed package may lie inside somebody's checkout without being part of it.
        "deqzoo_commit": commit(_PACKAGE) if _git(_PACKAGE, "ls-files", "__init__.py") else None,
    }


def commit(folder: Path) -> str | None:
    """The commit of the git checkout that a folder belongs to; None if it belongs to none."""
    head = _git(folder, "rev-parse", "HEAD")
    if not head:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return head + ("-dirty" if changed else "")


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None where it fails or is not there."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
