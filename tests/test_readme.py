"""What the README shows runs as it stands there."""

import ast
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from deqzoo import catalog, load_exported
from deqzoo.training import TrainConfig, train

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PYTHON = (ROOT / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_fixed_point_example_runs(capsys):
    exec(compile(BLOCKS[0], "README.md", "exec"), {})
    assert "[" in capsys.readouterr().out


@pytest.mark.slow
def test_the_fit_example_learns_and_fits_in_ten_lines(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS[1].strip().splitlines()) <= 10
    names = {}
    exec(compile(BLOCKS[1], "README.md", "exec"), names)
    assert "300 of 300" in capsys.readouterr().out
    run = names["run"]
    assert run.summary["test_accuracy"] > 0.8  # 0.5 is chance
    assert run.summary["bound"] < 1
    x, y = names["x"][500:].astype(np.float32), names["y"][500:]
    outputs, _ = load_exported("model.stablehlo")(x)
    assert np.mean(np.argmax(np.asarray(outputs), axis=1) == y) > 0.8


@pytest.mark.slow
def test_the_page_on_python_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", PYTHON, re.DOTALL):
        exec(compile(block, "python.md", "exec"), names)
    *_, norms, difference = capsys.readouterr().out.splitlines()
    assert len(ast.literal_eval(norms)) == 2
    assert float(difference) < 1e-4


def test_the_activation_example_runs_and_declares_the_truth(capsys):
    try:
        exec(compile(BLOCKS[2], "README.md", "exec"), {"__name__": "readme"})
        assert "WRONG" not in capsys.readouterr().out
    finally:
        catalog.activations._registered.pop("bent", None)


@pytest.mark.slow
def test_the_loading_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    list(train(TrainConfig(activation="tanh", width=16, steps=2)))
    names = {"x": jnp.ones((2, 8, 8, 1))}
    exec(compile("import deqzoo\n" + BLOCKS[3], "README.md", "exec"), names)
    assert names["run"].step == 2
    assert names["outputs"].shape == (2, 10)


def test_the_certificate_example_runs(capsys):
    names = {}
    exec(compile(BLOCKS[4], "README.md", "exec"), names)
    assert "=> CERTIFIED by Theorem A" in capsys.readouterr().out
    assert names["K"].shape == (8, 8)


def test_the_table_lists_every_member():
    for each in catalog.ALL:
        row = next(line for line in README.splitlines() if line.startswith(f"| {each.group} |"))
        assert set(each.names()) <= set(re.findall(r"`(\w+)", row)), each.group


def test_there_are_exactly_two_set_up_commands():
    commands = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert commands[0].endswith("-m launch.train --activation=gelu")
    assert commands[1].endswith("-m pytest")
