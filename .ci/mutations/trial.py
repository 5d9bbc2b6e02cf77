"""A throwaway copy of the checkout, in which a change is tried."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

_NOTICED = re.compile(r"^(?:FAILED|ERROR) (\S.*?)(?: - |$)", re.MULTILINE)


class Verdict(NamedTuple):
    """What tests say of a change.

    Attributes:
        word: ``noticed``, ``survived`` or ``timeout``; ``unclear`` if pytest itself gave up, as it
            does of tests that are no longer called so: record them anew.
        by: the test that noticed it.
    """

    word: str
    by: str = ""


@contextlib.contextmanager
def copy_of(root: Path) -> Iterator[Path]:
    """What git knows of the checkout or would add, in a temporary folder."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=True, text=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in listed.stdout.split("\0")[:-1]:
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target)
        yield Path(folder)


@contextlib.contextmanager
def replaced(path: Path, text: str) -> Iterator[None]:
    """Another text in a file, for a while."""
    original = path.read_text()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(original)


def ask(tree: Path, cache: Path, tests: Sequence[str], limit: float, *flags: str) -> Verdict:
    """Run tests in a copy until one fails, for ``limit`` seconds at most."""
    # A change within a second, of equal length, would leave old bytecode in force.
    env = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    env.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    command = [sys.executable, "-m", "pytest", "-x", "-rfE", "-p", "no:cacheprovider"]
    command += ["--numprocesses=0", *flags, *tests]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command,
            cwd=tree,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            return Verdict("timeout")
        finally:
            with contextlib.suppress(ProcessLookupError):  # tests have processes of their own
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return _verdict(code, output.read())


def _verdict(code: int, said: str) -> Verdict:
    noticed = _NOTICED.search(said)
    if noticed:
        return Verdict("noticed", noticed[1])
    return Verdict("survived") if code == 0 else Verdict("unclear", said.strip().splitlines()[-1])
