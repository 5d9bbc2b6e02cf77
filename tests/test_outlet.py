"""Commands whose output, disk, home or patience is gone end in a sentence, and nothing is lost."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from deqzoo.storage.checkpoint import Checkpoints
from deqzoo.storage.workdir import Workdir
from launch import _command, _compilation_cache

ROOT = Path(__file__).resolve().parent.parent
TRAIN = (
    "--steps=400",
    "--width=4",
    "--batch_size=4",
    "--eval_every=2",
    "--checkpoint_every=1000",
    "--task=sphere(examples=8, dimension=3)",
)


def start(name, *flags, **options):
    return subprocess.Popen(
        [sys.executable, "-m", f"launch.{name}", *flags],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        **options,
    )


def saved(folder):
    reader = Checkpoints(Workdir(folder).checkpoints, writable=False)
    steps = reader.steps()
    reader.close()
    return steps


def test_a_run_whose_reader_leaves_is_saved(tmp_path):
    with start("train", *TRAIN, f"--workdir={tmp_path}/run", stdout=subprocess.PIPE) as run:
        run.stdout.readline()
        run.stdout.close()
        told = run.stderr.read().decode()
    assert run.returncode == _command.PREEMPTED
    assert told.splitlines() == ["standard output cannot be written to (Broken pipe): stopping"]
    assert len(saved(tmp_path / "run")) == 1


@pytest.fixture
def hangups_end_processes():
    """Not so below ``nohup``, whose processes and their children are not to hear of it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
@pytest.mark.usefixtures("hangups_end_processes")
def test_a_run_whose_terminal_hangs_up_is_saved(tmp_path):
    with start("train", *TRAIN, f"--workdir={tmp_path}/run", stdout=subprocess.PIPE) as run:
        while b"step 2:" not in run.stdout.readline():
            pass
        run.send_signal(signal.SIGHUP)
        out, told = run.communicate()
    assert run.returncode == _command.PREEMPTED, told
    assert b"stopped by a signal, saved at step" in out
    assert len(saved(tmp_path / "run")) == 1


def test_a_list_that_cannot_be_written_ends_in_a_line():
    with open("/dev/full", "w") as full, start("list", "--catalog=losses", stdout=full) as run:
        told = run.stderr.read().decode()
    assert run.returncode == _command.PREEMPTED
    assert told.splitlines() == [
        "standard output cannot be written to (No space left on device): stopping"
    ]


def test_commands_do_without_a_home_and_without_utf8(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import pwd\ndef gone(uid): raise KeyError(uid)\npwd.getpwuid = gone\n"
    )
    kept = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME")}
    done = subprocess.run(
        [sys.executable, "-m", "launch.list", "--catalog=activations"],
        env=kept | {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PYTHONIOENCODING": "ascii"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert b"relu" in done.stdout


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_takes_nothing_is_told_in_a_sentence(number):
    assert number in _command._NO_ROOM
    error = OSError(number, os.strerror(number), "runs/x/metrics.jsonl")
    assert os.strerror(number) in _command._of_disk(error)
    assert "runs/x/metrics.jsonl" in _command._of_disk(error)


def test_a_place_that_cannot_be_used_is_told_in_a_sentence():
    for number in (errno.EISDIR, errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP):
        error = OSError(number, os.strerror(number), "runs/x")
        assert _command._of_disk(error).startswith(f"cannot use runs/x ({os.strerror(number)})")


# No file may grow beyond: what a full disk is to whoever writes, without one.
LIMITED = """
import resource, runpy, sys
size = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
runpy.run_module("launch.train", run_name="__main__", alter_sys=True)
"""


@pytest.mark.quick("100")
@pytest.mark.parametrize("size", [100, 3000])  # of config.json, of an array
def test_a_disk_without_room_ends_a_run_in_a_line(size, tmp_path):
    flags = [*TRAIN[1:4], "--width=32", TRAIN[-1], "--steps=30", "--checkpoint_every=4"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(size), *flags, f"--workdir={tmp_path}/run"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == _command.FAILED, done.stderr
    assert re.fullmatch(r"error: (cannot write|no checkpoint can be written) .*\n", done.stderr)
    assert "the same command goes on" in done.stderr


@pytest.mark.slow
def test_programs_that_jax_cannot_read_are_compiled_and_kept_anew(tmp_path):
    def run(name):
        flags = ["--steps=1", "--width=4", "--batch_size=4", TRAIN[-1], f"--workdir={name}"]
        kept = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
        return subprocess.run(
            [sys.executable, "-m", "launch.train", *flags],
            env=kept | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    assert run("first").stderr == ""
    entries = {each: each.stat().st_size for each in (tmp_path / "cache").rglob("*-cache")}
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:100])
    assert run("second").stderr == ""
    sizes = {each: each.stat().st_size for each in entries}
    assert sum(size > 100 for size in sizes.values()) == len(entries) > 10


def test_other_warnings_are_shown_as_ever(tmp_path, request, capsys):
    shown = []
    show = _compilation_cache.Mended(lambda message, *_: shown.append(str(message)))
    before = jax.config.jax_compilation_cache_dir
    request.addfinalizer(lambda: jax.config.update("jax_compilation_cache_dir", before))
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    for name, age in (("jit_step-0-cache", 9), ("jit_other-0-cache", 9), ("jit_step-1-cache", -9)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, 2 * (time.time() - age,))
    report = "Error {} persistent compilation cache entry for 'jit_step': OSError: full"
    for text in ("other", report.format("reading"), *2 * [report.format("writing")]):
        show(text, UserWarning, "file", 1)
    assert shown == ["other"]
    kept = {each.name for each in tmp_path.iterdir()}  # of others, and what was kept since
    assert kept == {"jit_other-0-cache", "jit_step-1-cache"}
    assert capsys.readouterr().err == "compiled programs cannot be kept (OSError: full)\n"
