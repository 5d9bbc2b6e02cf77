"""Compiled programs outlive the process: a second run of a command starts without compiling."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path

import jax

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
