"""The commands as a user types them, in processes of their own."""

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

from deqzoo import catalog, load_run
from deqzoo.storage.checkpoint import FORMAT, Checkpoints
from deqzoo.storage.workdir import Workdir
from launch._command import UsageError
from launch.certify import CertifyConfig

ROOT = Path(__file__).resolve().parent.parent
SMALL = (
    "--width=32",
    "--solver=picard",
    "--adjoint=implicit(solver='picard')",
    "--log_every=1",
    "--eval_every=5",
    "--checkpoint_every=5",
)


def command(*arguments, cwd, module="launch.train"):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments, cwd, module="launch.train"):
    process = command(*arguments, cwd=cwd, module=module)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def steps_done(workdir):
    rows = Workdir(workdir).read_metrics()
    return rows[-1]["step"] if rows else 0


def wait_for_step(process, workdir, step):
    deadline = time.monotonic() + 240
    while steps_done(workdir) < step:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the run does not advance"
        time.sleep(0.02)


def checkpoint(workdir, step):
    reader = Checkpoints(Workdir(workdir).checkpoints, writable=False)
    try:
        return reader.read(step)
    finally:
        reader.close()


def test_a_run_leaves_what_it_promises_and_a_second_call_says_finished(tmp_path):
    code, out, err = run("--activation=gelu", "--steps=6", *SMALL, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "the equilibrium exists and is unique for every input" in out
    assert "test accuracy" in out
    folder = tmp_path / "runs" / "gelu"
    expected = {"config.json", "metrics.jsonl", "summary.json", "checkpoints", "plots"}
    assert expected <= {path.name for path in folder.iterdir()}
    assert {"training.png", "activation.png"} == {
        path.name for path in (folder / "plots").iterdir()
    }
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 6
    record = json.loads((folder / "config.json").read_text())
    assert record["config"]["activation"] == "gelu"
    assert record["resolved"]["model"]["width"] == 32
    assert record["versions"]["jax"] == jax.__version__
    before = (folder / "metrics.jsonl").read_bytes()
    code, out, err = run("--activation=gelu", "--steps=6", *SMALL, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "finished: all 6 steps" in out
    assert (folder / "metrics.jsonl").read_bytes() == before


@pytest.mark.slow
def test_a_run_begins_from_the_settings_of_another_and_says_how_it_was_launched(tmp_path):
    flags = ("--activation=tanh", "--steps=2", "--learning_rate=0.01")
    assert run(*SMALL, *flags, "--workdir=a", cwd=tmp_path)[0] == 0
    code, out, err = run("--config=a/config.json", "--steps=3", "--workdir=b", cwd=tmp_path)
    assert code == 0, err
    first, second = (json.loads((tmp_path / run / "config.json").read_text()) for run in "ab")
    assert second["config"] == {**first["config"], "steps": 3}
    assert second["launched"]["command"].endswith("--config=a/config.json --steps=3 --workdir=b")


def test_a_terminated_run_saves_and_exits_75(tmp_path):
    folder = tmp_path / "run"
    process = command("--steps=100000", *SMALL, f"--workdir={folder}", cwd=tmp_path)
    wait_for_step(process, folder, 8)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (75, "")
    step = Checkpoints(Workdir(folder).checkpoints, writable=False).steps()[-1]
    assert f"saved at step {step}" in out
    assert step >= 8


@pytest.mark.slow
def test_failed_backward_solves_are_told(tmp_path):
    adjoint = "implicit(solver='bicgstab(max_steps=2, rtol=1e-6)', on_failure='phantom')"
    code, out, _ = run(*SMALL, f"--adjoint={adjoint}", "--steps=1", cwd=tmp_path)
    assert code == 0
    assert "of the backward solves missed the tolerance (worst relative residual" in out


@pytest.mark.slow
def test_a_second_run_finds_its_programs_compiled(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("JAX_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    counts = []
    for workdir in ("first", "second"):
        code, _, err = run(f"--workdir={workdir}", "--steps=1", *SMALL, cwd=tmp_path)
        assert (code, err) == (0, "")
        counts.append(len(list((tmp_path / "cache" / "deqzoo" / "jax").glob("*/*-cache"))))
    assert counts[0] == counts[1] > 10


@pytest.mark.slow
def test_a_damaged_latest_checkpoint_gives_one_line_and_the_run_goes_on(tmp_path):
    folder = tmp_path / "run"
    arguments = ("--steps=10", *SMALL, f"--workdir={folder}")
    assert run(*arguments, cwd=tmp_path)[0] == 0
    for file in (folder / "checkpoints" / "10" / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:40])
    code, out, err = run(*arguments, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "checkpoint step 10 is damaged" in out
    assert "resumed from step 5 of 10" in out
    assert checkpoint(folder, 10)["step"] == 10


@pytest.mark.quick(
    "--activation=gleu-no activation is called 'gleu'; did you mean 'gelu'?",
    "--task=npz:nan.npz-hold 1 non-finite values",
)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--activation=gleu",), "no activation is called 'gleu'; did you mean 'gelu'?"),
        (
            ("--activaton=gelu",),
            "Unknown command line flag 'activaton'. Did you mean: activation ?",
        ),
        (("--steps=ten",), "--steps=ten: invalid literal for int()"),
        (("gelu",), "unexpected argument 'gelu': settings are flags"),
        (("--config=nothing.json",), "--config=nothing.json cannot be read as JSON"),
        (("--config=short.npz",), "--config=short.npz cannot be read as JSON"),
        (("--task=npz:nan.npz", "--batch_size=4"), "hold 1 non-finite values"),
        (("--task=npz:short.npz", "--batch_size=4"), "10"),
        (
            ("--workdir=other",),
            "other holds a run with other settings (activation: 'sin' there, 'gelu' here)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_wrong_input_gives_one_line_and_exit_code_2(arguments, message, tmp_path):
    x, y = np.ones((10, 3)), np.arange(10) % 2
    np.savez(tmp_path / "short.npz", x=x, y=y[:7])
    x[4, 1] = np.nan
    np.savez(tmp_path / "nan.npz", x=x, y=y)
    (tmp_path / "other").mkdir()
    settings = {**load_defaults(), "activation": "sin"}
    record = {"format": FORMAT, "config": settings, "resolved": {}}
    (tmp_path / "other" / "config.json").write_text(json.dumps(record))
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(*arguments, cwd=tmp_path)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != ".lock"] == before


def load_defaults():
    from deqzoo.training import TrainConfig

    return TrainConfig().to_dict()


@pytest.mark.slow
def test_a_plugin_module_trains_and_its_run_loads(tmp_path, monkeypatch):
    (tmp_path / "bent_plugin.py").write_text(
        "import activations, jax.numpy as jnp\n"
        "from dataclasses import dataclass\n"
        "from deqzoo import Activation\n"
        "@activations.register\n"
        "@dataclass(frozen=True)\n"
        "class BentIdentity(Activation):\n"
        "    slope = (0.5, 1.5)\n"
        "    curvature = 0.5\n"
        "    def __call__(self, x):\n"
        "        return (jnp.sqrt(x * x + 1) - 1) / 2 + x\n"
    )
    arguments = (
        "--plugin=bent_plugin",
        "--activation=bent_identity",
        "--steps=5",
        *SMALL,
        "--workdir=bent",
    )
    code, out, err = run(*arguments, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "L = 1.5" in out
    monkeypatch.syspath_prepend(tmp_path)
    try:
        run_of_it = load_run(tmp_path / "bent", plugins=["bent_plugin"])
        assert run_of_it.model.activation.lipschitz == 1.5
    finally:
        catalog.activations._registered.pop("bent_identity", None)


def test_list_names_every_member_of_every_catalog(tmp_path):
    code, out, err = run(cwd=tmp_path, module="launch.list")
    assert (code, err) == (0, "")
    for each in catalog.ALL:
        assert each.group in out
        assert all(name in out for name in each.names())


@pytest.mark.slow
def test_list_refuses_what_is_no_catalog(tmp_path):
    code, _, err = run("--catalog=activation", cwd=tmp_path, module="launch.list")
    assert code == 2
    assert "there are activations, solvers" in err


@pytest.mark.slow
def test_certify_prints_and_writes_what_it_found(tmp_path):
    arguments = ("--activation=tanh", "--task=sphere(examples=6, dimension=8)", "--width=128")
    code, out, err = run(*arguments, cwd=tmp_path, module="launch.certify")
    assert (code, err) == (0, "")
    assert "NOT CERTIFIED" in out
    assert "use a zero readout" in out
    folder = tmp_path / "runs" / "certify-tanh"
    assert {path.name for path in folder.iterdir()} == {"certificate.json", "kernel.png"}
    assert json.loads((folder / "certificate.json").read_text())["network"]["certified"] is False
    code, out, err = run(*arguments, "--mend=labels", cwd=tmp_path, module="launch.certify")
    assert (code, err) == (0, "")
    assert "initialisation: width 128: certified" in out
    assert "=> CERTIFIED by Theorem A (deqzoo)" in out
    results = json.loads((folder / "certificate.json").read_text())
    assert results["network"]["certified"] is True
    assert results["infinite_width"]["certified"] is False


@pytest.mark.slow
def test_the_infinitely_wide_network_predicts_real_digits(tmp_path):
    arguments = ("--activation=relu", "--task=digits", "--examples=500", "--width=64")
    code, out, err = run(
        *arguments, "--kernel=ntk", "--predict", cwd=tmp_path, module="launch.certify"
    )
    assert (code, err) == (0, "")
    results = json.loads((tmp_path / "runs" / "certify-relu" / "certificate.json").read_text())
    assert results["prediction"]["test_accuracy"] > 0.96
    assert "test accuracy" in out


@pytest.mark.quick("--sigma_w2=0.6-the kernel need not exist: s_w L = 1.09545")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--activation=gleu",), "did you mean 'gelu'?"),
        (("--sigma_w2=0.6",), "the kernel need not exist: s_w L = 1.09545"),
        (("--examples=1000",), "exceeds the 100 training examples"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_wrong_input_to_certify_gives_one_line_and_exit_code_2(arguments, message, tmp_path):
    code, out, err = run(*arguments, cwd=tmp_path, module="launch.certify")
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mend": "luck"}, "--mend must be one of no, labels, width; got 'luck'"),
        ({"kernel": "rbf"}, "--kernel must be one of nngp, ntk; got 'rbf'"),
        ({"width": 0}, "--width must lie in 1 ... 131072, got 0"),
        ({"width": 10**20}, "--width must lie in 1 ... 131072, got 1e+20"),
        ({"noise": 0.0}, "--noise must be positive and at most 1e+30, got 0.0"),
        ({"s_u": 1e300}, "--s_u must be positive and at most 1e+30, got 1e+300"),
        ({"s_a": 0.0, "predict": True}, "--predict needs --s_a > 0"),
    ],
)
def test_impossible_settings_of_certify_name_their_flag(settings, message):
    with pytest.raises(UsageError) as caught:
        CertifyConfig(**settings)
    assert message in str(caught.value)


@pytest.mark.slow
def test_the_console_command_names_and_runs_commands(tmp_path):
    code, out, _ = run(cwd=tmp_path, module="launch")
    assert (code, ", ".join(catalog.commands.names()) in out) == (0, True)
    code, _, err = run("trian", cwd=tmp_path, module="launch")
    assert (code, "did you mean 'train'?" in err) == (2, True)
    code, out, _ = run("list", "--catalog=solvers", cwd=tmp_path, module="launch")
    assert (code, "anderson" in out) == (0, True)


def test_help_lists_every_flag(tmp_path):
    code, out, _ = run("--help", cwd=tmp_path)
    assert code in (0, 1)
    assert all(f"--{name}" in out or f"--[no]{name}" in out for name in load_defaults())
