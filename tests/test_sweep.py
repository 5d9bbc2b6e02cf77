"""Sweeps: a seed computes what its run alone would, cells resume bit for bit, failures are kept."""

import json
import math
import os
import shutil
import signal
import time
from dataclasses import replace

import jax
import numpy as np
import pytest
from test_launch import command, run
from test_training import EVERYTHING, SMALL, assert_equal_bits, parameters_of

import deqzoo
from deqzoo import catalog
from deqzoo.data.examples import Data, Split
from deqzoo.data.task import Task
from deqzoo.storage.workdir import Workdir, WorkdirError
from deqzoo.sweeps import cell as cells
from deqzoo.sweeps import grid
from deqzoo.sweeps.lanes import Lanes
from deqzoo.sweeps.sweep import Sweep
from deqzoo.training import ConfigError, TrainConfig, Training, train

# Far below the tolerance that is asked for, equilibria do not depend on who stops when.
EXACT = {"solver": "picard(rtol=1e-6)", "adjoint": "implicit(solver='picard(rtol=1e-6)')"}
# What does not count solver steps or examples that just missed the tolerance.
SMOOTH = {"step", "epoch", "loss", "penalty", "gradient_norm", "bound"} | {
    f"{split}_loss" for split in ("validation", "test")
}
GIVEN = {**{flag: str(value) for flag, value in SMALL.items()}, "steps": "6"}


def configs(folder, *differences, **settings):
    """Runs in folders of their own."""
    common = TrainConfig(**{**SMALL, "steps": 6, **settings})
    return [
        replace(common, **different, workdir=str(folder / f"{number}"))
        for number, different in enumerate(differences)
    ]


def train_together(runs, folder):
    workdir = Workdir(folder / "together")
    workdir.path.mkdir(parents=True)
    lanes = Lanes(runs, workdir)
    list(lanes.reports())
    lanes.leave()
    lanes.close()
    return lanes


def rows_of(path):
    """Metrics without what a clock decides."""
    rows = Workdir(path).read_metrics()
    for row in rows:
        row.pop("examples_per_second")
    return rows


def make(tmp_path, seeds=(0, 1), vmap=True, **given):
    return Sweep(grid.cells({**GIVEN, **given}), seeds, tmp_path / "sweep", vmap)


def runs_of(sweep, number=0):
    return cells.runs(sweep.cells[number].config, sweep.seeds, sweep.folder(number))


def states(sweep, *arguments):
    events = [event for event in sweep.run(*arguments) if "state" in event]
    return {sweep.cells[event["cell"]].name: event["state"] for event in events}


def gathered(sweep):
    """The cells as sweep.json has them, which is strict JSON."""
    with sweep.alone():
        sweep.gather()
    text = (sweep.workdir.path / "sweep.json").read_text()
    return [*json.loads(text, parse_constant=pytest.fail)["cells"].values()]


@pytest.mark.quick("everything")
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, marks=pytest.mark.slow, id="batches"),
        pytest.param(
            {"regularizer": "jacobian_norm(weight=0.1)", "optimizer": "adam(schedule='cosine')"},
            id="regularizer",
        ),
        pytest.param({"optimizer": f"adam(schedule='cosine', {EVERYTHING})"}, id="everything"),
        pytest.param({"task": "digits(shift=1, flip=True)"}, id="augmented"),
        pytest.param(
            {
                "batch_size": "full",
                "warm_start": True,
                "optimizer": "gd",
                "loss": "square",
                "model": "wide",
                "task": "sphere(examples=24, dimension=8)",
            },
            marks=pytest.mark.slow,
            id="descent",
        ),
    ],
)
def test_a_lane_computes_what_its_run_alone_would(settings, tmp_path):
    rate = {} if "loss" in settings else {"learning_rate": "0.01"}
    seeds = [{"seed": 3, **rate}, {"seed": 7}]
    alone = configs(tmp_path / "alone", *seeds, **EXACT, **settings)
    shared = configs(tmp_path / "shared", *seeds, **EXACT, **settings)
    for config in alone:
        list(train(config))
    train_together(shared, tmp_path)
    finals = []
    for one, other in zip(alone, shared, strict=True):
        expected, run = parameters_of(one.workdir, 6)["parameters"], deqzoo.load_run(other.workdir)
        found = run.arrays("parameters")["parameters"]
        for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5 * np.abs(a).max())
        finals.append(jax.tree.leaves(found)[0])
        for a, b in zip(rows_of(one.workdir), rows_of(other.workdir), strict=True):
            assert a.keys() == b.keys()
            assert {k: b[k] for k in SMOOTH & {*b}} == pytest.approx(
                {k: a[k] for k in SMOOTH & {*a}}, rel=1e-4
            )
        assert run.config.seed == one.seed
        summary = Workdir(one.workdir).read_summary() or {}
        assert (run.summary or {}).keys() == summary.keys()
        assert (run.summary or {})["best_step"] == summary["best_step"]
        assert run.steps == deqzoo.load_run(one.workdir).steps
    assert not np.array_equal(*finals)


@pytest.fixture
def contrary():
    """A task whose validation labels are the opposite of the others: training makes it worse."""

    class Contrary(Task):
        def read(self):
            x = np.random.default_rng(0).standard_normal((40, 4))
            y = (x[:, 0] > 0).astype(int)
            return Data(Split(x, y), Split(x, y), 2, validation=Split(x, 1 - y))

    catalog.tasks.register(Contrary)
    yield "contrary"
    catalog.tasks._registered.pop("contrary")


@pytest.mark.slow
def test_a_lane_keeps_the_best_checkpoint_that_its_run_alone_would(contrary, tmp_path):
    settings = {"steps": 8, "keep": 1, "checkpoint_every": 2, "eval_every": 2, "width": 8}
    settings |= {"task": contrary, "batch_size": "full"}
    seeds = [{"seed": 3, "learning_rate": "0.1"}, {"seed": 7, "learning_rate": "0.01"}]
    alone, shared = (configs(tmp_path / name, *seeds, **settings) for name in ("alone", "shared"))
    for config in alone:
        list(train(config))
    workdir = Workdir(tmp_path / "together")
    workdir.path.mkdir()
    for stop in (lambda step: step == 6, None):
        lanes = Lanes(shared, workdir)
        list(lanes.reports(stop))
        if stop is None:
            lanes.leave()
        lanes.close()
    bests = []
    for one, other in zip(alone, shared, strict=True):
        expected, found = (deqzoo.load_run(each.workdir) for each in (one, other))
        bests.append(expected.summary["best_step"])
        assert found.summary["best_step"] == bests[-1]
        assert found.steps == expected.steps == tuple(sorted({bests[-1], 8}))
        a, b = (run.restore(bests[-1]).arrays("parameters") for run in (expected, found))
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-3)
    assert max(bests) < 8  # or else the newest alone would do


@pytest.mark.slow
def test_an_interrupted_sweep_equals_the_uninterrupted_one_bit_for_bit(tmp_path):
    given = {"steps": "7", "activation": "tanh"}
    whole = make(tmp_path / "whole", **given)
    assert states(whole) == {"activation=tanh": "done"}
    sweep = make(tmp_path / "parts", **given)
    found = [*sweep.run(None, lambda step: step == 4)]  # one step behind the checkpoint of step 3
    assert found[-1]["state"] == "unfinished"
    shutil.rmtree(sweep.folder(0) / "checkpoints" / "4")  # as after a kill: it was never saved
    found = [*make(tmp_path / "parts", **given).run()]
    assert found[0]["note"] == "resumed from step 3 of 7"
    assert found[-1]["state"] == "done"
    assert not (sweep.folder(0) / "checkpoints").exists()
    for one, other in zip(runs_of(whole), runs_of(sweep), strict=True):
        assert_equal_bits(parameters_of(one.workdir, 7), parameters_of(other.workdir, 7))
        assert rows_of(one.workdir) == rows_of(other.workdir)
    training = Training(runs_of(sweep)[1])  # and to launch.train it is a finished run
    assert training.finished
    training.close()


@pytest.mark.slow
def test_a_lane_that_blows_up_stays_where_it_was_and_disturbs_no_other(tmp_path):
    settings = {"constraint": "monitor", "optimizer": "momentum", "steps": 12}
    good = {"seed": 1}
    wild = {"seed": 2, "learning_rate": "1e30"}
    both = configs(tmp_path / "both", good, wild, **settings)
    lanes = train_together(both, tmp_path / "both")
    assert list(lanes.failures()) == [1]
    assert "was not finite at step" in lanes.failures()[1]
    twice = configs(tmp_path / "twice", good, {"seed": 3}, **settings)
    train_together(twice, tmp_path / "twice")
    a, b = (parameters_of(runs[0].workdir, 12) for runs in (both, twice))
    assert_equal_bits(a, b)
    last = deqzoo.load_run(both[1].workdir)
    assert last.step < 12
    assert last.summary is None
    assert all(row["step"] <= last.step and math.isfinite(row["loss"]) for row in last.metrics)
    kept = parameters_of(both[1].workdir, last.step)["parameters"]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(kept))


def test_only_alike_runs_share_a_program(tmp_path):
    runs = configs(tmp_path, {"width": 16}, {"width": 32})
    with pytest.raises(ConfigError, match="may differ in seed, learning_rate and workdir only"):
        Lanes(runs, Workdir(tmp_path))


@pytest.mark.parametrize(
    "vmap",
    [
        pytest.param(True, id="together"),
        pytest.param(False, marks=pytest.mark.slow, id="in turn"),
    ],
)
def test_a_failed_cell_is_told_and_the_rest_kept(vmap, tmp_path):
    given = {"optimizer": "momentum", "constraint": "monitor", "learning_rate": "0.01,1e30"}
    sweep = make(tmp_path, vmap=vmap, steps="12", **given)
    mine = sweep.folder(0) / "thesis.tex"
    mine.parent.mkdir(parents=True)
    mine.write_text("years of work")
    assert [*states(sweep).values()] == ["failed", "failed"]
    assert "is not empty and holds no config.json" in gathered(sweep)[0]["error"]
    mine.unlink()
    (mine.parent / "error.json").unlink()
    assert [*states(sweep).values()] == ["done", "failed"]  # tried anew, and the other one kept
    first, second = gathered(sweep)
    assert (first["state"], first["error"], first["failed"]) == ("done", "", {})
    finals = [first["seeds"][seed]["test_loss"] for seed in ("0", "1")]
    assert first["mean"]["test_loss"] == pytest.approx(sum(finals) / 2)
    assert first["deviation"]["test_loss"] == pytest.approx(abs(finals[0] - finals[1]) / 2**0.5)
    assert first["curve"]["step"] == [3, 6, 9, 12]
    assert first["curve"]["test_loss"]["mean"][-1] == pytest.approx(first["mean"]["test_loss"])
    assert set(second["failed"]) == {"0", "1"}
    assert "not finite" in second["error"]
    assert (second["seeds"], second["mean"]) == ({}, {})


def test_the_deviation_of_a_half_failed_cell_leaves_the_failed_seed_out(tmp_path):
    """One seed of a cell blows up: its brothers count."""
    runs = configs(tmp_path, {"seed": 0}, {"seed": 1}, {"seed": 2})
    for config, loss in zip(runs, (1.0, 3.0), strict=False):
        workdir = Workdir(config.workdir)
        workdir.path.mkdir(parents=True)
        workdir.write_summary({"test_loss": loss, "seconds": 2.0})
    result = cells._result(runs, {2: "blew up"}, together=False)
    assert (result["mean"], result["failed"]) == ({"test_loss": 2.0}, {"2": "blew up"})
    assert result["deviation"]["test_loss"] == pytest.approx(2**0.5)
    assert (list(result["seeds"]), result["seconds"]) == (["0", "1"], 4.0)


def test_a_cell_in_other_hands_is_left_to_them(tmp_path):
    sweep = make(tmp_path, seeds=(4,), steps="1", activation="relu,tanh")
    other = Workdir(sweep.folder(0))
    other.lock()
    assert states(sweep) == {"activation=relu": "held", "activation=tanh": "done"}
    other.unlock()
    found = gathered(sweep)
    assert [cell["state"] for cell in found] == ["unfinished", "done"]
    assert found[1]["deviation"]["test_loss"] is None  # one seed has none


def test_the_folder_of_a_sweep_is_no_run(tmp_path):
    sweep = make(tmp_path)
    with pytest.raises(WorkdirError, match="belongs to a sweep and holds several runs"):
        deqzoo.load_run(sweep.workdir.path)


def test_a_record_that_is_being_written_makes_no_folder_foreign(tmp_path):
    """Processes that start together meet such folders, and so does a run after a kill."""
    (tmp_path / "config.json.tmp").write_text('{"conf')
    workdir = Workdir(tmp_path)
    workdir.lock()
    workdir.unlock()


def test_a_cell_takes_the_way_that_is_faster(tmp_path, monkeypatch):
    """On a CPU the seeds of a wide cell train one after another; a resumed cell keeps its way."""
    sweep = make(tmp_path, vmap=None, steps="1", width="16,512")
    monkeypatch.setattr(cells, "_together", lambda *_: iter(()))
    monkeypatch.setattr(cells, "_in_turn", lambda *_: iter(()))
    for number in (0, 1):
        list(sweep.run([number]))
    ways = [Workdir(sweep.folder(n)).read_config()["resolved"]["vmap"] for n in (0, 1)]
    assert ways == [True, jax.default_backend() != "cpu"]
    config = sweep.cells[0].config
    assert not any(
        cells._write_record(config, seeds, Workdir(tmp_path), vmap)["resolved"]["vmap"]
        for seeds, vmap in (((7,), True), ((7, 8), False))
    )
    convolutions = TrainConfig(model="convdeq(channels=2)", task="digits")
    assert cells._is_faster(config)
    assert cells._is_faster(convolutions) == (jax.default_backend() != "cpu")


def test_other_settings_are_refused_and_shown(tmp_path):
    make(tmp_path, activation="relu,tanh")
    before = (tmp_path / "sweep" / "config.json").read_bytes()
    message = (
        r"activation: \['relu', 'tanh'\] there, 'relu' here; seeds: \[0, 1\] there, \[0\] here"
    )
    with pytest.raises(WorkdirError, match=message):
        make(tmp_path, seeds=(0,), activation="relu")
    assert (tmp_path / "sweep" / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"activation": "relu,gleu"}, "cell activation=gleu: .*did you mean 'gelu'"),
        ({"batch_size": "32,2000"}, "cell batch_size=2000: .*exceeds the 1294 training examples"),
        ({"model": "wide,wide(s_w=0.9)"}, r"cell model=wide\(s_w=0.9\): .*2 s_w L = 2.032"),
        ({"learning_rate": "1e-3,-3"}, "cell learning_rate=-3: .*must be a finite number > 0"),
        ({"task": "digits,sphere", "loss": "cross_entropy"}, "cell task=sphere: .*class labels"),
        ({"solver": "picard,anderson(history=0)"}, "history must be a whole number >= 1"),
        ({"regularizer": "jacobian_norm,none"}, "cell regularizer=none: no regularizer is called"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_unusable_cell_is_refused_before_anything_is_written(given, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make(tmp_path, **given)
    assert not (tmp_path / "sweep").exists()


def wait_for(process, path, step):
    deadline = time.monotonic() + 240
    while not any(row["step"] >= step for row in Workdir(path).read_metrics()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the sweep does not advance"
        time.sleep(0.02)


ARGUMENTS = (*(f"--{flag}={value}" for flag, value in GIVEN.items()), "--seeds=2", "--vmap")


@pytest.mark.slow
def test_a_killed_sweep_equals_the_uninterrupted_one_bit_for_bit(tmp_path):
    long = ("--activation=tanh", "--steps=60", "--workdir=sweep")
    process = command(*ARGUMENTS, *long, cwd=tmp_path, module="launch.sweep")
    folder = tmp_path / "sweep" / "cells" / "activation=tanh"
    wait_for(process, folder, 10)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder / "seed-0" / "checkpoints" / "60").exists()
    code, out, err = run(*ARGUMENTS, *long, cwd=tmp_path, module="launch.sweep")
    assert (code, err) == (0, "")
    assert "activation=tanh: resumed from step" in out
    assert "± " in out
    assert {"sweep.json", "sweep.png"} <= {path.name for path in (tmp_path / "sweep").iterdir()}
    whole = make(tmp_path / "whole", steps="60", activation="tanh")
    assert states(whole) == {"activation=tanh": "done"}
    for seed in ("seed-0", "seed-1"):
        a, b = (parameters_of(each / seed, 60) for each in (folder, whole.folder(0)))
        assert_equal_bits(a, b)
        assert rows_of(folder / seed) == rows_of(whole.folder(0) / seed)


@pytest.mark.slow
@pytest.mark.parametrize("vmap", ["--vmap", "--novmap"])
def test_a_terminated_sweep_saves_exits_75_and_goes_on(vmap, tmp_path):
    arguments = (*ARGUMENTS, vmap, "--activation=tanh", "--steps=100", "--workdir=sweep")
    process = command(*arguments, cwd=tmp_path, module="launch.sweep")
    folder = tmp_path / "sweep" / "cells" / "activation=tanh"
    wait_for(process, folder if vmap == "--vmap" else folder / "seed-1", 10)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (75, "")
    assert "stopped by a signal and saved" in out
    code, out, err = run(*arguments, cwd=tmp_path, module="launch.sweep")
    assert (code, err) == (0, "")
    assert "resumed from step" in out
    whole = make(tmp_path / "whole", vmap=vmap == "--vmap", activation="tanh", steps="100")
    assert [*states(whole).values()] == ["done"]
    for seed in ("seed-0", "seed-1"):
        a, b = (parameters_of(each / seed, 100) for each in (folder, whole.folder(0)))
        assert_equal_bits(a, b)


@pytest.mark.slow
def test_processes_share_a_sweep_and_the_last_one_tells_of_all(tmp_path):
    grid_of_four = ("--activation=relu,tanh,gelu,sin", "--workdir=sweep", "--novmap")
    processes = [
        command(*ARGUMENTS, *grid_of_four, *part, cwd=tmp_path, module="launch.sweep")
        for part in (("--part=0/2",), ("--part=1/2",), ())
    ]
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert (process.returncode, err) == (0, "")
    result = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert [cell["state"] for cell in result["cells"].values()] == ["done"] * 4


@pytest.mark.slow
def test_a_float64_cell_is_trained_in_float64(tmp_path):
    sweep = make(tmp_path, precision="float32,float64", steps="2")
    assert [*states(sweep).values()] == ["done", "done"]
    for number, dtype in enumerate(("float32", "float64")):
        kept = parameters_of(sweep.folder(number) / "seed-1", 2)["parameters"]
        assert {str(leaf.dtype) for leaf in jax.tree.leaves(kept)} == {dtype}


@pytest.mark.quick("cell")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--activation=relu,gleu",), "cell activation=gleu: no activation is called 'gleu'"),
        (("--seed=3",), "Unknown command line flag 'seed'. Did you mean: seeds"),
    ],
    ids=["cell", "flag"],
)
def test_wrong_flags_give_one_line_and_exit_code_2(arguments, message, tmp_path):
    code, _, err = run(*arguments, cwd=tmp_path, module="launch.sweep")
    assert (code, err.count("\n")) == (2, 1), err
    assert err.startswith("error: ")
    assert message in err
    assert not os.listdir(tmp_path)
