"""What is on disk outlives a power loss: content is synced before names, names before others go."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

from deqzoo.storage import durable, files
from deqzoo.storage.checkpoint import Checkpoints, Keep
from deqzoo.storage.workdir import Workdir
from deqzoo.training import TrainConfig, Training

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def events(monkeypatch):
    """("sync", path) and ("name", path), in the order in which the disk hears of them."""
    told = []
    sync, replace = os.fsync, os.replace

    def fsync(descriptor):
        sync(descriptor)
        told.append(("sync", Path(os.readlink(f"/proc/self/fd/{descriptor}"))))

    def replaced(source, target):
        replace(source, target)
        told.append(("name", Path(target)))

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replaced)
    return told


def test_a_file_is_synced_before_its_name_and_the_folder_after_it(tmp_path, events):
    path = tmp_path / "new" / "folder" / "a.json"
    files.write(path, "{}")
    assert events == [
        ("sync", tmp_path),
        ("sync", tmp_path / "new"),
        ("sync", path.with_name("a.json.tmp")),
        ("name", path),
        ("sync", path.parent),
    ]


def test_a_pipe_below_a_folder_is_not_waited_for(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder" / "pipe")
    durable.sync_tree(tmp_path / "folder")


def test_a_checkpoint_is_synced_before_an_older_one_goes(tmp_path, events, monkeypatch):
    delete = ocp.CheckpointManager.delete

    def deleted(manager, step):
        events.append(("delete", step))
        delete(manager, step)

    monkeypatch.setattr(ocp.CheckpointManager, "delete", deleted)
    folder = tmp_path / "run" / "checkpoints"
    writer = Checkpoints(folder, writable=True, keep=Keep(latest=1, best=0))
    for step in (1, 2):
        writer.save(step, {"W": np.arange(6.0)}, 0.5)
    writer.wait()
    told = events[: events.index(("delete", 1))]
    own = [folder / "2", *(folder / "2").rglob("*")]
    places = [told.index(("sync", each)) for each in own]
    assert all(place < places[0] for place in places[1:])  # the folder after what it holds
    assert max(n for n, each in enumerate(told) if each == ("sync", folder)) > places[0]
    writer.close()


def test_the_last_checkpoint_is_synced_on_closing(tmp_path, events):
    writer = Checkpoints(tmp_path, writable=True)
    writer.save(1, {"W": np.arange(6.0)}, 0.5)
    writer.close()
    assert ("sync", tmp_path / "1") in events


def test_lines_are_synced_before_the_checkpoint_of_their_step(tmp_path, events, monkeypatch):
    save = Checkpoints.save

    def saved(self, step, *arguments):
        lines = Workdir(tmp_path).read_metrics()
        events.append(("save", step, lines[-1]["step"]))
        save(self, step, *arguments)

    monkeypatch.setattr(Checkpoints, "save", saved)
    settings = {"width": 4, "batch_size": "8", "task": "sphere(examples=16, dimension=3)"}
    config = TrainConfig(workdir=str(tmp_path), steps=4, checkpoint_every=2, **settings)
    training = Training(config)
    list(training.reports())
    training.close()
    line = ("sync", tmp_path / "metrics.jsonl")
    for step in (2, 4):
        assert events[events.index(("save", step, step)) - 1] == line


def test_a_damaged_checkpoint_keeps_its_new_name(tmp_path, events):
    writer = Checkpoints(tmp_path, writable=True)
    writer.save(1, {"W": np.arange(6.0)}, 0.5)
    writer.wait()
    place = writer.set_aside(1)
    assert events[-2:] == [("name", place), ("sync", tmp_path)]
    writer.close()


def test_a_file_system_that_syncs_no_folders_is_used_as_it_is(tmp_path, monkeypatch):
    def refused(descriptor):
        raise OSError(refused.number, os.strerror(refused.number))

    monkeypatch.setattr(os, "fsync", refused)
    refused.number = 22
    durable.sync(tmp_path)
    refused.number = 5
    with pytest.raises(OSError, match="Input/output error"):
        durable.sync(tmp_path)


def test_a_file_that_cannot_be_written_leaves_the_old_one_alone(tmp_path, monkeypatch):
    files.write(tmp_path / "a", "old")

    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(tmp_path / "a", "new")
    assert [each.read_text() for each in tmp_path.iterdir()] == ["old"]


# Hears of everything that Python opens to write, below the folder of results.
LISTENER = """
import sys
from pathlib import Path
folder, opened = sys.argv[1], []

def hear(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, Path)):
        path, mode, flags = arguments
        if flags & 3 and str(path).startswith(folder):
            opened.append(str(path))

sys.addaudithook(hear)
import launch.analyze, launch.evaluate, launch.export, launch.train
from deqzoo.training import RunOptions, TrainConfig
small = dict(width=4, batch_size="8", steps=2, task="sphere(examples=16, dimension=3)")
run = f"{folder}/run"
launch.train.train(TrainConfig(workdir=run, **small), RunOptions())
launch.analyze.analyze(launch.analyze.AnalyzeConfig(workdir=(run,), only=("weights",)))
launch.evaluate.show(launch.evaluate.EvaluateConfig(workdir=run))
launch.export.write(launch.export.ExportConfig(workdir=run, calls=0, latency_batch=2))
print("\\n".join(["opened", *opened]))
"""


@pytest.mark.slow
def test_no_file_takes_shape_under_its_own_name(tmp_path):
    pytest.importorskip("flatbuffers")
    done = subprocess.run(
        [sys.executable, "-c", LISTENER, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    names = done.stdout.split("opened\n")[1].splitlines()
    written = {Path(name).relative_to(tmp_path / "run") for name in names}
    there = {each.name for each in written if each.name.endswith(files.SCRATCH)}
    assert {"config.json.tmp", "summary.json.tmp", "evaluation.json.tmp"} < there
    assert {"report.html.tmp", "weights.png.tmp", "training.png.tmp"} < there
    own = {each for each in written if not each.name.endswith(files.SCRATCH)}
    lines = {Path(".lock"), Path("metrics.jsonl"), Path()}  # the last is a file without a name
    assert {each for each in own if each.parts[:1] != ("checkpoints",)} <= lines
