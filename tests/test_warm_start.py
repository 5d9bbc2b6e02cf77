"""Warm starts and penalties in training: same descent, fewer steps, resumable bit for bit."""

import numpy as np
import pytest

from deqzoo.training import TrainConfig, train
from deqzoo.training.config import ConfigError

SETTINGS = {"task": "sphere(examples=16, dimension=6)", "model": "wide", "loss": "square"} | {
    "optimizer": "gd", "learning_rate": "ntk", "batch_size": "full", "width": 32, "log_every": 1
}  # fmt: skip


def run(folder, **settings):
    return list(train(TrainConfig(**{**SETTINGS, "workdir": str(folder), **settings})))[:-1]


@pytest.mark.slow
def test_a_warm_start_saves_steps_forward_and_backward_and_keeps_the_descent(tmp_path):
    cold, warm = run(tmp_path / "cold", steps=12), run(tmp_path / "warm", steps=12, warm_start=True)
    np.testing.assert_allclose(
        [row["loss"] for row in warm], [row["loss"] for row in cold], rtol=1e-3
    )
    for kind in ("solver_steps", "backward_solver_steps"):
        assert warm[0][kind] == pytest.approx(cold[0][kind], abs=1)
        assert np.sum([row[kind] for row in warm[3:]]) < np.sum([row[kind] for row in cold[3:]])


@pytest.mark.slow
def test_a_warm_run_that_stops_goes_on_bit_for_bit(tmp_path):
    whole = run(tmp_path / "whole", steps=6, warm_start=True, checkpoint_every=3)
    settings = {"steps": 6, "warm_start": True, "checkpoint_every": 3}
    reports = train(TrainConfig(**SETTINGS, **settings, workdir=str(tmp_path / "cut")))
    for report in reports:
        if report["step"] == 4:
            break
    reports.close()
    rest = run(tmp_path / "cut", **settings)
    assert rest[-1]["loss"] == whole[-1]["loss"]
    assert rest[-1]["solver_steps"] == whole[-1]["solver_steps"]


def test_a_warm_start_needs_the_same_examples_in_every_step():
    with pytest.raises(ConfigError, match="--warm_start needs .* add --batch_size=full"):
        TrainConfig(warm_start=True)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["jacobian_norm(weight=0.1)", "correction(steps=(1, 2))"])
def test_a_penalty_is_trained_with_and_reported(tmp_path, recipe):
    rows = run(tmp_path, steps=3, regularizer=recipe)
    assert all(row["penalty"] > 0 for row in rows)
