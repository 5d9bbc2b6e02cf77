"""Compiled programs outlive the process: a second run of a command starts without compiling."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import jax

_COMPLAINT = re.compile(
    r"Error (reading|writing) persistent compilation cache entry for '([^']+)': (.*)", re.DOTALL
)
_CPU_INFO = Path("/proc/cpuinfo")


def keep() -> None:
    """Keep every compiled program below the user's cache folder, however fast it was compiled.

    ``JAX_COMPILATION_CACHE_DIR`` and JAX's other variables take precedence;
    ``JAX_ENABLE_COMPILATION_CACHE=false`` switches the cache off; so does having no home.
    """
    place = folder()
    if place is None:
        return
    settings = {
        "jax_compilation_cache_dir": str(place),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)
    warnings.showwarning = Mended(warnings.showwarning)


class Mended:
    """Shows warnings, but removes the entries that JAX cannot read, and would not replace.

    A kill or a full disk leaves such entries. The programs are compiled and kept again.

    Args:
        show: shows the others.
    """

    def __init__(self, show: Callable[..., None]):
        self._show, self._told, self._began = show, False, time.time()

    def __call__(self, message: Warning | str, *others, **named) -> None:
        """In the place of ``warnings.showwarning``."""
        found = _COMPLAINT.fullmatch(str(message))
        if found is None:
            self._show(message, *others, **named)
        elif found[1] == "reading":
            self._remove(found[2])
        elif not self._told:
            self._told = True
            sys.stderr.write(f"compiled programs cannot be kept ({found[3]})\n")

    def _remove(self, program: str) -> None:
        """Remove the entries of a program that were there when the process began."""
        place = getattr(jax.config, "jax_compilation_cache_dir", None) or ""
        for entry in Path(place).glob("*-cache"):
            if entry.name.startswith(program):
                with contextlib.suppress(OSError):  # another process may have done it
                    if entry.stat().st_mtime < self._began:
                        entry.unlink()


def folder() -> Path | None:
    """``$XDG_CACHE_HOME/deqzoo/jax/<this kind of machine>``; None for a user without a home."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(base or Path.home() / ".cache") / "deqzoo" / "jax" / _machine()
    except RuntimeError:
        return None


def _machine() -> str:
    # JAX's key does not name the instructions a program was compiled for: on a home folder that
    # machines share, one could load what another's processor cannot run.
    lines = _CPU_INFO.read_text().splitlines() if _CPU_INFO.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    compiler = importlib.metadata.version("jaxlib")
    known = f"{platform.machine()} {platform.processor()} {features} {compiler}"
    return f"{platform.machine()}-{hashlib.sha256(known.encode()).hexdigest()[:12]}"
