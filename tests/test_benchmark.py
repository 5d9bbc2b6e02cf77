"""The benchmark measures what it says: tiny runs of every suite, its problems and its search."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from launch._benchmark import calibration, ratios
from launch._benchmark.config import BenchmarkConfig
from launch._benchmark.conv import Conv
from launch._benchmark.machine import Usage
from launch._benchmark.peers_catalog import PEERS
from launch._benchmark.suites_catalog import SUITES
from launch._benchmark.wide import Wide
from launch._command import UsageError

ROOT = Path(__file__).resolve().parent.parent
TINY = ("--width=16", "--examples=4", "--inputs=3", "--rounds=2", "--steps=2,4")
ONE = ("--problem=gauss", "--stopping=same")


def run(*arguments, cwd):
    process = subprocess.run(
        [sys.executable, "-m", "launch.benchmark", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return process.returncode, process.stdout, process.stderr


def results(cwd):
    folder = cwd / "runs" / "benchmark"
    return json.loads((folder / "results.json").read_text())


def picard_steps(problem):
    drawn = problem.draw()
    z, steps = drawn.z0, 0
    while problem.residual(z, drawn.parameters) > problem.tolerance:
        z, steps = problem.image(z, drawn.parameters), steps + 1
    return steps


@pytest.mark.slow
def test_a_tiny_run_writes_table_results_and_picture(tmp_path):
    code, out, err = run("--suite=solve", "--peers=hand", "--problem=gauss", *TINY, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "hand anderson" in out
    found = results(tmp_path)
    block = found["suites"]["solve"][0]
    assert found["machine"]["cores"] == os.cpu_count()
    assert found["platform"] == "cpu"
    assert len(block["rounds"]) == 2
    assert all(0 <= entry["strangers"] <= 1 for entry in block["rounds"])
    rows = {(row["label"], row["stopping"]): row for row in block["variants"]}
    assert {stopping for _, stopping in rows} == {"-", "calibrated", "same"}
    for row in rows.values():
        assert len(row["seconds"]) == 2
        assert all(seconds > 0 for seconds in row["seconds"])
    calibrated, same = (rows["hand picard", stopping] for stopping in ("calibrated", "same"))
    assert same["residual"] <= calibrated["residual"] <= 1.02e-5
    assert calibrated["steps"] <= same["steps"] < 100
    assert (tmp_path / "runs" / "benchmark" / "solve.png").stat().st_size > 1000


@pytest.mark.slow
def test_a_peer_that_fails_keeps_its_row_and_the_others_go_on(tmp_path):
    for module in ("optimistix", "lineax"):  # packages that can be imported and do nothing
        (tmp_path / f"{module}.py").write_text("")
    (tmp_path / "jaxopt.py").write_text("import os; os._exit(7)")
    peers = "--peers=jaxopt,optimistix,hand"
    code, out, _ = run("--suite=solve", peers, *ONE, *TINY, cwd=tmp_path)
    assert code == 0
    assert "jaxopt takes no part: its process ended with code 7" in out
    rows = {row["label"]: row for row in results(tmp_path)["suites"]["solve"][0]["variants"]}
    assert "AttributeError" in rows["optimistix fpi"]["error"]
    assert all(seconds > 0 for seconds in rows["hand picard"]["seconds"])


@pytest.mark.slow
@pytest.mark.parametrize("suite", [name for name in SUITES.names() if name != "trainer"])
def test_every_suite_of_peers_measures_deqzoo_and_the_loops_written_by_hand(suite, tmp_path):
    once = (*ONE, *TINY, "--rounds=1")
    code, out, err = run(f"--suite={suite}", "--peers=hand,deqzoo", *once, cwd=tmp_path)
    assert (code, err) == (0, "")
    rows = {row["label"]: row for row in results(tmp_path)["suites"][suite][0]["variants"]}
    assert "error" not in rows["deqzoo default"]
    assert {row["peer"] for row in rows.values()} == {"hand", "deqzoo"}
    assert "deqzoo default" in out
    assert (tmp_path / "runs" / "benchmark" / f"{suite}.png").exists()
    if suite == "gradient":
        assert rows["hand picard"]["gradient_error"] < 1e-3
        assert rows["deqzoo default"]["gradient_error"] < 1e-3


@pytest.mark.slow
def test_the_trainer_is_measured_against_bare_steps_and_a_bare_start(tmp_path):
    code, out, err = run("--suite=trainer", "--rounds=1", cwd=tmp_path)
    assert (code, err) == (0, "")
    rows = {row["label"]: row for row in results(tmp_path)["suites"]["trainer"][0]["variants"]}
    start, step = "import jax, first jit", "bare jitted step"
    assert {label for label, row in rows.items() if row["more"] == [0.0]} == {start, step}
    assert all(0 < seconds < 600 for row in rows.values() for seconds in row["seconds"])
    assert rows["launch.train, first step"]["more"][0] > 0
    assert all(label in out for label in rows)
    assert (tmp_path / "runs" / "benchmark" / "trainer.png").stat().st_size > 1000


@pytest.mark.slow
def test_nobody_left_to_measure_is_a_failure(tmp_path):
    (tmp_path / "jaxopt.py").write_text("raise RuntimeError('broken on purpose')\n")
    code, out, _ = run("--suite=solve", "--peers=jaxopt", *ONE, *TINY, cwd=tmp_path)
    assert code == 1
    assert "broken on purpose" in out


@pytest.mark.parametrize(
    ("setting", "value", "hint"),
    [
        ("suite", "gradeint", "did you mean 'gradient'?"),
        ("peers", "torchdek", "did you mean 'torchdeq'?"),
        ("problem", "gaus", "did you mean 'gauss'?"),
        ("stopping", "sane", "did you mean 'same'?"),
        ("rho", "1.5", "between 0 and 1"),
        ("width", "wide", "must be numbers"),
        ("width", "0", ">= 1"),
    ],
)
def test_an_impossible_setting_is_refused_with_the_nearest_choice(setting, value, hint):
    with pytest.raises(UsageError) as caught:
        BenchmarkConfig(**{setting: (value,)})
    assert hint in str(caught.value)


def test_wrong_usage_leaves_with_2_before_anything_is_measured(tmp_path):
    for flag, hint in (("--suite=solv", "'solve'"), ("--deqzoo=picrad", "'picard'")):
        code, _, err = run(flag, cwd=tmp_path)
        assert (code, hint in err) == (2, True)
        assert not list(tmp_path.rglob("results.json"))


def test_lists_take_commas_and_repetitions():
    config = BenchmarkConfig(width=("16,32", "64"), rho=("0.9", "0.99"), problem=("hard",))
    assert [(p.width, p.rho) for p in config.wide_problems()] == [
        (width, rho) for width in (16, 32, 64) for rho in (0.9, 0.99)
    ]


def test_every_peer_and_suite_is_one_file_with_one_name():
    assert {"deqzoo", "hand", "jaxopt", "torchdeq"} <= {*PEERS.names()}
    assert PEERS.load("hand").variants["solve"][0] == "floor"
    for name in SUITES.names():
        assert SUITES.load(name)().name == name


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("spectrum", ["gauss", "hard"])
def test_the_map_has_the_lipschitz_constant_rho(spectrum, activation):
    slope = {"relu": 1.0, "tanh": 1.0, "gelu": 1.1289}[activation]
    problem = Wide(spectrum=spectrum, rho=0.9, width=48, activation=activation, dtype="float64")
    A = problem.draw().parameters["A"]
    assert np.linalg.norm(A, 2) * slope == pytest.approx(0.9, rel=1e-9)


def test_the_hard_spectrum_is_spread_and_has_a_positive_perron_vector():
    A = Wide(spectrum="hard", rho=0.9, width=48, dtype="float64").draw().parameters["A"]
    values, vectors = np.linalg.eigh(A)
    assert np.allclose(A, A.T, atol=1e-14)
    assert values[[0, -2, -1]] == pytest.approx([-0.81, 0.81, 0.9])
    assert np.ptp(np.diff(values[:-1])) < 1e-12
    assert np.all(vectors[:, -1] > 0) or np.all(vectors[:, -1] < 0)


def test_only_the_hard_spectrum_is_slow():
    size = {"width": 128, "examples": 16}
    assert picard_steps(Wide(spectrum="gauss", rho=0.9, **size)) < 20
    assert 45 < picard_steps(Wide(spectrum="hard", rho=0.9, **size)) < 90
    assert 450 < picard_steps(Wide(spectrum="hard", rho=0.99, **size)) < 750


def test_a_problem_is_the_same_after_a_message():
    problem = Conv(batch=2, pixels=4)
    settings = json.loads(json.dumps(problem.settings()))
    assert settings.pop("kind") == "Conv"
    again = Conv(**settings).draw()
    for name, value in problem.draw().parameters.items():
        assert np.array_equal(value, again.parameters[name])


@pytest.mark.parametrize("problem", [Wide(width=8, examples=3), Conv(batch=2, pixels=4)])
def test_the_map_that_judges_is_the_map_in_jax(problem):
    from launch._benchmark.jax_maps import jax_map

    drawn = problem.draw()
    expected = problem.image(drawn.target, drawn.parameters)
    assert np.allclose(jax_map(problem)(drawn.target, drawn.parameters), expected, atol=2e-5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 170.0])
def test_calibration_finds_the_loosest_tolerance(scale):
    calls = []

    def residual(tolerance):
        calls.append(tolerance)
        steps = math.ceil(math.log(tolerance / scale) / math.log(0.8))
        return 0.8**steps

    found = calibration.loosest(residual, 1e-5)
    assert residual(found) <= 1e-5 < residual(found * 10 ** (1 / 24))
    assert len(calls) < 16


def test_calibration_gives_up_on_a_residual_out_of_reach():
    assert calibration.loosest(lambda tolerance: 1e-3, 1e-5) is None
    assert calibration.loosest(lambda tolerance: math.nan, 1e-5) is None


def test_ratios_are_formed_inside_a_round_and_noisy_rounds_can_be_left_out():
    rows = [
        {"peer": "deqzoo", "label": "deqzoo default", "seconds": [1.0, 9.0, 1.2]},
        {"peer": "hand", "label": "hand picard", "seconds": [2.0, 9.0, 2.0]},
    ]
    for row in rows:
        row |= {"stopping": "same", "residual": 1e-6, "steps": 5}
    log = [{"strangers": share} for share in (0.0, 0.9, 0.01)]
    block = {"variants": rows, "rounds": log, "tolerance": 1e-5}
    assert ratios.best_peer(block, "same", ratios.View()) is rows[1]
    assert ratios.of_rounds(block, *rows, ratios.View()) == (0.6, 0.5, 1.0)
    assert ratios.of_rounds(block, *rows, ratios.View(quiet_only=True)) == pytest.approx(
        (0.55, 0.5, 0.6)
    )


def test_our_own_work_is_not_a_stranger():
    before = Usage.now([])
    total = 0
    while Usage.now([]).wall - before.wall < 0.3:
        total += sum(range(1000))
    after = Usage.now([])
    assert after.ours > before.ours
    assert 0 <= after.strangers(before) <= 1
