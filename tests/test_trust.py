"""A folder may be anybody's: nothing in it is run, followed or believed before it is checked."""

import json
import os
import shutil
import sys

import jax
import numpy as np
import pytest

import deqzoo
from deqzoo import catalog
from deqzoo.catalog import CatalogError
from deqzoo.local_path import PathError, local_path
from deqzoo.nn.pure_model import PureModel
from deqzoo.storage import files
from deqzoo.storage.checkpoint import CheckpointError, Checkpoints
from deqzoo.storage.ordinary import UnusualError, require_ordinary
from deqzoo.storage.workdir import Workdir, WorkdirError
from deqzoo.sweeps.grid import Cell, seeds
from deqzoo.sweeps.sweep import Sweep
from deqzoo.training import ConfigError, TrainConfig, Training, train
from deqzoo.training.seed_key import seed_key

SMALL = {
    "width": 4,
    "steps": 4,
    "checkpoint_every": 2,
    "keep": 2,
    "keep_best": 0,
    "batch_size": "8",
    "task": "sphere(examples=16, dimension=3)",
}


NO_UTF8 = os.fsdecode(b"run\xff")


def small(path, **changes):
    return TrainConfig(workdir=str(path), **{**SMALL, **changes})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("trust") / "run"
    list(train(small(path)))
    return path


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


DAMAGED = [
    "3",
    "null",
    "[]",
    '{"config": null, "resolved": {}}',
    "[" * 10**5,
    '{"a": ' + "9" * 5000,
]


def edit(run, *keys, to):
    path = run / "config.json"
    record = at = json.loads(path.read_text())
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = to
    path.write_text(json.dumps(record))


def test_a_module_that_a_run_names_is_imported_only_where_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "named_by_a_run.py").write_text("")
    list(train(small(tmp_path / "run", plugin=("named_by_a_run",))))
    del sys.modules["named_by_a_run"]
    with pytest.raises(CatalogError, match="--plugin=named_by_a_run"):
        deqzoo.load_run(tmp_path / "run")
    assert "named_by_a_run" not in sys.modules
    assert deqzoo.load_run(tmp_path / "run", plugins=["named_by_a_run"]).step == 4
    assert "named_by_a_run" in sys.modules


EDITS = {
    "activation": ("config", "activation", "relu"),
    "seed": ("config", "seed", 1),
    "learning rate": ("resolved", "learning_rate", 1.0),
    "width": ("config", "width", 10**9),  # drawn, it would ask for 4 EB
    "outputs": ("resolved", "outputs", 0),
    "versions": ("versions", "jax", "0.1"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_record_is_no_longer_that_of_the_checkpoints(name, run):
    *keys, value = EDITS[name]
    edit(run, *keys, to=value)
    with pytest.raises(CheckpointError, match=f"belongs to another run .*{keys[-1]}: "):
        deqzoo.load_run(run)


def test_an_edited_learning_rate_is_not_trained_with(run):
    (run / "summary.json").unlink()
    edit(run, "resolved", "learning_rate", to=1.0)
    with pytest.raises(CheckpointError, match="learning_rate: "):
        Training(small(run))
    assert {each.name for each in (run / "checkpoints").iterdir()} == {"2", "4"}


def test_a_step_under_another_name_is_passed_over(run):
    shutil.rmtree(run / "checkpoints" / "4")
    shutil.copytree(run / "checkpoints" / "2", run / "checkpoints" / "4")
    with pytest.warns(UserWarning, match="step 4 is damaged .it holds step 2"):
        assert deqzoo.load_run(run).step == 2
    training = Training(small(run))
    assert training.step == 2
    *_, last = training.reports()
    training.close()
    assert last["step"] == 4


def test_two_steps_that_changed_places_are_both_noticed(run):
    folder = run / "checkpoints"
    for source, target in (("2", "aside"), ("4", "2"), ("aside", "4")):
        (folder / source).rename(folder / target)
    with pytest.raises(CheckpointError, match="it holds step 2.*it holds step 4"):
        deqzoo.load_run(run)


def test_the_checkpoint_of_another_run_is_not_resumed_from(run, tmp_path):
    list(train(small(tmp_path / "other", seed=7)))
    shutil.rmtree(run / "checkpoints" / "4")
    shutil.copytree(tmp_path / "other" / "checkpoints" / "4", run / "checkpoints" / "4")
    (run / "summary.json").unlink()
    training = Training(small(run))
    training.close()
    assert training.step == 2
    assert any("seed: 7 there, 0 here" in note for note in training.notes)
    shutil.rmtree(run / "checkpoints" / "2")
    shutil.copytree(tmp_path / "other" / "checkpoints" / "2", run / "checkpoints" / "2")
    with pytest.raises(ConfigError, match="another run"):
        Training(small(tmp_path / "third", init_from=str(run)))


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_json_that_is_no_record_is_refused_in_a_sentence(text, run):
    (run / "config.json").write_text(text)
    with pytest.raises(WorkdirError, match=r"config\.json"):
        deqzoo.load_run(run)


def test_no_link_is_followed(tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("precious")
    folder = tmp_path / "run"
    folder.mkdir()
    for name in (".lock", "metrics.jsonl", "config.json.tmp", "summary.json.tmp", "a.tmp", "b"):
        (folder / name).symlink_to(kept)
    files.write(folder / "a", "new")
    files.write(folder / "b", "new")
    with pytest.raises(OSError, match="symbolic links"):
        Workdir(folder).append_metrics({"step": 1})
    (folder / "config.json").write_text("{}")
    with pytest.raises(WorkdirError, match="symbolic links"):
        Workdir(folder).lock()
    assert kept.read_text() == "precious"
    assert (folder / "a").read_text() == (folder / "b").read_text() == "new"


def test_pictures_replace_links(tmp_path):
    pytest.importorskip("matplotlib")
    from deqzoo.analysis.figure import figure

    (tmp_path / "kept").write_text("precious")
    for name in ("a.png", "b.svg"):
        (tmp_path / name).symlink_to(tmp_path / "kept")
        with figure(tmp_path / name, 1, 1, (1, 1)):
            pass
        assert not (tmp_path / name).is_symlink()
    assert (tmp_path / "kept").read_text() == "precious"


def test_paths_are_expanded_and_addresses_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("~/runs") == tmp_path / "runs" == Workdir("~/runs").path
    for address in ("gs://bucket/x", "s3://bucket/x", "s3:/x", "file:///x", "http://x", "az://b"):
        for use in (local_path, deqzoo.load_run, Workdir):
            with pytest.raises(PathError, match="address"):
                use(address)
    with pytest.raises(PathError, match="home folder"):
        local_path("~no_such_user/x")
    assert local_path("C/a:b") == local_path(local_path("C/a:b"))  # a colon alone is a name


def test_names_that_are_no_utf8_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    from deqzoo.analysis.figure import figure

    with figure(tmp_path / f"{NO_UTF8}.png", 1, 1, (1, 1)) as (drawn, axes):
        drawn.suptitle(NO_UTF8)
        axes[0, 0].plot([0, 1], [0, 1], label=NO_UTF8)
        axes[0, 0].set_xticks([0, 1], [NO_UTF8, "b"])
        axes[0, 0].legend(title=NO_UTF8)
    assert (tmp_path / f"{NO_UTF8}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["exp [v2]", "[1]", "back\\slash", "gs:", NO_UTF8])
def test_what_orbax_takes_for_another_path_is_refused_before_anything_is_written(name, tmp_path):
    with pytest.raises(PathError, match="Orbax does not write"):
        list(train(small(tmp_path / name / "run")))
    with pytest.raises(PathError, match="Orbax does not write"):
        Sweep([Cell((), small(tmp_path))], [0], tmp_path / name / "sweep")
    assert not (tmp_path / name).exists()


@pytest.mark.quick("a[b", "{x}")
@pytest.mark.parametrize("name", ["a[b", "star*", "q?", "p%20 #h", "{x}", "ü$&;'"])
def test_other_signs_in_a_path_are_signs(name, tmp_path):
    folder = tmp_path / name
    list(train(small(folder)))
    assert deqzoo.load_run(folder).step == 4


def test_a_task_whose_path_is_no_utf8_is_trained_on_recorded_and_read_again(tmp_path):
    rng = np.random.default_rng(0)
    path = f"{tmp_path}/{NO_UTF8}.npz"
    np.savez(path, x=rng.standard_normal((16, 3)), y=rng.standard_normal(16))
    config = small(tmp_path / "run", task=f"npz:{path}", loss="square")
    list(train(config))
    for name in ("config.json", "summary.json", "metrics.jsonl"):
        (tmp_path / "run" / name).read_bytes().decode()  # UTF-8
    record = json.loads((tmp_path / "run" / "config.json").read_bytes())
    assert record["config"]["task"] == config.task
    assert deqzoo.load_run(tmp_path / "run").config.task == config.task
    assert Cell((("task", config.task),), config).folder.endswith("run%FF.npz")


def test_the_first_checkpoint_is_read_back(tmp_path):
    writer = Checkpoints(tmp_path / "c", writable=True)
    writer.save(1, {"W": np.arange(6.0)}, 0.5)
    writer._manager.wait_until_finished()
    shutil.rmtree(tmp_path / "c" / "1" / "state")
    with pytest.raises(CheckpointError, match="step 1"):
        writer.wait()
    writer.close()


def test_all_digits_of_a_seed_count(tmp_path):
    seeds = (3, 3 + 2**32, 3 + 2**64, 3 + 5 * 2**32)
    drawn = {float(jax.random.normal(seed_key(seed))) for seed in seeds}
    assert len(drawn) == len(seeds)
    assert seed_key(2**32 - 1) == jax.random.key(2**32 - 1)
    models = [small(tmp_path, seed=seed).build_model((3,), 1) for seed in (3, 3 + 2**32)]
    low, high = (jax.tree.leaves(PureModel(each).state.parameters) for each in models)
    assert not all(np.array_equal(a, b) for a, b in zip(low, high, strict=True))


BAD_LINES = {
    "bytes": bytes(range(128, 256)),
    "no step": b"{}",
    "number": b"1",
    "step null": b'{"step": null}',
    "step true": b'{"step": true}',
    "nested": b"[" * 10**5,
    "digits": b'{"step": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_damaged_lines_of_metrics_are_left_out_and_told(name, run):
    path = run / "metrics.jsonl"
    good = Workdir(run).read_metrics()
    path.write_bytes(BAD_LINES[name] + b"\n" + path.read_bytes() + b'{"step": 5, "lo')
    assert Workdir(run).read_metrics() == good
    with pytest.warns(UserWarning, match="1 damaged lines of"):
        assert deqzoo.load_run(run).metrics == good
    (run / "summary.json").unlink()
    training = Training(small(run))
    training.close()
    assert any(note.startswith("1 damaged lines") for note in training.notes)


def put_pipe(path):
    os.mkfifo(path)


def put_hole(path):
    path.touch()
    os.truncate(path, 2**42)


UNUSUAL = {
    "pipe": put_pipe,
    "hole": put_hole,
    "link": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("put", UNUSUAL.values(), ids=UNUSUAL)
def test_a_checkpoint_that_holds_no_ordinary_file_is_passed_over(put, run):
    place = next((run / "checkpoints" / "4" / "state").glob("manifest*"))
    place.unlink()
    put(place)
    with pytest.warns(UserWarning, match="step 4 is damaged"):
        assert deqzoo.load_run(run).step == 2


def test_a_large_file_is_ordinary_if_the_disk_holds_it(tmp_path, monkeypatch):
    monkeypatch.setattr("deqzoo.storage.ordinary._SMALL", 2**10)
    for name, content in (("dense", b"1" * 2**20), ("hollow", b"1")):
        with (tmp_path / name).open("wb") as file:
            file.write(content)
            file.truncate(2**20)
            os.fsync(file.fileno())
    require_ordinary([tmp_path / "dense"])
    with pytest.raises(UnusualError, match="claims 1048576 bytes, of which the disk holds few"):
        require_ordinary([tmp_path / "hollow"])


@pytest.mark.parametrize("put", UNUSUAL.values(), ids=UNUSUAL)
@pytest.mark.parametrize(
    "name", ["config.json", "metrics.jsonl", "checkpoints/4/_CHECKPOINT_METADATA"]
)
def test_what_is_no_ordinary_file_is_one_sentence(name, put, run):
    (run / name).unlink()
    put(run / name)
    with pytest.raises((WorkdirError, CheckpointError)) as caught:
        deqzoo.load_run(run)
    assert "\n" not in str(caught.value)


def test_a_record_of_orbax_that_it_cannot_read_is_one_sentence(run):
    (run / "checkpoints" / "4" / "_CHECKPOINT_METADATA").write_text("3")
    with pytest.raises(CheckpointError, match="cannot be listed"):
        deqzoo.load_run(run)


def test_a_pipe_is_neither_read_nor_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        files.read(tmp_path / "pipe")
    for name in (".lock", "metrics.jsonl"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WorkdirError):
        Workdir(tmp_path).lock()
    with pytest.raises(OSError, match=r"No such device|not a regular"):
        Workdir(tmp_path).append_metrics({"step": 1})


def test_a_run_may_lie_behind_a_link_and_a_loop_of_links_is_one_sentence(run, tmp_path):
    (tmp_path / "link").symlink_to(run)
    assert deqzoo.load_run(tmp_path / "link").step == 4
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("loop", "n" * 300, "a" * 5000):
        with pytest.raises(WorkdirError):
            deqzoo.load_run(tmp_path / name)
        with pytest.raises(WorkdirError):
            Workdir(tmp_path / name).lock()


def test_a_long_value_is_cut_in_the_difference_of_two_records(run):
    edit(run, "config", "activation", to="x" * 10**4)
    with pytest.raises(CheckpointError, match="activation") as caught:
        deqzoo.load_run(run)
    assert len(str(caught.value)) < 1000


BROKEN = {
    "nothing": b"",
    "an empty object": b"{}",
    "a number": b"3",
    "bytes": bytes(range(128, 256)),
    "nested": b"[" * 10**5,
}


def flipped(data):
    """Another digit in the middle of a number: JSON all the same."""
    place = data.index(b'"test_loss": ') + 16
    assert chr(data[place]).isdigit()
    return data[:place] + (b"1" if data[place : place + 1] != b"1" else b"2") + data[place + 1 :]


@pytest.mark.parametrize("name", [*BROKEN, "a digit"])
def test_a_damaged_summary_is_told_and_written_anew(name, run):
    path = run / "summary.json"
    whole = path.read_bytes()
    before = Workdir(run).read_summary()
    path.write_bytes(BROKEN[name] if name in BROKEN else flipped(whole))
    with pytest.raises(WorkdirError, match=r"summary\.json .* writes it anew"):
        deqzoo.load_run(run).summary  # noqa: B018
    training = Training(small(run))
    assert "summary.json was damaged and is written anew" in training.notes
    assert not training.finished
    *_, last = training.reports()
    training.close()
    timed = {"seconds"}
    assert {k: v for k, v in last.items() if k not in timed} == {
        k: v for k, v in before.items() if k not in timed
    }
    assert Workdir(run).read_summary() == last


@pytest.mark.slow
def test_a_damaged_cell_is_told_and_the_others_are_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = [Cell((("width", w),), small(tmp_path / "s", width=w)) for w in (2, 4)]
    sweep = Sweep(cells, (0, 1), tmp_path / "s")
    list(sweep.run())
    whole = sweep.gather()["cells"]
    assert {each["state"] for each in whole.values()} == {"done"}
    place = sweep.folder(0) / "summary.json"
    place.write_text("{}")
    found = sweep.gather()["cells"]
    assert found["width=2"]["state"] == "failed"
    assert "summary.json is damaged" in found["width=2"]["error"]
    assert found["width=4"] == whole["width=4"]
    events = list(sweep.run())
    assert [each["state"] for each in events if "state" in each] == ["done", "done"]
    assert not any("fraction" in each for each in events)  # nothing is trained again
    assert sweep.gather()["cells"] == whole


CELL = {
    "config.json": b"{",
    "error.json": b"[]",
    "seed-0/metrics.jsonl": None,
    "seed-0/config.json": b"3",
}


@pytest.mark.quick("error.json")
@pytest.mark.parametrize("name", CELL)
def test_whatever_is_damaged_in_a_cell_the_others_are_kept(name, tmp_path):
    cells = [Cell((("width", w),), small(tmp_path / "s", width=w)) for w in (2, 4)]
    sweep = Sweep(cells, (0,), tmp_path / "s")
    list(sweep.run([1]))
    place = sweep.folder(0) / name
    place.parent.mkdir(parents=True)
    place.mkdir() if CELL[name] is None else place.write_bytes(CELL[name])
    events = list(sweep.run())
    states = {each["cell"]: each for each in events if "state" in each}
    assert states[1]["state"] == "done"
    assert states[0]["state"] == "done" or "\n" not in states[0]["error"]
    found = sweep.gather()["cells"]
    assert found["width=4"]["state"] == "done"
    assert found["width=2"]["state"] == states[0]["state"]


def test_a_name_is_no_formula(tmp_path):
    pytest.importorskip("matplotlib")
    from deqzoo.analysis.figure import figure

    with figure(tmp_path / "a.png", 1, 1, (4, 3)) as (drawn, axes):
        drawn.suptitle("$\\frac$_{.npz")
        axes[0, 0].set(yscale="log", xlabel="$\\x$", ylim=(1e-3, 1))
        axes[0, 0].set_xticks([0, 1], ["$\\a$", "b"])
    assert (tmp_path / "a.png").exists()


@pytest.mark.parametrize("name", ["swishy.py", "./swishy", "/a/swishy.py"])
def test_a_plugin_named_by_its_file_is_told_its_name(name):
    with pytest.raises(CatalogError, match="--plugin=swishy, "):
        catalog.import_plugin(name)


def test_a_sweep_looks_at_init_from_before_it_begins(tmp_path):
    cells = [Cell((), small(tmp_path / "s", init_from=str(tmp_path / "nowhere")))]
    with pytest.raises(ConfigError, match="holds no checkpoint of a run"):
        Sweep(cells, (0,), tmp_path / "s")
    with pytest.raises(ConfigError, match="the one seed of this number"):
        seeds("4294967295")
