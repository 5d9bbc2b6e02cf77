"""Nothing is lost: kills and signals at any moment, flipped bits in any checkpoint."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from deqzoo.storage.checkpoint import Checkpoints, Keep
from deqzoo.storage.workdir import Workdir

ROOT = Path(__file__).resolve().parent.parent
STEPS = 24
# A process that has imported everything and started nothing forks a trainer, over and over: each is
# killed at a moment drawn for it, or left to finish.
NURSERY = """
import json, os, random, signal, sys, time
import launch.train
from deqzoo.training import RunOptions, TrainConfig
settings, folder, kills, seed, longest = json.loads(sys.argv[1])
rng = random.Random(seed)
launch.train._draw = lambda *_: None  # comes after all that could be lost

def train(workdir, patience):
    child = os.fork()
    if child == 0:
        os.dup2(os.open(f"{workdir}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
        code = 99
        try:
            os.dup2(1, 2)
            code = launch.train.train(TrainConfig(workdir=workdir, **settings), RunOptions())
        finally:
            os._exit(code)
    started = time.monotonic()
    while time.monotonic() - started < patience:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

codes, run = {}, 0
assert train(f"{folder}/whole", 600) == 0, open(f"{folder}/whole.log").read()
while kills > 0:
    run += 1
    codes[run] = []
    while not codes[run] or codes[run][-1] != 0:
        patience = rng.uniform(0, longest) if kills > 0 else 600
        codes[run].append(train(f"{folder}/{run}", patience))
        assert codes[run][-1] in (0, -signal.SIGKILL), codes
        kills -= codes[run][-1] != 0
print(json.dumps(codes))
"""


def settings(**changes):
    return {
        "width": 24,
        "batch_size": "100",  # not a divisor of the 1437 examples: epochs end within batches
        "steps": STEPS,
        "solver": "picard",
        "adjoint": "implicit(solver='picard')",
        "log_every": 1,
        "eval_every": 8,
        "checkpoint_every": 3,
        **changes,
    }


def state_of(workdir):
    reader = Checkpoints(Workdir(workdir).checkpoints, writable=False)
    try:
        return reader.read(reader.steps()[-1])
    finally:
        reader.close()


def kill_runs(folder, kills, seed, longest=3.0, **changes):
    argument = json.dumps([settings(**changes), str(folder), kills, seed, longest])
    done = subprocess.run(
        [sys.executable, "-c", NURSERY, argument],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


def assert_as_if_never_killed(folder, codes, kills):
    whole = jax.tree.leaves(state_of(folder / "whole"))
    rows = metrics_of(folder / "whole")
    for run in codes:
        for a, b in zip(jax.tree.leaves(state_of(folder / run)), whole, strict=True):
            assert (a.dtype, a.tobytes()) == (b.dtype, b.tobytes())
        assert metrics_of(folder / run) == rows
        assert Workdir(folder / run).read_summary() is not None
    assert sum(code != 0 for each in codes.values() for code in each) >= kills


def metrics_of(workdir):
    timed = "examples_per_second"
    rows = Workdir(workdir).read_metrics()
    return [{name: value for name, value in row.items() if name != timed} for row in rows]


@pytest.mark.slow
def test_runs_killed_32_times_equal_the_one_never_killed(tmp_path):
    codes = kill_runs(tmp_path, kills=32, seed=2)
    assert_as_if_never_killed(tmp_path, codes, 32)


@pytest.mark.slow
def test_a_killed_run_with_warm_starts_equals_the_one_never_killed(tmp_path):
    changes = {
        "task": "sphere(examples=60, dimension=8)",
        "batch_size": "full",
        "warm_start": True,
        "loss": "square",
        "model": "wide",
        "optimizer": "momentum(learning_rate=1e-4)",
    }
    codes = kill_runs(tmp_path, kills=8, seed=4, **changes)
    assert_as_if_never_killed(tmp_path, codes, 8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two steps of random weights."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("saved")
    states = {}
    writer = Checkpoints(folder, writable=True, keep=Keep(latest=2))
    for step in (1, 2):
        states[step] = {"W": rng.standard_normal((64, 64)), "b": rng.standard_normal(64)}
        writer.save(step, states[step], score=1.0)
    writer.close()
    return folder, states


def flipped(data, rng):
    damaged = bytearray(data)
    damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
    return bytes(damaged)


def cut_off(data, rng):
    return data[: rng.integers(len(data))]


def restored_from_damage(folder, damage, rng):
    """What is restored after a file of the data of step 2 was damaged, a byte drawn evenly."""
    files = [file for file in sorted((folder / "2").rglob("d/*")) if file.stat().st_size > 0]
    sizes = np.array([file.stat().st_size for file in files])
    file = files[rng.choice(len(files), p=sizes / sizes.sum())]
    whole = file.read_bytes()
    file.write_bytes(damage(whole, rng))
    reader = Checkpoints(folder, writable=False)
    try:
        return reader.restore_latest()
    finally:
        reader.close()
        file.write_bytes(whole)


@pytest.mark.slow
@pytest.mark.parametrize(("damage", "count"), [(flipped, 136), (cut_off, 77)])
def test_every_damage_is_noticed_and_the_step_before_is_used(damage, count, saved):
    folder, states = saved
    rng, noticed, harmless = np.random.default_rng(0), 0, 0
    while noticed < count:
        restored = restored_from_damage(folder, damage, rng)
        if restored.step == 2:  # a byte that holds nothing of the arrays
            assert restored.state["W"].tobytes() == states[2]["W"].tobytes()
            assert restored.state["b"].tobytes() == states[2]["b"].tobytes()
            harmless += 1
            assert harmless < count / 6
            continue
        noticed += 1
        assert restored.step == 1
        assert [step for step, _ in restored.skipped] == [2]
        assert restored.state["W"].tobytes() == states[1]["W"].tobytes()


def start_training(folder, *flags):
    fixed = [f"--{name}={value}" for name, value in settings(steps=100_000).items()]
    return subprocess.Popen(
        [sys.executable, "-m", "launch.train", *fixed, *flags, f"--workdir={folder / 'run'}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_signal_while_a_step_is_compiled_saves_and_stops(tmp_path):
    process = start_training(tmp_path, "--log_every=1")
    wait_for(process, lambda: (tmp_path / "run" / "checkpoints").exists())  # compiling begins
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 75, f"{out}\n{err}"
    assert "saved at step" in out
    assert int(state_of(tmp_path / "run")["step"]) >= 1


# No file may grow beyond: what a full disk is to whoever writes, without one.
LIMITED = """
import resource, runpy, sys
size = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
runpy.run_module("launch.train", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_a_run_that_a_full_disk_ended_equals_the_one_never_ended(tmp_path):
    flags = [f"--{name}={value}" for name, value in settings().items()]
    compiled = str(tmp_path / "compiled")  # by the first run, whole

    def run(folder, room):
        return subprocess.run(
            [sys.executable, "-c", LIMITED, str(room), *flags, f"--workdir={tmp_path / folder}"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": compiled},
            capture_output=True,
        ).returncode

    assert run("whole", 2**30) == 0
    lines = (tmp_path / "whole" / "metrics.jsonl").stat().st_size
    assert [run("full", room) for room in (3000, lines // 2, 2**30)] == [1, 1, 0]
    assert_as_if_never_killed(tmp_path, {"full": []}, 0)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("flags", [(), ("--checkpoint_every=1",)], ids=["solve", "save"])
def test_a_signal_in_a_solve_or_a_save_saves_and_stops(flags, number, tmp_path):
    process = start_training(tmp_path, *flags)
    wait_for(process, lambda: len(Workdir(tmp_path / "run").read_metrics()) > 20)
    process.send_signal(number)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 75, f"{out}\n{err}"
    step = int(out.split("saved at step ")[1].split(":")[0])
    assert int(state_of(tmp_path / "run")["step"]) == step


def wait_for(process, condition, seconds=200):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the run does not advance"
        time.sleep(0.02)
