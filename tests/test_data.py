"""Data on disk: training reads it piece by piece, and resumes in the middle of reading ahead."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from deqzoo import catalog
from deqzoo.data import rows
from deqzoo.storage.checkpoint import Checkpoints
from deqzoo.storage.workdir import Workdir
from deqzoo.training import RunOptions, TrainConfig, Training, reporter, train

ROOT = Path(__file__).resolve().parent.parent
SMALL = {
    "width": 16,
    "batch_size": "100",  # not a divisor of the examples: epochs end within batches
    "solver": "picard",
    "adjoint": "implicit(solver='picard')",
    "steps": 7,
    "log_every": 1,
    "eval_every": 3,
    "checkpoint_every": 3,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """330 training and 30 test examples as npy files, and the same as an npz file."""
    folder = tmp_path_factory.mktemp("stored")
    digits = catalog.tasks.get("digits(scaling='none')").load()
    parts = {"x": digits.train.x[:330], "y": digits.train.y[:330]}
    parts |= {"x_test": digits.test.x[:30], "y_test": digits.test.y[:30]}
    for name, array in parts.items():
        np.save(folder / f"{name}.npy", array)
    np.savez(folder / "all.npz", **parts)
    return folder


def config(task, workdir, **settings):
    return TrainConfig(task=task, workdir=str(workdir), **{**SMALL, **settings})


def read(workdir, step):
    """State and record of a checkpoint."""
    reader = Checkpoints(Workdir(workdir).checkpoints, writable=False)
    try:
        return reader.read(step), reader.about(step)
    finally:
        reader.close()


def assert_equal_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert (x.dtype, x.tobytes()) == (y.dtype, y.tobytes())


def test_training_from_disk_equals_training_from_memory_bit_for_bit(folder, tmp_path):
    tasks = {"disk": f"npy:{folder}", "memory": f"npz:{folder / 'all.npz'}"}
    summaries = [list(train(config(task, tmp_path / name)))[-1] for name, task in tasks.items()]
    assert_equal_bits(read(tmp_path / "disk", 7)[0], read(tmp_path / "memory", 7)[0])
    assert replace_seconds(summaries[0]) == replace_seconds(summaries[1])


def replace_seconds(summary):
    return {**summary, "seconds": 0}


def interrupt(plan, options=None):
    """Train to step 5, two steps beyond the checkpoint of step 3, and stop as a kill does."""
    training = Training(plan, options)
    list(training.reports(lambda step: step == 5))
    training._checkpoints.wait()
    training.close()


@pytest.mark.quick("memory-grain")
@pytest.mark.parametrize("before", ["memory", "grain"])
@pytest.mark.parametrize("after", ["memory", "grain"])
def test_a_run_resumes_bit_for_bit_within_an_epoch_by_any_loader(before, after, folder, tmp_path):
    pytest.importorskip("grain")
    task = f"npy:{folder}"
    whole, parts = (config(task, tmp_path / name) for name in ("whole", "parts"))
    list(train(whole))
    interrupt(parts, RunOptions(loader=before))
    counted = {"memory": {}, "grain": {"next_index": 3}}  # not what was read ahead
    assert read(parts.workdir, 3)[1]["data"] == counted[before]
    resumed = Training(parts, RunOptions(loader=after))
    assert resumed.step == 3
    list(resumed.reports())
    resumed.close()
    assert_equal_bits(read(parts.workdir, 7)[0], read(whole.workdir, 7)[0])


@pytest.mark.slow
def test_warm_starts_need_the_whole_and_read_it_into_memory(folder, tmp_path):
    settings = {"batch_size": "full", "warm_start": True, "steps": 2}
    for name, task in (("disk", f"npy:{folder}"), ("memory", f"npz:{folder / 'all.npz'}")):
        list(train(config(task, tmp_path / name, **settings)))
    assert_equal_bits(read(tmp_path / "disk", 2)[0], read(tmp_path / "memory", 2)[0])


def test_nothing_larger_than_a_block_is_ever_read(folder, tmp_path, monkeypatch):
    """Of 330 examples: blocks of 20, chunks of 30 (the test split's), batches of 10."""
    sizes = []
    original = rows.Rows.__getitem__

    def spy(self, index):
        found = original(self, index)
        sizes.append(len(found) if self.ndim > 1 else 0)  # labels of a split are small
        return found

    monkeypatch.setattr(rows.Rows, "__getitem__", spy)
    monkeypatch.setattr(rows, "_VALUES", 20 * 64)
    monkeypatch.setattr(reporter, "_CHUNK", 30)
    settings = config(f"npy:{folder}", tmp_path / "run", batch_size="10", steps=2)
    list(train(settings))
    assert 10 in sizes
    assert max(sizes) == 30


def test_the_summary_measures_an_even_sample_of_a_large_training_split(
    folder, tmp_path, monkeypatch
):
    task = f"npy:{folder}"
    whole = list(train(config(task, tmp_path / "whole", loss="square")))[-1]
    monkeypatch.setattr(reporter, "_TRAIN", 110)
    sample = list(train(config(task, tmp_path / "sample", loss="square")))[-1]
    assert sample["train_loss"] != whole["train_loss"]
    assert sample["train_loss"] == pytest.approx(whole["train_loss"], rel=0.2)  # a sum over all
    assert sample["test_loss"] == whole["test_loss"]


MEMORY = """
import json, sys
from deqzoo.training import RunOptions, TrainConfig, Training

def anonymous():
    status = open("/proc/self/status").read()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024

for argument in sys.argv[2:]:
    before = peak = anonymous()
    training = Training(TrainConfig(**json.loads(argument)), RunOptions(loader=sys.argv[1]))
    for _ in training.reports():
        peak = max(peak, anonymous())
    training.close()
print(peak - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("loader", ["memory", "grain"])
def test_training_on_200_mb_takes_far_less_memory(loader, tmp_path):
    if loader == "grain":
        pytest.importorskip("grain")
    plans = []
    # The first two runs import, compile and fill the pools of XLA.
    for name, examples in (("small", 2000), ("again", 2000), ("large", 100_000)):
        write_noise(tmp_path / name, examples)
        task = f"npy:{tmp_path / name}"
        plan = config(task, tmp_path / f"run-{name}", steps=20, eval_every=10)
        plans.append(json.dumps({**plan.to_dict(), "workdir": plan.workdir}))
    assert (tmp_path / "large" / "x.npy").stat().st_size > 200e6
    done = run(MEMORY, loader, *plans, cwd=tmp_path)
    assert int(done.stdout.splitlines()[-1]) < 100e6


def write_noise(folder, examples):
    folder.mkdir()
    draw = np.random.default_rng(0).standard_normal
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (examples, 512))
    for start in range(0, examples, 1000):
        x[start : start + 1000] = draw((1000, 512), np.float32)
    np.save(folder / "y.npy", np.arange(examples) % 10)
    np.save(folder / "x_test.npy", draw((200, 512), np.float32))
    np.save(folder / "y_test.npy", np.arange(200) % 10)


def run(code, *arguments, cwd):
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


@pytest.mark.slow
def test_a_killed_run_that_reads_ahead_equals_the_one_never_killed(folder, tmp_path):
    pytest.importorskip("grain")
    plan = config(f"npy:{folder}", tmp_path / "whole", steps=60)
    list(train(plan))
    plan = replace(plan, workdir=str(tmp_path / "killed"))
    values = {**plan.to_dict(), "workdir": plan.workdir}
    flags = ["--loader=grain"] + [
        f"--{k}={v}" for k, v in values.items() if v not in (None, "", [])
    ]
    for reached in (10, 31, 60):
        process = subprocess.Popen(
            [sys.executable, "-m", "launch.train", *flags],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        deadline = time.monotonic() + 200
        while reached < 60 and len(Workdir(plan.workdir).read_metrics()) < reached:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if reached < 60:
            process.send_signal(signal.SIGKILL)
        out, _ = process.communicate(timeout=200)
        assert reached == 10 or re.search("resumed from step [1-9]", out), out
    assert process.returncode == 0
    assert_equal_bits(read(plan.workdir, 60)[0], read(tmp_path / "whole", 60)[0])
