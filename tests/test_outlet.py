"""Commands whose output, disk, home or patience is gone end in a sentence, and nothing is lost."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deqzoo.storage.checkpoint import Checkpoints
from deqzoo.storage.workdir import Workdir
from launch import _command

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
    assert os.strerror(number) in _command._no_room(error)
    assert "runs/x/metrics.jsonl" in _command._no_room(error)
