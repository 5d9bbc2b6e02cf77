"""Runs on many devices and by several processes compute what one device computes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from deqzoo import load_run
from deqzoo.storage.checkpoint import Checkpoints
from deqzoo.storage.workdir import Workdir
from deqzoo.training import ConfigError, RunOptions
from deqzoo.training.devices import mesh, processes
from deqzoo.training.devices.processes import DistributedError

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = {
    "width": 32,
    "batch_size": "64",
    "steps": 6,
    "solver": "picard",
    "adjoint": "implicit(solver='picard')",
    "log_every": 1,
    "eval_every": 3,
    "checkpoint_every": 3,
}
FLAGS = tuple(f"--{name}={value}" for name, value in SETTINGS.items())
IN_PROCESS = """
import json, sys
from deqzoo.training import RunOptions, TrainConfig, Training
settings, meshes, folder = json.loads(sys.argv[1])
for mesh in meshes:
    config = TrainConfig(workdir=f"{folder}/{mesh or 'default'}", **settings)
    training = Training(config, RunOptions(mesh=mesh))
    list(training.reports())
    program = training._step.lower(training.state, *training._batches(0)).compile().as_text()
    print(json.dumps({"mesh": dict(training.layout.mesh.shape), "program": program}))
    training.close()
"""


UNEQUAL = """
import json, sys
import jax, numpy as np, optax
from flax import nnx
from deqzoo import catalog
from deqzoo.models.wide import Wide
from deqzoo.nn import PureModel
from deqzoo.training.devices import mesh
from deqzoo.training.state import TrainState
from deqzoo.training.step import make_step
from deqzoo.training.update import Update
model = Wide((6,), 3, width=16, solver="picard(rtol=1e-6)", rngs=nnx.Rngs(0))
pure = PureModel(model)
x = np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)
y = np.array([2, -1, -1, -1, 0, 1, 2, -1], np.int32)
update = Update(optax.sgd(0.1), catalog.constraints.get("monitor"), model.guarantees())
for loss in sys.argv[1:]:
    found = []
    for devices in (None, mesh.build("data:2", 8)):
        step = make_step(pure, catalog.losses.get(loss), update, mesh=devices)
        state = TrainState(*pure.state, update.init(pure.state.parameters)[1], np.int32(0))
        after, metrics = jax.jit(step)(state, x, y)
        leaves = [np.asarray(leaf).ravel().tolist() for leaf in jax.tree.leaves(after.parameters)]
        found.append([float(metrics["loss"]), float(metrics["gradient_norm"]), *sum(leaves, [])])
    print(json.dumps(found))
"""


REGULARIZED = (
    UNEQUAL.split("model =")[0]
    + """
from dataclasses import dataclass
import jax.numpy as jnp
from deqzoo.core.regularizer import Regularizer
@dataclass(frozen=True)
class Signs(Regularizer):
    def penalty(self, fn, solution, key):
        return jnp.full(len(solution.value), jax.random.rademacher(key, (), jnp.float32))
model = Wide((6,), 3, width=16, solver="picard(rtol=1e-6, trajectory=(1, 2))", rngs=nnx.Rngs(0))
pure = PureModel(model)
x = np.random.default_rng(0).standard_normal((16, 6)).astype(np.float32)
y = np.array([2, -1, -1, -1, 0, 1, 2, -1, *[1] * 8], np.int32)
update = Update(optax.sgd(0.1), catalog.constraints.get("monitor"), model.guarantees())
def after(loss, regularizer, devices, steps=1):
    step = make_step(pure, catalog.losses.get(loss), update, regularizer, mesh=devices)
    state = TrainState(*pure.state, update.init(pure.state.parameters)[1], np.int32(0))
    for _ in range(steps):
        state, metrics = jax.jit(step)(state, x, y)
        yield jax.tree.leaves(state.parameters), metrics["loss"], metrics["penalty"]
correction = catalog.regularizers.get("correction(weight=10.0, steps=(1, 2))")
for loss in ("cross_entropy", "square"):
    found = [next(after(loss, correction, mesh.build(f"data:{n}", 16))) for n in (1, 8)]
    found = [[np.ravel(leaf).tolist() for leaf in jax.tree.leaves(each)] for each in found]
    print(json.dumps([sum(each, []) for each in found]))
drawn = after("square", Signs(), mesh.build("data:8", 16), steps=4)
print(json.dumps([float(penalty) for *_, penalty in drawn]))
"""
)


EVALUATED = """
import jax, jax.numpy as jnp
from deqzoo.training.devices import mesh
from deqzoo.training.devices.layout import Layout
layout = Layout(mesh.build("data:2", 6))
doubled = lambda w, x: jax.lax.while_loop(lambda z: jnp.any(z < w), lambda z: 2 * z, x)
(x,) = layout.put_batch(jnp.ones((6, 3)))
print(layout.over_examples(doubled).lower(8.0, x).compile().as_text())
"""


def environment(devices):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": flags.strip()}


def start(*arguments, cwd, devices=1):
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(devices),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, code=0):
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, f"{process.returncode}: {out}\n{err}"
    return out


def train_on(meshes, folder, devices, **settings):
    argument = json.dumps([{**SETTINGS, **settings}, meshes, str(folder)])
    out = finish(start("-c", IN_PROCESS, argument, cwd=folder, devices=devices))
    return [json.loads(line) for line in out.splitlines()]


def state_of(workdir, step=6):
    reader = Checkpoints(Workdir(workdir).checkpoints, writable=False)
    try:
        return reader.read(step)
    finally:
        reader.close()


def assert_close(found, expected, tolerance=1e-5):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.max(np.abs(a - b), initial=0) <= tolerance


def loops_with_collectives(program):
    """Names of computations that loops run and that communicate."""
    bodies = {*re.findall(r"(?:body|condition)=%?([\w.\-]+)", program)}
    computations = re.split(r"\n(?=%|ENTRY)", program)
    named = {m[1]: text for text in computations if (m := re.match(r"%?([\w.\-]+)", text))}
    talks = re.compile(r"all-reduce|all-gather|collective-permute|all-to-all|reduce-scatter")
    return [name for name in bodies if talks.search(named.get(name, ""))]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of one configuration on several meshes of eight devices, and their programs."""
    folder = tmp_path_factory.mktemp("meshes")
    meshes = ["data:1", "data:8", "data:2,model:4", "model:2", ""]
    return folder, dict(zip(meshes, train_on(meshes, folder, devices=8), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data:8", "data:2,model:4", "model:2", ""])
def test_every_mesh_trains_the_same_weights(name, runs):
    folder, _ = runs
    assert_close(state_of(folder / (name or "default")), state_of(folder / "data:1"))


@pytest.mark.slow
def test_every_mesh_moves_the_same_images_in_the_same_way(tmp_path):
    train_on(["data:1", "data:4"], tmp_path, devices=4, task="digits(shift=1, flip=True)")
    assert_close(state_of(tmp_path / "data:4"), state_of(tmp_path / "data:1"))


@pytest.mark.slow
def test_by_default_all_devices_share_the_batch(runs):
    assert runs[1][""]["mesh"] == {"data": 8, "model": 1}


@pytest.mark.slow
def test_devices_that_share_a_batch_talk_once_a_step_and_never_in_a_loop(runs):
    program = runs[1]["data:8"]["program"]
    assert "while(" in program
    assert loops_with_collectives(program) == []
    assert len(re.findall(r" all-reduce(?:-start)?\(", program)) <= 2  # the sum and the maximum
    assert loops_with_collectives(runs[1]["model:2"]["program"]) != []


def test_two_devices_evaluate_without_a_word_in_a_loop(tmp_path):
    program = finish(start("-c", EVALUATED, cwd=tmp_path, devices=2))
    assert "while(" in program
    assert loops_with_collectives(program) == []


@pytest.mark.slow
def test_devices_with_unequal_numbers_of_labels_are_one_device(tmp_path):
    """A mean of means would weigh the one label of one half like the three of the other."""
    out = finish(start("-c", UNEQUAL, "cross_entropy", "square", cwd=tmp_path, devices=2))
    for alone, shared in map(json.loads, out.splitlines()):
        np.testing.assert_allclose(shared, alone, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_a_penalty_is_that_of_one_device_and_its_draws_differ_between_devices(tmp_path):
    """Each device has two examples, of which some have no label; a penalty counts all of them."""
    out = finish(start("-c", REGULARIZED, cwd=tmp_path, devices=8))
    *pairs, means = map(json.loads, out.splitlines())
    for alone, shared in pairs:
        np.testing.assert_allclose(shared, alone, rtol=1e-5, atol=1e-6)
    assert any(abs(mean) < 1 for mean in means)  # not one sign for all eight, in four steps


@pytest.mark.slow
def test_rows_of_w_live_on_the_model_axis(runs):
    program = runs[1]["data:2,model:4"]["program"]
    assert re.search(r"f32\[8,32\]\S* parameter", program)  # 32 rows over 4 devices


@pytest.mark.slow
def test_a_run_saved_on_eight_devices_loads_on_one(runs):
    run = load_run(runs[0] / "data:8")
    outputs, solution = run.model(np.zeros((3, 8, 8, 1), np.float32))
    assert outputs.shape == (3, 10)
    assert bool(solution.stats.fraction_converged == 1)


@pytest.mark.slow
def test_a_run_goes_on_with_other_devices(tmp_path):
    workdir = tmp_path / "run"
    finish(start("-m", "launch.train", *FLAGS, f"--workdir={workdir}", cwd=tmp_path, devices=4))
    whole = state_of(workdir)
    (workdir / "summary.json").unlink()
    (workdir / "checkpoints" / "6").rename(tmp_path / "6")
    out = finish(
        start(
            "-m",
            "launch.train",
            *FLAGS,
            f"--workdir={workdir}",
            "--mesh=data:2",
            cwd=tmp_path,
            devices=2,
        )
    )
    assert "resumed from step 3 of 6" in out
    assert_close(state_of(workdir), whole)


def free_port():
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return each.getsockname()[1]


def start_pair(workdir, cwd, *more):
    """Two processes with two devices each."""
    port = free_port()
    return [
        start(
            "-m",
            "launch.train",
            *FLAGS,
            f"--workdir={workdir}",
            f"--coordinator=127.0.0.1:{port}",
            "--num_processes=2",
            f"--process_id={rank}",
            *more,
            cwd=cwd,
            devices=2,
        )
        for rank in (0, 1)
    ]


@pytest.mark.slow
def test_two_processes_train_what_one_trains(runs, tmp_path):
    workdir = tmp_path / "pair"
    out, silent = (finish(process) for process in start_pair(workdir, tmp_path))
    assert "data:4" in out
    assert "result" in out
    assert "deqzoo:" not in silent
    assert "result" not in silent
    assert_close(state_of(workdir), state_of(runs[0] / "data:1"), 1e-6)
    rows = Workdir(workdir).read_metrics()
    assert [row["step"] for row in rows] == list(range(1, 7))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data:2,model:2", "model:4"])
def test_two_processes_read_with_grain_what_one_reads(name, tmp_path):
    pytest.importorskip("grain")
    pair, alone = tmp_path / "pair", tmp_path / "alone"
    for process in start_pair(pair, tmp_path, "--loader=grain", f"--mesh={name}"):
        finish(process)
    command = ("-m", "launch.train", *FLAGS, f"--workdir={alone}")
    finish(start(*command, cwd=tmp_path))
    assert_close(state_of(pair), state_of(alone), 1e-6)
    reader = Checkpoints(Workdir(pair).checkpoints, writable=False)
    assert reader.about(6)["data"] == {"next_index": 6}
    reader.close()


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_pair_of_which_one_is_killed_resumes_together(lost, runs, tmp_path):
    workdir = tmp_path / "pair"
    flags = ("--steps=60", "--checkpoint_every=10", "--eval_every=30")
    pair = start_pair(workdir, tmp_path, *flags, "--heartbeat=10")
    wait_for(pair[0], lambda: len(Workdir(workdir).read_metrics()) > 25)
    pair[lost].kill()
    _, err = pair[1 - lost].communicate(timeout=60)
    pair[lost].communicate()
    assert pair[1 - lost].returncode != 0
    assert re.search("another|gloo", err)  # our word, JAX's, or Gloo aborts before either
    assert not (workdir / "summary.json").exists()
    out = [finish(process) for process in start_pair(workdir, tmp_path, *flags)]
    assert "resumed from step" in out[0]
    alone = tmp_path / "alone"
    finish(
        start("-m", "launch.train", *FLAGS, *flags, f"--workdir={alone}", cwd=tmp_path, devices=4)
    )
    assert_close(state_of(workdir, 60), state_of(alone, 60), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_process_saves_and_stops_both(number, tmp_path):
    workdir = tmp_path / "pair"
    flags = ("--steps=100000", "--checkpoint_every=1000", "--eval_every=1000")
    pair = start_pair(workdir, tmp_path, *flags)
    wait_for(pair[0], lambda: len(Workdir(workdir).read_metrics()) > 5)
    pair[1].send_signal(number)
    outs = [finish(process, code=75) for process in pair]
    step = int(re.search(r"saved at step (\d+)", outs[0])[1])
    reader = Checkpoints(Workdir(workdir).checkpoints, writable=False)
    assert reader.steps()[-1] == step
    reader.close()


def wait_for(process, condition, seconds=240):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the run does not advance"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data:0", "--mesh=data:0 names no mesh: expected for example data:4"),
        ("rows:2", "--mesh=rows:2 names no mesh"),
        ("data:2,data:2", "names no mesh"),
        ("data:4", "--mesh=data:4 needs 4 devices, there are 1"),
    ],
)
def test_an_impossible_mesh_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        mesh.build(text, batch=12, devices=jax.devices()[:1])


def test_a_batch_that_cannot_be_shared_out_is_refused():
    with pytest.raises(ConfigError, match="7 examples a step cannot be shared out evenly over 2"):
        mesh.build("data:2", batch=7, devices=jax.devices()[:1] * 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distributed": "yes"}, "--distributed must be one of auto, on, off, got 'yes'"),
        ({"coordinator": "here"}, "--coordinator must be HOST:PORT"),
        ({"coordinator": "here:1"}, "--coordinator needs --num_processes and --process_id"),
        ({"num_processes": 2}, "need --coordinator=HOST:PORT"),
        (
            {"coordinator": "here:1", "num_processes": 2, "process_id": 2},
            r"--process_id must lie in 0 \.\.\. 1",
        ),
        ({"heartbeat": 0}, "--heartbeat must be a whole number >= 1, got 0"),
        ({"profile": "5"}, "--profile must be FIRST:LAST"),
        ({"profile": "5:5"}, "--profile must be FIRST:LAST"),
        ({"loader": "tape"}, "--loader must be one of memory, grain, got 'tape'"),
        ({"max_failed": 0.0}, r"--max_failed must be a number in \(0, 1\]"),
    ],
)
def test_impossible_options_name_their_flag(settings, message):
    with pytest.raises(ConfigError, match=message):
        RunOptions(**settings)


SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "n[1-2]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NUM_NODES": "2",
}


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, (None, None)),
        (SLURM, ("Slurm", None)),
        ({**SLURM, "SLURM_NTASKS": "1"}, (None, None)),
        (
            {name: SLURM[name] for name in ("SLURM_JOB_ID", "SLURM_NTASKS")},
            ("Slurm", "SLURM_STEP_NODELIST"),
        ),
        (
            {"OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:1", "OMPI_COMM_WORLD_SIZE": "2"},
            ("Open MPI", "OMPI_COMM_WORLD_RANK"),
        ),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, (None, None)),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, (None, None)),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, ("the TPU pod", None)),
    ],
)
def test_a_scheduler_is_recognised_by_its_variables(environment, found):
    assert processes.detect(environment) == found


def test_an_incomplete_scheduler_is_told_and_refused_where_insisted_on():
    partial = {name: SLURM[name] for name in ("SLURM_JOB_ID", "SLURM_NTASKS")}
    note = processes.join(RunOptions(), partial)
    assert note == "one process by itself: Slurm has not set SLURM_STEP_NODELIST"
    with pytest.raises(DistributedError, match="Slurm has not set SLURM_STEP_NODELIST"):
        processes.join(RunOptions(distributed="on"), partial)
    assert processes.join(RunOptions(distributed="off"), SLURM) is None
