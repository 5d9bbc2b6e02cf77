"""Artefacts equal their model in a process without deqzoo, and refuse damage and wrong input."""

import dataclasses
import datetime
import hashlib
import io
import json
import os
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import deqzoo
from deqzoo import catalog
from deqzoo.nn import PureModel
from deqzoo.runs import loader
from deqzoo.runs.artefact import Artefact
from deqzoo.runs.build_artefact import build_artefact
from deqzoo.runs.description import half_a_year_after
from deqzoo.runs.inference import inference
from deqzoo.runs.latency import median_seconds
from deqzoo.runs.loader import ExportError, load_exported, pack, unpack
from deqzoo.runs.verify import Comparison
from deqzoo.storage import files
from deqzoo.training import TrainConfig, train
from launch import export as command
from launch._command import UsageError
from launch.export import ExportConfig

pytest.importorskip("flatbuffers")
ROOT = Path(__file__).resolve().parent.parent
ALONE = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import loader
model = loader.load_exported(sys.argv[1])
inputs = np.load("inputs.npz")
found = {}
for name in inputs:
    found[name], info = model(inputs[name])
    found |= {f"{name}_{key}": value for key, value in info.items()}
np.savez("found.npz", **found)
assert loader.__file__.startswith(sys.argv[1])
foreign = {"deqzoo", "flax", "optax", "orbax"} & set(sys.modules)
assert not foreign, foreign
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "tanh"
    config = TrainConfig(
        activation="tanh",
        width=16,
        batch_size="64",
        solver="picard",
        adjoint="implicit(solver='picard')",
        steps=1,
        workdir=str(path),
    )
    list(train(config))
    return deqzoo.load_run(path)


@pytest.fixture(scope="module")
def artefact(run):
    return build_artefact(run)


@pytest.fixture(scope="module")
def path(artefact, tmp_path_factory):
    place = tmp_path_factory.mktemp("artefacts") / "model.stablehlo"
    files.write(place, artefact.to_bytes())
    return place


def inputs(batch):
    rng = np.random.default_rng(batch)
    return rng.standard_normal((batch, 8, 8, 1)).astype(np.float32)


def expected(model, x):
    return jax.jit(inference(model))(jax.tree.leaves(PureModel(model).state), x)


def test_a_process_without_deqzoo_gives_the_same_bits_for_any_batch_size(run, path, tmp_path):
    batches = {f"x{size}": inputs(size) for size in (1, 7)}
    np.savez(tmp_path / "inputs.npz", **batches)
    places = [p for p in os.environ.get("PYTHONPATH", "").split(":") if Path(p) != ROOT and p]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, path],
        env={**os.environ, "PYTHONPATH": ":".join(places)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = np.load(tmp_path / "found.npz")
    for name, x in batches.items():
        outputs, info = expected(run.model, x)
        assert found[name].tobytes() == np.asarray(outputs).tobytes()
        for key, value in info.items():
            assert found[f"{name}_{key}"].tobytes() == np.asarray(value).tobytes()
        assert found[f"{name}_converged"].all()


def test_the_model_of_the_package_says_what_it_is(path):
    model = deqzoo.load_exported(path)
    assert repr(model) == "ExportedModel(classifier, tanh, input float32[n, 8, 8, 1])"
    assert model.description["classes"] == 10
    outputs, info = model(inputs(2))
    assert outputs.shape == (2, 10)
    assert set(info) == {"steps", "residual", "converged", "status"}


def test_every_flipped_bit_is_refused(path, tmp_path):
    data = path.read_bytes()
    places = {0, 14, 16, 30, 82, len(data) - 1, *range(90, len(data), len(data) // 40)}
    for place in sorted(places):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        (tmp_path / "damaged").write_bytes(bytes(damaged))
        with pytest.raises(ExportError, match="damaged|has format"):
            load_exported(tmp_path / "damaged")
    (tmp_path / "short").write_bytes(data[: len(data) // 2])
    with pytest.raises(ExportError, match="its checksum differs"):
        load_exported(tmp_path / "short")


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(ExportError, match="there is no file .*none: give the path"):
        load_exported(tmp_path / "none")


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((2, 8, 8), np.float32),
        np.zeros((8, 8, 1), np.float32),
        np.zeros((0, 8, 8, 1), np.float32),
        np.zeros((2, 8, 8, 1)),
        np.zeros((2, 8, 8, 1), np.int32),
        [[1.0, 2.0]],
    ],
    ids=lambda x: f"{getattr(x, 'dtype', 'list')}{np.shape(x)}",
)
def test_wrong_input_is_one_line(x, path):
    with pytest.raises(ExportError, match=r"takes float32\[n, 8, 8, 1\], got") as caught:
        load_exported(path)(x)
    assert "\n" not in str(caught.value)


def test_a_fixed_batch_size_takes_that_one_alone(run, tmp_path):
    place = tmp_path / "fixed"
    files.write(place, build_artefact(run, batch_size=3).to_bytes())
    model = load_exported(place)
    outputs, _ = model(inputs(3))
    assert np.asarray(outputs).tobytes() == np.asarray(expected(run.model, inputs(3))[0]).tobytes()
    with pytest.raises(ExportError, match=r"takes float32\[3, 8, 8, 1\], got float32\[2, 8"):
        model(inputs(2))


def test_an_artefact_for_another_platform_says_so(run, tmp_path):
    place = tmp_path / "tpu"
    files.write(place, build_artefact(run, platforms=("tpu",)).to_bytes())
    with pytest.raises(ExportError, match="exported for tpu, and this machine has cpu: .*tpu,cpu"):
        load_exported(place)


def test_an_artefact_for_several_platforms_runs_here(run, tmp_path):
    place = tmp_path / "several"
    files.write(place, build_artefact(run, platforms=("cuda", "tpu", "cpu")).to_bytes())
    outputs, _ = load_exported(place)(inputs(2))
    assert np.asarray(outputs).tobytes() == np.asarray(expected(run.model, inputs(2))[0]).tobytes()


def repacked(path, place, program=None, **changes):
    members = unpack(path)
    about = {**json.loads(members["export.json"]), **changes}
    members["export.json"] = json.dumps(about).encode()
    members["program.bin"] = members["program.bin"] if program is None else program
    place.write_bytes(pack(members))
    return place


def in_another_bytecode(program):
    """The same record round code that is not MLIR's: JAX reads that on the first call only."""
    assert program.count(b"ML\xefR") == 1
    return program.replace(b"ML\xefR", b"MM\xefR")


@pytest.mark.parametrize(
    ("program", "changes"),
    [
        (lambda program: program, {"calling_convention": 1}),
        (lambda program: b"no program", {}),
        (in_another_bytecode, {}),
    ],
    ids=["convention", "nonsense", "bytecode"],
)
def test_a_program_that_jax_cannot_read_names_versions_and_date(program, changes, path, tmp_path):
    program = program(unpack(path)["program.bin"])
    about = {"readable_until": "2024-01-31", "jax": "0.4.0", **changes}
    place = repacked(path, tmp_path / "old", program, **about)
    message = rf"jax {jax.__version__} cannot read .*: jax 0.4.0 wrote it, .*until 2024-01-31 "
    with pytest.raises(ExportError, match=message):
        load_exported(place)


def test_another_format_is_told_apart_from_damage(path, tmp_path):
    (tmp_path / "next").write_bytes(
        path.read_bytes().replace(b"deqzoo-export 2", b"deqzoo-export 3", 1)
    )
    with pytest.raises(ExportError, match="has format 3, this loader reads 2: use the loader.py"):
        load_exported(tmp_path / "next")


def test_a_float64_artefact_asks_for_64_bits(path, tmp_path):
    arrays = [{"name": "", "shape": [8, 8, 1], "dtype": "float64"}]
    about = {"input": {"arrays": arrays, "batch": None}}
    with pytest.raises(ExportError, match="computes in float64: set JAX_ENABLE_X64=1"):
        load_exported(repacked(path, tmp_path / "wide", **about))


def with_checksum(archive):
    """The file of an archive that nobody's exporter made."""
    return f"deqzoo-export 2 sha256 {hashlib.sha256(archive).hexdigest()}\n".encode() + archive


def zipped(members, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that come twice
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def described(about):
    return lambda members: {**members, "export.json": json.dumps(about(members)).encode()}


def changed(*keys, to):
    def about(members):
        told = at = json.loads(members["export.json"])
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = to
        return told

    return described(about)


def header(text):
    text = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def array(data):
    return lambda members: {**members, "parameters/deq/cell/W.npy": data}


def stored_as(value):
    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=True)
    return array(buffer.getvalue())


CRAFTED = {
    "no description": lambda members: {k: v for k, v in members.items() if k != "export.json"},
    "no array": lambda members: {k: v for k, v in members.items() if "cell/W" not in k},
    "no program": lambda members: {k: v for k, v in members.items() if k != "program.bin"},
    "nothing": lambda members: {},
    "a number": described(lambda members: 3),
    "nested": lambda members: {**members, "export.json": b"[" * 10**5},
    "bytes": lambda members: {**members, "export.json": bytes(range(128, 256))},
    "digits": lambda members: {**members, "export.json": b"9" * 5000},
    "no input": changed("input", to=None),
    "input of text": changed("input", "arrays", to="float32"),
    "another input": changed("input", "arrays", 0, "shape", to=[8, 8, 2]),
    "another batch": changed("input", "batch", to=3),
    "platforms of numbers": changed("platforms", to=[1]),
    "no platforms": changed("platforms", to=[]),
    "fewer arrays": changed("arrays", to=[]),
    "arrays of numbers": changed("arrays", to=[1]),
    "another dtype": changed("arrays", 0, "dtype", to="int32"),
    "another name": changed("arrays", 0, "name", to="../../etc/passwd"),
    "model a number": changed("model", to=1),
    "convention a text": changed("calling_convention", to="9"),
    "8 TB": array(header("{'descr': '<f4', 'fortran_order': False, 'shape': (2000000000000,)}")),
    "1e30": array(header("{'descr': '<f4', 'fortran_order': False, 'shape': (10**30,)}")),
    "a negative shape": array(header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}")),
    "no header": array(header("{'descr'")),
    "no array at all": array(b""),
    "pickled": stored_as(np.array([{}], object)),
    "another shape": stored_as(np.zeros((16, 15), np.float32)),
    "whole numbers": stored_as(np.zeros((16, 16), np.int32)),
    "big endian": stored_as(np.zeros((16, 16), ">f4")),
    "text": stored_as(np.full((16, 16), "a")),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_file_that_no_exporter_made_is_one_line(name, path, tmp_path):
    members = CRAFTED[name](unpack(path))
    (tmp_path / "m").write_bytes(with_checksum(zipped(members.items())))
    with pytest.raises(ExportError) as caught:
        load_exported(tmp_path / "m")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def grown(archive):
    """A directory that says that the first member is a gigabyte."""
    at = archive.index(b"PK\x01\x02") + 20
    return archive[:at] + (2**30).to_bytes(4, "little") * 2 + archive[at + 8 :]


BOMBS = {
    "compressed": lambda m: zipped([*m, ("zeros", bytes(2**28))], zipfile.ZIP_DEFLATED),
    "declared": lambda m: grown(zipped(m)),
    "cut off": lambda m: zipped(m)[:-30],
    "no archive": lambda m: b"PK",
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_file_takes_more_memory_than_it_is_long(name, path, tmp_path):
    data = with_checksum(BOMBS[name](list(unpack(path).items())))
    (tmp_path / "m").write_bytes(data)
    tracemalloc.start()
    with pytest.raises(ExportError, match="no artefact that deqzoo wrote"):
        load_exported(tmp_path / "m")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(data) + 2**21


def test_a_pipe_a_folder_and_a_name_that_is_too_long_are_no_artefacts(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("pipe", ".", "loop", "n" * 5000, "/dev/zero"):
        with pytest.raises(ExportError, match="there is no file"):
            load_exported(tmp_path / name)
    with pytest.raises(ExportError, match="exists and is no exported model"):
        deqzoo.export(None, tmp_path / "pipe")


@pytest.mark.slow
def test_an_artefact_tells_of_no_folder_of_the_machine_that_made_it(tmp_path):
    folder = tmp_path / "a folder of ours"
    folder.mkdir()
    rng = np.random.default_rng(0)
    np.savez(folder / "data.npz", x=rng.standard_normal((20, 3)), y=np.arange(20) % 2)
    settings = {"width": 4, "batch_size": "4", "steps": 1, "checkpoint_every": 1}
    first = TrainConfig(task=f"npz:{folder}/data.npz", workdir=str(folder / "first"), **settings)
    task = f"npz('{folder}/data.npz', seed=1)"
    init = str(folder / "first")
    second = TrainConfig(task=task, init_from=init, workdir=str(folder / "second"), **settings)
    for config in (first, second):
        list(train(config))
        members = build_artefact(deqzoo.load_run(config.workdir))
        data = members.to_bytes()
        for place in (ROOT, Path.home(), Path(sys.prefix), tmp_path):
            assert len(place.parts) > 1
            assert f"{place}/".encode() not in data
        assert b"a folder of ours" not in data
        assert b"wide_cell.py" in members.program  # names of files help whoever debugs
    assert members.description["config"]["task"] == "npz('data.npz', seed=1)"
    assert members.description["config"]["init_from"] == "first"


def test_weights_of_every_dtype_come_back(tmp_path):
    array = jnp.linspace(0, 1, 6).reshape(2, 3).astype(jnp.bfloat16)
    place = tmp_path / "half"
    place.write_bytes(Artefact({}, b"", {"a/b": np.asarray(array)}).to_bytes())
    found = loader._array(unpack(place)["a/b.npy"], jax.core.ShapedArray((2, 3), jnp.bfloat16))
    assert found.dtype == jnp.bfloat16
    assert found.tobytes() == np.asarray(array).tobytes()


def test_the_weights_are_read_without_jax(run, path):
    with zipfile.ZipFile(path) as archive, archive.open("parameters/deq/cell/W.npy") as file:
        stored = np.load(file)
    assert stored.tobytes() == np.asarray(run.model.deq.cell.W[...]).tobytes()


def test_the_scaling_that_is_told_makes_the_inputs_of_the_task(artefact):
    told, task = artefact.description["input"], catalog.tasks.get("digits")
    scaled = (task.read().test.x - told["mean"]) / told["deviation"]
    np.testing.assert_allclose(scaled.astype(np.float32), task.load().test.x, rtol=1e-6, atol=1e-7)


def test_readable_for_half_a_year():
    today = datetime.date(2026, 1, 1)
    for day in (today + datetime.timedelta(days=n) for n in range(0, 800, 13)):
        later = half_a_year_after(day)
        assert (later.year * 12 + later.month) - (day.year * 12 + day.month) == 6
        assert later.day == day.day or (later + datetime.timedelta(days=1)).day == 1


def test_a_wrong_artefact_is_found_out(run, artefact, path, tmp_path):
    name = "parameters/outputs/kernel"
    wrong = {**artefact.arrays, name: artefact.arrays[name] + np.float32(1e-3)}
    place = tmp_path / "wrong"
    place.write_bytes(dataclasses.replace(artefact, arrays=wrong).to_bytes())
    good = Comparison(run.model, load_exported(path), (8, 8, 1)).difference(4)
    bad = Comparison(run.model, load_exported(place), (8, 8, 1)).difference(4)
    assert good[0] == 0
    assert bad[0] > bad[1] == good[1]


def test_a_wrong_artefact_is_not_written(run, artefact, tmp_path, monkeypatch):
    name = "parameters/outputs/bias"
    wrong = dataclasses.replace(
        artefact, arrays={**artefact.arrays, name: artefact.arrays[name] + 1}
    )
    monkeypatch.setattr(command, "build_artefact", lambda *_, **__: wrong)
    settings = ExportConfig(workdir=str(run.path), output=str(tmp_path / "m"), calls=0)
    with pytest.raises(ExportError, match="differs from the model by 1 where rounding explains"):
        command.write(settings)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_verifies_and_measures(run, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "launch.export", f"--workdir={run.path}", "--output=m", "--calls=3"],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [place.name for place in tmp_path.iterdir()] == ["m"]
    about = load_exported(tmp_path / "m").description
    assert about["verified"]["difference"] == 0
    assert [each["batch"] for each in about["verified"]["latency"]] == [1, 128]
    for shown in ("largest difference from the model 0", "median of 3 calls", "any batch size"):
        assert shown in done.stdout
    assert f"until {about['readable_until']} at the latest" in done.stdout


def test_nothing_but_an_earlier_artefact_is_overwritten(run):
    settings = ExportConfig(workdir=str(run.path), output=str(run.path / "config.json"))
    with pytest.raises(UsageError, match=r"config.json exists and is no artefact of launch.export"):
        command.write(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"platforms": "cpu,gpu"}, "no platform is called 'gpu'.*There are: cpu, cuda, rocm, tpu"),
        ({"batch_size": -1}, "--batch_size must be >= 0, got -1"),
        ({"calls": -1}, "--calls must be >= 0, got -1"),
    ],
)
def test_impossible_settings_name_their_flag(settings, message):
    with pytest.raises(UsageError, match=message):
        ExportConfig(**settings)


def test_without_flatbuffers_the_command_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ExportError, match=r"pip install 'deqzoo\[export\]'"):
        command.write(ExportConfig(workdir=str(run.path)))


def test_the_median_leaves_the_first_calls_out(monkeypatch):
    ticks = iter([0, 9, 9, 18, 18, 27, 27, 28, 28, 30, 30, 33])  # 9, 9, 9, then 1, 2, 3 seconds
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    assert median_seconds(lambda: jnp.ones(()), 3) == 2


def with_solver_of(run, solver):
    model = dataclasses.replace(run.config, solver=solver).build_model((8, 8, 1), 10)
    nnx.update(model, nnx.state(run.model, nnx.Param))
    return dataclasses.replace(run, model=model)


def assert_equals_its_model(run, place, sizes):
    loaded = load_exported(place)
    for size in sizes:
        outputs, info = loaded(inputs(size))
        wanted, stats = expected(run.model, inputs(size))
        assert np.asarray(outputs).tobytes() == np.asarray(wanted).tobytes()
        assert np.array_equal(info["steps"], stats["steps"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "solver",
    [
        {"heavy_ball": "heavy_ball(contraction=0.8)"}.get(name, name)
        for name in catalog.solvers.names()
        if not catalog.solvers.load(name).needs_split and name != "direct"
    ],
)
def test_every_solver_exports_with_an_open_batch_size(solver, run, tmp_path):
    other = with_solver_of(run, solver)
    files.write(tmp_path / "m", build_artefact(other, platforms=("cpu", "cuda", "tpu")).to_bytes())
    assert_equals_its_model(other, tmp_path / "m", (1, 7))


def test_dense_newton_exports_with_a_fixed_batch_size_alone(run, tmp_path):
    other = with_solver_of(run, "direct")
    with pytest.raises(ExportError, match="inconclusive.*; with a fixed batch_size it may"):
        build_artefact(other)
    files.write(tmp_path / "m", build_artefact(other, batch_size=2).to_bytes())
    assert_equals_its_model(other, tmp_path / "m", (2,))
