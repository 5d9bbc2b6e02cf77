"""The report stands alone, holds every figure, and its numbers are strict JSON."""

import json
import re

import numpy as np
import pytest
from test_launch import run

import deqzoo
from deqzoo import catalog
from deqzoo.analysis.finding import shown
from deqzoo.analysis.report import Examined, Report
from deqzoo.analysis.sections import SECTIONS, Section, examine
from deqzoo.analysis.subject import subject
from deqzoo.storage.files import plain
from deqzoo.training import TrainConfig, train
from launch._command import UsageError
from launch.analyze import AnalyzeConfig

SMALL = {
    "width": 16,
    "batch_size": "64",
    "solver": "picard",
    "adjoint": "implicit(solver='picard')",
    "steps": 4,
    "checkpoint_every": 2,
}
ALL = [section.name for section in SECTIONS]
FAMILIES = {
    "digits": {"task": "digits"},
    "mnist": {"task": "mnist(digits=(0, 1), scaling='sphere')", "activation": "relu"},
    "sphere": {"task": "sphere(examples=80, dimension=8, labels='teacher')", "model": "wide"},
    "npz": {"task": "npz:mine.npz", "activation": "tanh"},
    "npy": {"task": "npy:rows"},
    "certified": {
        "task": "sphere(examples=8, dimension=8)",
        "model": "wide",
        "activation": "tanh",
        "loss": "square",
        "optimizer": "gd",
        "batch_size": "full",
        "constraint": "monitor",
        "precision": "float64",
        "certify": True,
        "init": "certified",
        "learning_rate": "certified",
        "solver": "auto",
        "width": 64,
    },
}


def read(folder):
    """analysis.json, read as strictly as JSON is."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((folder / "analysis.json").read_text(), parse_constant=refuse)


def check_page(html, figures):
    """One file, nothing to fetch or to run, every picture described."""
    sources = re.findall(r'\b(?:src|href)="([^"]*)"', html)
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert not re.search(r"<script|<link|https?:|url\(", html)
    pictures = re.findall(r'<img alt="([^"]*)"', html)
    assert len(pictures) == figures
    assert all(len(alt) > 40 for alt in pictures)
    assert html.count("<figcaption>") == html.count("Healthy:") == figures
    anchors = {*re.findall(r'id="([^"]*)"', html)}
    assert {source[1:] for source in sources if source.startswith("#")} <= anchors


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "gelu"
    list(train(TrainConfig(**SMALL, workdir=str(path))))
    return path


@pytest.fixture(scope="module")
def analysed(folder, tmp_path_factory):
    """The command as a user types it: exit code, what it printed, its files."""
    output = tmp_path_factory.mktemp("analysis")
    before = {p: p.stat().st_mtime_ns for p in sorted(folder.rglob("*"))}
    arguments = (f"--workdir={folder}", f"--output={output}", "--examples=24")
    code, out, err = run(*arguments, cwd=output, module="launch.analyze")
    assert {p: p.stat().st_mtime_ns for p in sorted(folder.rglob("*"))} == before
    return code, out, err, output


@pytest.mark.slow
def test_the_command_writes_a_report_with_every_figure(analysed):
    code, out, err, output = analysed
    assert (code, err) == (0, "")
    assert "promises: left out, the run was trained without --certify" in out
    assert "spectral radius of J, largest" in out
    html = (output / "report.html").read_text()
    check_page(html, figures=len(ALL) - 1)
    assert "Left out: the run was trained without --certify" in html


@pytest.mark.slow
def test_the_numbers_are_those_of_the_library(analysed, folder):
    (record,) = read(analysed[-1])["runs"]
    assert list(record["sections"]) == ALL
    assert (record["step"], record["checkpoints"]) == (4, [2, 4])
    loaded = deqzoo.load_run(folder)
    found = subject(loaded, catalog.tasks.get("digits").load(), 24)
    outputs, _ = loaded.model(found.test.x)
    measured = record["sections"]["depth"]
    assert measured["equilibrium"] == pytest.approx(found.metric(outputs))
    assert record["sections"]["path_independence"]["score"][0] == measured["equilibrium"]
    radius = np.array(record["sections"]["jacobian"]["radius"])
    assert np.all(radius < loaded.metrics[-1]["bound"])


def test_a_failed_analysis_leaves_the_others(folder, tmp_path):
    loaded = deqzoo.load_run(folder)
    broken = Section("broken", "Broken", lambda run: [][len(run.steps)])
    results = tuple(examine(each, loaded, None) for each in (SECTIONS[0], broken))
    report = Report((Examined("gelu", loaded, results),)).drawn(tmp_path)
    assert report.failed
    sections = report.to_dict()["runs"][0]["sections"]
    assert "IndexError: list index out of range" in sections["broken"]["failed"]
    assert sections["training"]["facts"]
    html = report.html(tmp_path)
    check_page(html, figures=1)
    assert "This analysis failed: IndexError" in html


def test_a_picture_that_fails_leaves_its_numbers(folder, tmp_path, monkeypatch):
    loaded = deqzoo.load_run(folder)
    result = examine(SECTIONS[0], loaded, None)
    monkeypatch.setattr(type(result.finding), "draw", lambda self, path: 1 / 0)
    report = Report((Examined("gelu", loaded, (result,)),)).drawn(tmp_path)
    assert report.failed
    assert "could not be drawn: ZeroDivisionError" in report.html(tmp_path)
    assert report.to_dict()["runs"][0]["sections"]["training"]["facts"]


def test_text_is_escaped(folder, tmp_path):
    loaded = deqzoo.load_run(folder)
    name = "<b onload='x'>&"
    html = Report((Examined(name, loaded, ()),)).html(tmp_path)
    assert name not in html
    assert "&lt;b onload=" in html


def test_numbers_that_json_does_not_know():
    values = plain({"a": np.array([np.nan, 1]), "b": (np.inf, np.float32(2)), "c": 1 + 2j})
    assert values == {"a": [None, 1.0], "b": [None, 2.0], "c": [1.0, 2.0]}
    assert [shown(x) for x in (0.123456, 7, "text", float("nan"))] == ["0.1235", "7", "text", "-"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "--workdir is needed"),
        ({"workdir": ("a", "./a")}, "names one folder twice"),
        ({"workdir": ("a",), "step": "last"}, "--step must be a whole number, 'best'"),
        ({"workdir": ("a",), "examples": 1}, "--examples must be >= 2"),
        ({"workdir": ("a",), "only": ("grams",)}, "did you mean 'gram'"),
        ({"workdir": ("a",), "only": ("compare",)}, "needs a second --workdir"),
    ],
)
def test_wrong_flags_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        AnalyzeConfig(**settings)


def test_where_results_go():
    assert str(AnalyzeConfig(workdir=("runs/a",)).folder) == "runs/a"
    assert str(AnalyzeConfig(workdir=("runs/a", "runs/b")).folder) == "runs/a-compared"
    assert str(AnalyzeConfig(workdir=("runs/a",), output="here").folder) == "here"


def test_a_folder_without_a_run_is_refused_in_one_line(tmp_path):
    code, out, err = run(f"--workdir={tmp_path}", cwd=tmp_path, module="launch.analyze")
    assert (code, out) == (2, "")
    assert (
        err
        == f"error: {tmp_path} holds no config.json: expected a folder written by launch.train\n"
    )
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_task_family_has_a_whole_report(family, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((100, 5)), rng.integers(0, 3, 100)
    np.savez(tmp_path / "mine.npz", x=x, y=y)
    (tmp_path / "rows").mkdir()
    for name, array in {"x": x, "y": y, "x_test": x, "y_test": y}.items():
        np.save(tmp_path / "rows" / f"{name}.npy", array)
    settings = {**SMALL, **FAMILIES[family], "workdir": "run"}
    flags = [f"--{key}={value}" for key, value in settings.items()]
    code, _, err = run(*flags, cwd=tmp_path)
    assert (code, err) == (0, "")
    code, out, err = run("--workdir=run", "--examples=32", cwd=tmp_path, module="launch.analyze")
    assert (code, err) == (0, ""), out
    omitted = ["promises"] * (family != "certified")
    omitted += ["final_labels", "radii"] * (family in ("sphere", "certified"))  # of no classes
    check_page((tmp_path / "run" / "report.html").read_text(), figures=len(ALL) - len(omitted))
    sections = read(tmp_path / "run")["runs"][0]["sections"]
    assert [name for name in ALL if "omitted" in sections[name]] == omitted


@pytest.mark.slow
def test_two_runs_are_compared(folder, tmp_path):
    list(train(TrainConfig(**SMALL, seed=1, workdir=str(tmp_path / "again"))))
    runs = (f"--workdir={folder}", f"--workdir={tmp_path / 'again'}")
    only = ("--only=compare", "--only=weights")
    code, out, err = run(*runs, *only, "--output=both", cwd=tmp_path, module="launch.analyze")
    assert (code, err) == (0, "")
    check_page((tmp_path / "both" / "report.html").read_text(), figures=3)
    comparison = read(tmp_path / "both")["comparison"]
    assert comparison["settings"] == {"seed": [0, 1]}
    assert "over 2 seeds" in out


@pytest.mark.slow
def test_runs_that_cannot_be_analysed_say_why(folder, tmp_path):
    def analyze(*arguments):
        return run(
            f"--workdir={tmp_path / 'run'}", *arguments, cwd=tmp_path, module="launch.analyze"
        )

    np.savez(tmp_path / "mine.npz", x=np.eye(8), y=np.arange(8) % 2)
    settings = {**SMALL, "batch_size": "full", "task": f"npz:{tmp_path / 'mine.npz'}"}
    list(train(TrainConfig(**settings, workdir=str(tmp_path / "run"))))
    code, _, err = analyze("--step=3")
    assert (code, err.startswith("error: --step=3: there is no checkpoint of step 3")) == (2, True)
    np.savez(tmp_path / "mine.npz", x=np.eye(8)[::-1], y=np.arange(8) % 2)
    code, _, err = analyze()
    assert code == 2
    assert "Without the data: --only=training --only=promises --only=weights" in err
    code, _, err = analyze("--only=weights")
    assert (code, err) == (0, "")
    for file in (tmp_path / "run" / "checkpoints" / "4").rglob("*"):
        if file.is_file():
            file.write_bytes(bytes(len(file.read_bytes())))
    code, out, _ = analyze("--only=weights")  # Orbax logs the damage in its own words
    assert code == 0
    assert "a checkpoint was passed over: step 4 is damaged" in out
    assert read(tmp_path / "run")["runs"][0]["step"] == 2
