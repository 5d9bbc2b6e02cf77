"""Guarantees are proved from above and kept; without one no bound is printed, logged or drawn."""

import contextlib
import hashlib
import json
import math
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import activations
import deqzoo
from deqzoo import catalog
from deqzoo.activation import measured
from deqzoo.activation.check import ActivationError
from deqzoo.activation.contract import Activation
from deqzoo.analysis import page, plots
from deqzoo.analysis.curves import curves
from deqzoo.analysis.finding import InapplicableError
from deqzoo.analysis.report import Examined, Report
from deqzoo.analysis.weights import weights
from deqzoo.models.classifier import Classifier
from deqzoo.nn import DEQ, ConvCell, Model
from deqzoo.nn.guarantee import NOTHING, Guarantee
from deqzoo.nn.guarantees.contraction import Contraction
from deqzoo.theory import Network, certify
from deqzoo.training import ConfigError, RunOptions, TrainConfig, Training
from deqzoo.training.devices import mesh
from deqzoo.training.devices.layout import Layout
from launch import sweep, train

PATH = ("deq", "cell", "W")


@dataclass(frozen=True)
class Scaled(Activation):
    """a tanh(b x)."""

    a: float
    b: float

    @property
    def slope(self):
        return 0.0, self.a * self.b

    @property
    def curvature(self):
        return self.a * self.b**2 * 4 / (3 * math.sqrt(3))

    def __call__(self, x):
        return self.a * jnp.tanh(self.b * x)


def plug_in(seed):
    return Scaled(*np.random.default_rng(seed).uniform(0.3, 3.0, 2).tolist())


def matrices(size, seed):
    """Gaussian ones at several scales, of rank one, positive, and a multiple of a rotation."""
    rng = np.random.default_rng(seed)
    gaussian = rng.standard_normal((size, size)) / size**0.5
    yield from (0.2 * gaussian, gaussian, 300 * gaussian, 4 * np.abs(gaussian))
    yield np.outer(gaussian[0], gaussian[:, 0]) * size
    yield 1.3 * np.linalg.qr(gaussian)[0]


def cases():
    for size in (1, 2, 7, 40):
        for seed in range(3):
            for weight in matrices(size, seed):
                yield plug_in(seed), {"deq": {"cell": {"W": jnp.asarray(weight, jnp.float32)}}}


def exact(guarantee, parameters):
    """L‖W‖₂ from singular values in float64."""
    weight = np.asarray(parameters["deq"]["cell"]["W"], np.float64)
    return guarantee.activation.lipschitz * float(np.linalg.svd(weight, compute_uv=False)[0])


@pytest.mark.slow
def test_bounds_lie_above_the_exact_value_and_the_sharp_one_barely():
    for activation, parameters in cases():
        guarantee = Contraction(activation, PATH)
        truth = exact(guarantee, parameters)
        assert truth <= float(guarantee.bound(parameters)) <= 1.03 * truth
        assert truth <= guarantee.sharp_bound(parameters) <= truth * (1 + 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0.95, 0.3])
@pytest.mark.parametrize("move", ["project", "rescale"])
def test_moved_parameters_meet_the_limit(move, limit):
    for activation, parameters in cases():
        guarantee = Contraction(activation, PATH)
        moved = jax.jit(getattr(guarantee, move))(parameters, limit)
        assert exact(guarantee, moved) <= limit
        assert guarantee.sharp_bound(moved) <= limit * (1 + 1e-9)
        if float(guarantee.bound(parameters)) <= limit:
            np.testing.assert_array_equal(*(t["deq"]["cell"]["W"] for t in (moved, parameters)))


def test_the_bound_is_the_factor_of_every_step():
    activation = plug_in(1)
    guarantee = Contraction(activation, ("W",))
    parameters = guarantee.rescale({"W": jnp.eye(4) + 0.5}, 0.9)
    rate = guarantee.rate(guarantee.sharp_bound(parameters))
    z = np.random.default_rng(0).standard_normal((2, 100, 4))
    f = activation.in_float64(np.einsum("ij,pnj->pni", np.asarray(parameters["W"], float), z))
    after, before = (np.linalg.norm(pair[0] - pair[1], axis=1) for pair in (f, z))
    assert np.all(after <= rate * before)
    assert guarantee.rate(1.0) is guarantee.rate(math.nan) is None


def test_what_is_not_finite_is_not_guaranteed():
    guarantee = Contraction(plug_in(0), ("W",))
    for wrong in (np.nan, np.inf):
        parameters = {"W": jnp.full((3, 3), wrong)}
        assert not guarantee.bound(parameters) < 1
        assert not guarantee.sharp_bound(parameters) < 1


def test_a_guarantee_that_moves_nothing_holds_by_construction():
    @dataclass(frozen=True)
    class Always(Guarantee):
        quantity, claim, theorem, source = "0", "idle", "nothing moves", "none"
        hypotheses = ()

        def bound(self, parameters):
            return jnp.zeros(())

    assert Always().by_construction
    assert not Contraction(plug_in(0), PATH).by_construction
    parameters = {"W": jnp.ones(3)}
    for name in ("rescale", "projection"):
        assert catalog.constraints.get(name).apply(parameters, (Always(),)) is parameters


# Measured bounds.

WRONG = '''"""Wrong."""
from dataclasses import dataclass
import jax.numpy as jnp
from deqzoo import Activation
__all__ = ["Wrong"]
@dataclass(frozen=True)
class Wrong(Activation):
    """tanh(2x) declared like tanh(x)."""
    slope = (0.0, 1.0)
    curvature = 0.8
    def __call__(self, x):
        """tanh(2x)."""
        return jnp.tanh(2 * x)
'''


@pytest.fixture
def dropped(tmp_path, monkeypatch):
    """A wrong plug-in in a file of a package called ``activations``."""
    (tmp_path / "wrong.py").write_text(WRONG)
    monkeypatch.setattr(activations, "__path__", [*activations.__path__, str(tmp_path)])
    from activations import wrong

    yield wrong.Wrong()
    sys.modules.pop("activations.wrong")


def test_the_list_of_our_own_files_is_fresh():
    found = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  activations/{file.name}"
        for file in sorted(Path(activations.__file__).parent.glob("[a-z]*.py"))
    ]
    written = Path(measured.__file__).with_name("ours.sha256").read_text().splitlines()
    assert written == found, "sha256sum activations/[a-z]*.py > deqzoo/activation/ours.sha256"
    assert all(measured.is_ours(activations.get(name)) for name in activations.names())


def test_a_file_dropped_among_ours_is_measured_before_anything_is_promised(dropped, tmp_path):
    assert not measured.is_ours(dropped)
    x, y = np.eye(2), np.full(2, 1e-5)
    network = Network.draw(dropped, 16, 2, s_w=0.4, s_a=0.0)
    certificate = certify(network, x, y)
    assert not certificate.certified
    assert "slope supremum" in str(certificate)
    with pytest.raises(ActivationError, match="slope supremum"):
        Classifier((4,), 2, activation=dropped, width=4, rngs=nnx.Rngs(0)).guarantees()


def test_an_edited_copy_of_our_file_is_not_ours(tmp_path, monkeypatch):
    shutil.copy(Path(activations.__file__).with_name("tanh.py"), tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import tanh

    assert measured.is_ours(tanh.Tanh())
    (tmp_path / "tanh.py").write_text((tmp_path / "tanh.py").read_text() + "\n")
    assert not measured.is_ours(tanh.Tanh())
    sys.modules.pop("tanh")


# Sharding.


def test_weights_lie_where_they_are_annotated():
    model = Classifier((4,), 2, width=4, rngs=nnx.Rngs(0))
    place = Layout(mesh.build("data:1", batch=6, devices=jax.devices()[:1]), model)
    assert {*place._annotated} == {PATH}
    model.inputs.kernel.set_metadata(out_sharding=(None, "tensor"))
    with pytest.raises(ConfigError, match="inputs/kernel is annotated to lie along 'tensor'"):
        Layout(place.mesh, model)


# Level C, end to end.


class Residual(Model):
    """A convolutional cell between two affine maps of every pixel: nothing is proved."""

    def __init__(
        self,
        spec,
        outputs,
        *,
        activation="relu",
        solver="picard",
        adjoint="implicit",
        rngs,
        dtype=jnp.float32,
    ):
        self.activation = catalog.activations.get(activation)
        self.lift = nnx.Linear(spec.shape[-1], 4, param_dtype=dtype, rngs=rngs)
        cell = ConvCell(4, 4, activation=self.activation, groups=2, rngs=rngs, dtype=dtype)
        self.deq = DEQ(cell, solver=solver, adjoint=adjoint)
        self.outputs = nnx.Linear(4, outputs, param_dtype=dtype, rngs=rngs)

    def stem(self, x):
        return self.lift(x)

    def head(self, z, injected):
        return self.outputs(jnp.mean(z, axis=(1, 2)))


SETTINGS = {
    "model": "residual",
    "activation": "relu",
    "batch_size": "32",
    "steps": 2,
    "log_every": 1,
    "solver": "picard(max_steps=60)",
    "adjoint": "implicit(solver='picard')",
}
BOUNDS = ("‖W‖", "well posed", "contraction", "is unique", "proved bound", "no guarantee above")


@pytest.fixture(scope="module", autouse=True)
def _registered():
    """Here alone: other tests look at all that a catalog holds."""
    catalog.models.register(Residual)
    yield
    del catalog.models._registered["residual"]


@pytest.fixture(scope="module")
def level_c(tmp_path_factory):
    """The folder of a run of level C, and what it printed."""
    folder = tmp_path_factory.mktemp("residual") / "run"
    printed = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rich.console.Console.print", lambda _, *a, **__: printed.extend(a))
        train.train(TrainConfig(workdir=str(folder), **SETTINGS), RunOptions())
    cells = [
        str(cell) for p in printed if hasattr(p, "columns") for c in p.columns for cell in c.cells
    ]
    return folder, "\n".join([*(p for p in printed if isinstance(p, str)), *cells])


def test_level_c_says_so_and_prints_no_bound(level_c):
    _, text = level_c
    assert text.count(NOTHING) == 2  # before training, and in the table after it
    assert not any(bound in text for bound in BOUNDS)


def test_level_c_logs_no_bound(level_c):
    folder, _ = level_c
    run = deqzoo.load_run(folder)
    assert run.summary["guarantees"] == [NOTHING]
    assert not any("bound" in row for row in [run.summary, *run.metrics])
    assert "0.0000" not in json.dumps(run.summary)


def texts(axes):
    """What a panel says, and its level lines."""
    said = [axes.get_ylabel(), axes.get_title()]
    said += [label for label in axes.get_legend_handles_labels()[1]]
    return " ".join(said), [line for line in axes.lines if len({*line.get_ydata()}) == 1]


@pytest.fixture
def panels(monkeypatch):
    """The panels of the last picture."""
    kept = {}
    original = plots.figure

    def spy(*args, **options):
        class Kept:
            def __enter__(self):
                self.block = original(*args, **options)
                kept["drawn"], kept["axes"] = self.block.__enter__()
                return kept["drawn"], kept["axes"]

            def __exit__(self, *error):
                return self.block.__exit__(*error)

        return Kept()

    monkeypatch.setattr(plots, "figure", spy)
    return kept


def test_level_c_draws_no_bound(level_c, panels, tmp_path):
    run = deqzoo.load_run(level_c[0])
    curves(run).draw(tmp_path / "c.png")
    for panel in panels["axes"].flat:
        said, levels = texts(panel)
        assert not any(bound in said for bound in BOUNDS)
        assert not [line for line in levels if line.get_ydata()[0] == 1]
    assert NOTHING in texts(panels["axes"][1, 1])[0]
    with pytest.raises(InapplicableError, match="nothing is proved"):
        weights(run)


@pytest.mark.parametrize(("left", "scale"), [(0.0, "linear"), (1e-6, "log")])
def test_residuals_are_drawn_on_a_logarithmic_axis_where_there_are_any(
    left, scale, panels, tmp_path
):
    rest = {"loss": 1.0, "solver_steps": 1, "gradient_norm": 1.0}
    metrics = [{"step": i, "residual": left, "test_residual": left, **rest} for i in (1, 2)]
    plots.training(metrics, tmp_path / "a.png", "title", "")
    assert panels["axes"][1, 1].get_yscale() == scale


def test_a_guarantee_is_drawn_with_its_limit(panels, tmp_path):
    rest = {"loss": 1.0, "solver_steps": 3, "gradient_norm": 1.0}
    metrics = [{"step": i, "bound": 0.8 + i / 20, **rest} for i in (1, 2)]
    plots.training(metrics, tmp_path / "a.png", "title", "L‖W‖₂")
    said, levels = texts(panels["axes"][1, 1])
    assert "L‖W‖₂" in said
    assert [line.get_ydata()[0] for line in levels] == [1]


def test_level_c_is_reported_as_such(level_c, tmp_path):
    run = deqzoo.load_run(level_c[0])
    report = Report((Examined("run", run, ()),))
    assert report.to_dict()["runs"][0]["guarantees"] == [NOTHING]
    text = report.html(tmp_path)
    assert page.paragraph(f"{NOTHING}.") in text


def test_a_sweep_names_the_cells_of_level_c():
    cell = {"state": "done", "seeds": {"0": {}}, "deviation": {"test_loss": None, "bound": None}}
    cells = {
        "proved": {**cell, "mean": {"test_loss": 1.0, "bound": 0.80001}},
        "not": {**cell, "mean": {"test_loss": 1.0}},
    }
    columns = sweep._table({"cells": cells, "seeds": [0]}).columns
    (found,) = [[*column.cells] for column in columns if "bound" in str(column.header)]
    assert found == ["0.8001", NOTHING]


def test_level_c_refuses_a_constraint_that_was_asked_for(tmp_path):
    for recipe in ("projection", "rescale(margin=0.1)"):
        config = TrainConfig(workdir=str(tmp_path), constraint=recipe, **SETTINGS)
        with pytest.raises(ConfigError, match="has nothing to keep: Residual declares no"):
            Training(config)
    config = TrainConfig(workdir=str(tmp_path), constraint="monitor", **SETTINGS)
    with contextlib.closing(Training(config)) as run:
        assert run.setup.guarantees[0].startswith(NOTHING)
