"""Ctrl-C ends every command in one line, wherever it comes, and nothing of it stays behind."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from deqzoo import catalog
from deqzoo.storage import unfinished
from deqzoo.storage.checkpoint import Checkpoints
from deqzoo.storage.workdir import Workdir
from deqzoo.training import TrainConfig, train
from launch import _command

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = catalog.commands.names()
INTERRUPTED = 130
TASK = "--task=sphere(examples=8, dimension=3)"
TINY = ("--width=4", "--batch_size=4", TASK)


def start(*arguments, path=ROOT, cwd=None):
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (path, ROOT)))},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def interrupted(process):
    """(exit code, what is said after Ctrl-C)."""
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=100)[0]
    return process.returncode, told.splitlines()


def by_module(name):
    return ("-m", f"launch.{name}")


def by_front_door(name):
    return ("-m", "launch", name)


def by_script(name):  # as pip writes it
    return ("-c", "import sys; from launch.__main__ import main; sys.exit(main())", name)


ASLEEP = "import time; print('importing', flush=True); time.sleep(1000)"
# What no signal wakes, as a long call of LAPACK.
DEAF = """
import ctypes
lock = ctypes.create_string_buffer(256)
print('importing', flush=True)
for _ in range(2):
    ctypes.CDLL(None).pthread_mutex_lock(lock)
"""


@pytest.mark.quick("*-by_module-asleep", "list-*")
@pytest.mark.parametrize("jax", [ASLEEP, DEAF], ids=["asleep", "deaf"])
@pytest.mark.parametrize("way", [by_module, by_front_door, by_script])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_still_importing_ends_in_a_line(name, way, jax, tmp_path):
    (tmp_path / "jax.py").write_text(jax)
    process = start(*way(name), path=tmp_path)
    assert process.stdout.readline() == "importing\n"
    assert interrupted(process) == (
        INTERRUPTED,
        ["stopped by a signal: nothing is half written, run the same command again"],
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    config = TrainConfig(
        task=TASK.removeprefix("--task="), width=4, batch_size="4", steps=2, workdir=str(folder)
    )
    list(train(config))
    return folder


# A command that hangs where a file is about to take its name.
HANGING = """
import runpy, sys, time
from deqzoo.storage import durable
def hang(source, target):
    if target.name == wanted:
        print("hanging", flush=True)
        time.sleep(1000)
    replace(source, target)
replace, durable.replace = durable.replace, hang
name, wanted = sys.argv.pop(1), sys.argv.pop(1)
runpy.run_module(f"launch.{name}", run_name="__main__", alter_sys=True)
"""
WRITING = {
    "certify": ("certificate.json", TASK, "--width=8", "--activation=tanh", "--workdir=new"),
    "evaluate": ("evaluation.json", "--output=new/evaluation.json"),
    "export": ("model.unverified", "--output=new/model", "--calls=0"),
    "analyze": ("analysis.json", "--output=new", "--only=training"),
    "reproduce": (
        "config.json",
        "--experiment=gram_error(widths=(8, 16), draws=1)",
        "--workdir=new",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITING)
def test_a_file_that_is_being_written_leaves_with_the_command(name, trained, tmp_path):
    wanted, *flags = WRITING[name]
    if name in ("evaluate", "export", "analyze"):
        flags.append(f"--workdir={trained}")
    process = start("-c", HANGING, name, wanted, *flags, cwd=tmp_path)
    for line in process.stdout:
        if line == "hanging\n":
            break
    code, told = interrupted(process)
    assert (code, len(told)) == (INTERRUPTED, 1), told
    names = [each.name for each in tmp_path.rglob("*")]
    assert [each for each in names if ".tmp" in each or "unverified" in each] == []
    assert wanted not in names


def test_the_latest_is_undone_first_and_a_failure_keeps_nobody(monkeypatch):
    monkeypatch.setattr(unfinished, "_beginning", threading.RLock())
    order = []

    def failing():
        order.append("inner")
        raise OSError

    with (
        contextlib.suppress(OSError),
        unfinished.undone(lambda: order.append("outer")),
        unfinished.undone(failing),
    ):
        unfinished.undo_all()
        assert order == ["inner", "outer"]
    assert order == ["inner", "outer"] * 2
    unfinished.undo_all()
    assert order == ["inner", "outer"] * 2


def test_what_is_about_to_begin_is_undone_too(monkeypatch):
    monkeypatch.setattr(unfinished, "_beginning", threading.Lock())
    half_way, go_on, order = threading.Event(), threading.Event(), []

    def begin():
        half_way.set()
        go_on.wait()
        order.append("begun")

    def work():
        with unfinished.begun(begin, lambda _: order.append("undone")):
            leaver.join()

    worker, leaver = threading.Thread(target=work), threading.Thread(target=unfinished.undo_all)
    worker.start()
    half_way.wait()
    leaver.start()
    go_on.set()
    worker.join()
    assert order == ["begun", "undone", "undone"]


def children(pid):
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def measuring(pid):
    """The children that measure; others, which tell what machine this is, come and go before."""

    def is_ours(child):
        return b"launch._benchmark" in Path(f"/proc/{child}/cmdline").read_bytes()

    with contextlib.suppress(FileNotFoundError):
        return [*filter(is_ours, children(pid))]
    return []


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=100):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.quick("startup")
@pytest.mark.parametrize("suite", ["startup", "solve", "trainer"])
def test_no_process_of_a_benchmark_outlives_it(suite, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    peers = "deqzoo" if suite == "trainer" else "hand"
    flags = (f"--suite={suite}", f"--peers={peers}", f"--workdir={tmp_path / 'new'}")
    process = start("-m", "launch.benchmark", *flags)
    wait_until(lambda: process.poll() is None and measuring(process.pid))
    workers = children(process.pid)
    code, told = interrupted(process)
    assert code == INTERRUPTED
    assert told[-1].startswith("stopped by a signal: what was measured is in")
    assert not [line for line in told if "Traceback" in line]
    wait_until(lambda: not any(map(is_running, workers)), seconds=20)
    assert not list((tmp_path / "scratch").glob("deqzoo-*"))


def running(tmp_path):
    process = start(
        "-m", "launch.train", *TINY, "--steps=100000", "--checkpoint_every=100000", cwd=tmp_path
    )
    wait_until(lambda: list(tmp_path.glob("runs/*/metrics.jsonl")))
    return process


def test_ctrl_c_saves_a_run_and_the_same_twice_at_once_is_one(tmp_path):
    process = running(tmp_path)
    process.send_signal(signal.SIGINT)  # as what wraps a command hands it on
    code, told = interrupted(process)
    assert code == _command.PREEMPTED, told
    (step,) = re.findall(r"^stopped by a signal, saved at step (\d+): run", "\n".join(told), re.M)
    (folder,) = tmp_path.glob("runs/*")
    reader = Checkpoints(Workdir(folder).checkpoints, writable=False)
    assert reader.steps() == (int(step),)
    reader.close()


# A run whose step takes for ever.
STUCK = """
import runpy, sys, time
from deqzoo.training import Training
def take_step(self, number):
    print("stuck", flush=True)
    while True:
        time.sleep(0.01)
Training.take_step = take_step
runpy.run_module("launch.train", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_a_second_ctrl_c_ends_a_run_at_once(tmp_path):
    process = start("-c", STUCK, *TINY, cwd=tmp_path)
    while process.stdout.readline() != "stuck\n":
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    time.sleep(1.5)
    assert process.poll() is None
    code, told = interrupted(process)
    assert (code, len(told)) == (INTERRUPTED, 1)


def test_ctrl_c_after_the_last_word_leaves_the_exit_code_alone(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os, signal\n"
        "class Last:\n"
        "    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGINT):\n"
        "        kill(pid, number)\n"
        "import builtins; builtins.last = Last()\n"
    )
    process = start("-m", "launch", "list", "--catalog=losses", path=tmp_path)
    out = process.communicate(timeout=100)[0]
    assert (process.returncode, "stopped" in out, "cross_entropy" in out) == (0, False, True)
