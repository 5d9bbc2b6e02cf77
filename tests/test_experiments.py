"""Experiments: they run, go on where they were stopped, draw, and show what the theory says."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from deqzoo import catalog
from deqzoo.experiments import loss_curves
from deqzoo.storage.workdir import WorkdirError
from deqzoo.training import train

ROOT = Path(__file__).resolve().parent.parent
TINY = {
    "bilinear_games": {"levels": (2, 3)},
    "darcy_fields": {"size": 8, "fields": 12, "channels": 4, "modes": 2, "steps": 2, "seeds": 1},
    "dual_steps": {"alphas": (0.001,), "steps": 1500},
    "equivalents": {"activations": ("relu",), "dimensions": (16, 64)},
    "gram_error": {
        "activations": ("relu", "sin", "snake"),  # snake has L = 2
        "widths": (64, 256, 1024),
        "draws": 6,
        "examples": 6,
        "dimension": 4,
    },
    "identification": {
        "activations": ("tanh", "gelu"),
        "units": 3,
        "inputs": 2,
        "examples": 60,
    },
    "learned_activations": {
        "models": ("mondeq",),
        "tasks": ("regression",),
        "activations": ("relu",),
        "seeds": 1,
        "steps": 60,
        "width": 4,
        "knots": 3,
    },
    "loss_curves": {"widths": (16, 64), "examples": 12, "dimension": 12, "epochs": 12},
    "mean_field": {"widths": (2, 3), "seeds": 2, "examples": 10, "steps": 20},
    "relu_regression": {"examples": 200, "dimension": 2, "starts": 1, "degree": 2},
    "matrix_sensing": {"steps": 3000, "noise_steps": 20_000},
    "pictures": {
        "tasks": ("deblur",),
        "of_priors": ("tanh",),
        "steps": 2,
        "sweeps": 5,
        "seeds": 1,
    },
    "rates": {
        "activations": ("relu",),
        "widths": (32, 64),
        "examples": 4,
        "dimension": 4,
        "steps": 6,
    },
    "self_consistent_fields": {"activations": ("sigmoid", "hard_sigmoid")},
    "tuned_descent": {
        "activations": ("tanh", "identity"),
        "width": 16,
        "examples": 4,
        "dimension": 4,
        "steps": 20,
    },
}
OTHER = {"bilinear_games": ("steps", 7), "learned_activations": ("steps", 7)}
OTHER |= {"self_consistent_fields": ("field", 0.7)}
OTHER |= {"darcy_fields": ("steps", 7), "pictures": ("steps", 7)}
NAMES = catalog.experiments.names()


def tiny(name, **changes):
    return catalog.experiments.load(name)(**{**TINY[name], **changes})


def quiet(_):
    pass


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Name -> (folder, results) of the tiny run, made once."""
    made = {}

    def get(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name) / "run"
            made[name] = folder, tiny(name).run(folder, quiet)
        return made[name]

    return get


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "rates")) for n in NAMES]
)
def test_results_are_plain_have_a_table_and_draw(name, finished, tmp_path):
    _, results = finished(name)
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    assert results["table"]
    assert all(row.keys() == results["table"][0].keys() for row in results["table"])
    path = tmp_path / "new" / "picture.png"
    assert tiny(name).draw(results, path) == path
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert path.stat().st_size > 5_000


@pytest.mark.quick("rates")
@pytest.mark.parametrize("name", NAMES)
def test_a_second_run_computes_nothing(name, finished):
    folder, results = finished(name)
    before, said = stamps(folder), []
    assert tiny(name).run(folder, said.append) == results
    assert stamps(folder) == before
    assert len(said) == len(before)
    assert all(line.endswith("kept from before") for line in said)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_interrupted_run_goes_on_to_the_same_results(name, finished, tmp_path):
    def stop_at_the_second(_):
        if len(stamps(tmp_path)) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny(name).run(tmp_path, stop_at_the_second)
    before = stamps(tmp_path)
    assert len(before) == 2
    assert tiny(name).run(tmp_path, quiet) == finished(name)[1]
    assert before.items() <= stamps(tmp_path).items()


@pytest.mark.quick("rates")
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_cell_is_computed_again(name, finished):
    folder, results = finished(name)
    cell = sorted((folder / "cells").iterdir())[0]
    cell.write_bytes(cell.read_bytes()[:3] + b"\xff")
    assert tiny(name).run(folder, quiet) == results


@pytest.mark.quick("rates")
@pytest.mark.parametrize("name", NAMES)
def test_a_folder_belongs_to_one_experiment_with_one_set_of_settings(name, finished, tmp_path):
    folder, _ = finished(name)
    setting, value = OTHER.get(name, ("seed", 7))
    changed = tiny(name, **{setting: value})
    with pytest.raises(
        WorkdirError, match=rf"other settings \({setting}: [\d.]+ there, {value} here\)"
    ):
        changed.run(folder, quiet)
    other = next(each for each in NAMES if each != name)
    with pytest.raises(WorkdirError, match=f"experiment: '{name}' there, '{other}' here"):
        tiny(other).run(folder, quiet)
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(WorkdirError, match="not empty"):
        tiny(name).run(tmp_path, quiet)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("gram_error(widths=(64,))", "tuple of at least 2 increasing whole numbers"),
        ("gram_error(widths=(64, 32))", r"got \(64, 32\)"),
        ("gram_error(activations=('gleu',))", "did you mean 'gelu'"),
        ("gram_error(activations=('relu', 'relu'))", "different activation recipes"),
        ("gram_error(draws=0)", "draws must be a whole number >= 1, got 0"),
        ("rates(widths=(4, 64))", "expected at most 4 examples for widths from 4, got 8"),
        ("rates(steps=1)", "steps must be a whole number >= 2"),
        ("loss_curves(data='cifar')", "data must be 'sphere', 'mnist' or both"),
        ("loss_curves(data='mnist', examples=1002)", "even number up to 1000, got 1002"),
        (
            "loss_curves(activation=('relu', 3))",
            "a string or a tuple of which each is a string",
        ),
        ("self_consistent_fields(activations=('relu',))", "must rise from 0 to 1.*'relu' does not"),
        ("self_consistent_fields(distances=())", "distances must be at least one number > 0"),
        ("loss_curves(epochs=1.5)", "epochs must be a whole number >= 1, got 1.5"),
    ],
)
def test_wrong_settings_say_what_was_expected_and_what_came(recipe, message):
    with pytest.raises(catalog.CatalogError, match=message):
        catalog.experiments.get(recipe)


def test_the_error_of_the_gram_matrix_falls_as_one_over_the_root_of_the_width(finished):
    _, results = finished("gram_error")
    slopes = {curve["activation"]: curve["slope"] for curve in results["curves"]}
    assert slopes.keys() == {*TINY["gram_error"]["activations"]}
    assert all(-0.65 < slope < -0.35 for slope in slopes.values()), slopes


def test_stronger_games_suit_competitive_mirror_descent_and_no_other(finished):
    last = {
        (c["method"], c["level"]): c["distances"][-1]
        for c in finished("bilinear_games")[1]["curves"]
    }
    for level in (2, 3):
        assert last["competitive", level] < 1e-11
        assert last["extragradient", level] > 0.1
        assert last["multiplicative", level] > 0.1


@pytest.mark.slow
def test_a_small_alpha_suits_competitive_mirror_descent_and_not_descent_ascent(finished):
    found = {run["method"]: run for run in finished("dual_steps")[1]["runs"]}
    assert found["descent-ascent"]["loss"] is None
    assert found["competitive"]["violation"] < 2e-3
    assert found["competitive"]["loss"] == pytest.approx(found["projection"]["loss"], rel=0.1)
    assert found["free"]["violation"] > 0.01  # so that the limit costs something


@pytest.mark.slow
def test_flat_minima_recover_a_matrix_of_rank_one(finished):
    found = {run["method"]: run for run in finished("matrix_sensing")[1]["runs"]}
    assert found["plain"]["errors"][-1] > 1
    assert found["exact"]["errors"][-1] < 0.1
    assert found["hutchinson"]["errors"][-1] < 0.1
    assert found["exact"]["trace"] < found["label noise"]["trace"] < found["plain"]["trace"]


@pytest.mark.slow
def test_a_learned_activation_keeps_the_bound_and_few_knots_move_no_further_than_is_said(finished):
    runs = finished("learned_activations")[1]["runs"]
    assert [run["activation"] for run in runs] == ["linear_spline", "relu"]
    assert all(run["bound"] < 1 for run in runs)
    assert runs[0]["knots"] == 3
    assert 0.001 < runs[0]["share"] <= 1  # of what is allowed


def test_no_measured_rate_is_worse_than_the_certified_one(finished):
    _, results = finished("rates")
    assert results["violations"] == 0
    for point in results["points"]:
        assert point["certified"]["measured"] <= point["certified"]["bound"] < 1
        assert point["practical"]["measured"] == pytest.approx(
            point["practical"]["predicted"], rel=0.2
        )


@pytest.mark.slow
def test_self_consistent_fields_are_what_other_code_and_the_textbooks_found(finished):
    _, results = finished("self_consistent_fields")
    rows = {row["check"]: (row["obtained"], row["expected"]) for row in results["table"]}
    for name in (name for name, (_, expected) in [*rows.items()] if not expected):
        rows.pop(name)
    picard, anderson = (
        int(rows.pop(f"Hubbard, U = 2: steps of {name}")[0]) for name in ("picard", "anderson")
    )
    assert 5 * anderson <= picard
    assert rows.pop("H4, R = 1.8: second order") == ("-7.04 %", "-7 %")
    assert abs(float(rows.pop("H4, R = 2.5: second order")[0].removesuffix(" %"))) < 1
    assert float(rows.pop("Hubbard, U = 2: dn/dU, adjoint less difference")[0]) < 1e-6
    for name, (obtained, expected) in rows.items():
        if expected.endswith("%"):  # of fewer digits
            assert abs(float(obtained[:-1]) - float(expected[:-1])) < 0.5, name
        else:
            assert obtained == expected, name
    chain = results["hubbard"]
    assert np.abs(chain["adjoint"][1:]).max() > 0.03  # the occupations do depend on U


@pytest.mark.slow
def test_losses_fall_wider_ends_lower_and_the_norm_stays(finished):
    (panel,) = finished("loss_curves")[1]["panels"]
    for curve in panel["curves"]:
        assert curve["epochs"] == list(range(13))
        assert np.all(np.diff(curve["losses"]) < 0)
        assert all(0 < norm < panel["limit"] for _, norm in curve["norms"])
    narrow, wide = panel["curves"]
    assert wide["losses"][-1] < narrow["losses"][-1]


@pytest.mark.slow
def test_training_stopped_in_the_middle_of_a_width_resumes(finished, tmp_path, monkeypatch):
    def stopping(config):
        for report in train(config):
            yield report
            if report["step"] == 7:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loss_curves, "train", stopping)
        with pytest.raises(KeyboardInterrupt):
            tiny("loss_curves").run(tmp_path, quiet)
    assert len(stamps(tmp_path)) == 1  # the learning rate
    said = []
    monkeypatch.setattr(loss_curves, "train", lambda config: map(noted(said), train(config)))
    assert tiny("loss_curves").run(tmp_path, quiet) == finished("loss_curves")[1]
    assert said[0]["step"] == 7  # after the checkpoint of step 6


def noted(said):
    def note(report):
        said.append(report)
        return report

    return note


@pytest.mark.parametrize(("examples", "checksum"), [(200, "c439b7af"), (1000, "fe6d106e")])
def test_real_images_are_half_zeros_and_half_ones(examples, checksum):
    """The checksums were taken when 0 and 1 on the sphere were the default of the task."""
    recipe = tiny("loss_curves", data="mnist", examples=examples)._task("mnist")
    data = catalog.tasks.get(recipe).load()
    assert data.fingerprint == checksum
    x, y = data.train
    assert x.shape == (examples, 28, 28, 1)
    assert np.sum(y == 1) == np.sum(y == -1) == examples // 2


def test_several_activations_share_one_figure(finished, tmp_path):
    (panel,) = finished("loss_curves")[1]["panels"]
    activations = ("relu", "tanh", "sin", "erf", "cos")  # two rows of panels, three places empty
    results = {"panels": [{**panel, "activation": each} for each in activations]}
    path = tiny("loss_curves", activation=activations).draw(results, tmp_path / "picture.png")
    assert path.stat().st_size > 10_000


# The command.

RECIPE = "rates(activations=('relu',), widths=(16,), examples=3, dimension=3, steps=3)"


def start(*arguments, cwd):
    return subprocess.Popen(
        [sys.executable, "-m", "launch.reproduce", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def command(*arguments, cwd):
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_the_command_leaves_results_and_a_picture(tmp_path):
    code, out, err = command(f"--experiment={RECIPE}", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "certified decrease" in out
    assert "total time" in out
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("reproduce-rates-activations=")
    assert json.loads((folder / "results.json").read_text())["violations"] == 0
    assert (folder / "rates.png").stat().st_size > 10_000


@pytest.mark.quick("foreign")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--experiment is needed: one of bilinear_games, darcy_fields, dual_steps"),
        (("--experiment=rate",), "no experiment is called 'rate'; did you mean 'rates'?"),
        (("--experiment=rates", "--workdir=full"), "full is not empty and holds no config.json"),
        (("--experiment=rates", "--workdir=full/file"), "cannot use full/file as --workdir"),
    ],
    ids=["none", "unknown", "foreign", "no folder"],
)
def test_wrong_input_gives_one_line_and_exit_code_2(arguments, message, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    code, _, err = command(*arguments, cwd=tmp_path)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err


def test_a_terminated_command_keeps_its_cells_and_exits_75(tmp_path):
    recipe = "loss_curves(widths=(16, 17, 18, 19), epochs=100000)"
    process = start(f"--experiment={recipe}", "--workdir=run", cwd=tmp_path)
    try:
        wait_for_training(process, tmp_path / "run")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, err) == (75, "")
    assert "run the same command again" in out
    assert len(list((tmp_path / "run" / "cells").iterdir())) == 1


def wait_for_training(process, folder):
    deadline = time.monotonic() + 100
    while not list(folder.glob("training/*/metrics.jsonl")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the experiment does not begin"
        time.sleep(0.05)
