"""What the analyses measure is what is known of maps and runs by other means."""

import json
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import activations
import deqzoo
from deqzoo import catalog
from deqzoo.analysis.compare import compare
from deqzoo.analysis.convergence import convergence
from deqzoo.analysis.curves import last_of
from deqzoo.analysis.depth import depth, effective_depth
from deqzoo.analysis.finding import InapplicableError
from deqzoo.analysis.gram import gram, spectrum
from deqzoo.analysis.history import as_drawn, history
from deqzoo.analysis.jacobian import jacobian_operator, jacobian_spectrum
from deqzoo.analysis.metric import Metric
from deqzoo.analysis.path_independence import path_independence
from deqzoo.analysis.promises import promises
from deqzoo.analysis.subject import subject
from deqzoo.analysis.weights import weights
from deqzoo.data.losses.square import Square
from deqzoo.models.wide import Wide
from deqzoo.nn import DEQ
from deqzoo.nn.guarantees.contraction import Contraction
from deqzoo.nn.model import Model
from deqzoo.runs.measures import metrics_of
from deqzoo.storage.workdir import WorkdirError
from deqzoo.theory import Certificate
from deqzoo.training import TrainConfig, train

SMALL = {
    "width": 16,
    "batch_size": "64",
    "solver": "picard",
    "adjoint": "implicit(solver='picard')",
    "log_every": 1,
    "eval_every": 2,
    "checkpoint_every": 2,
    "steps": 4,
}
CERTIFIED = {
    **SMALL,
    "model": "wide",
    "task": "sphere(examples=6, dimension=6)",
    "activation": "tanh",
    "width": 48,
    "loss": "square",
    "optimizer": "gd",
    "batch_size": "full",
    "constraint": "monitor",
    "precision": "float64",
    "certify": True,
    "init": "certified",
    "learning_rate": "certified",
}


class Cell(nnx.Module):
    """z -> squash(A z + b)."""

    def __init__(self, A, squash):
        self.A = nnx.Param(jnp.asarray(A, jnp.float32))
        self.squash = squash

    def __call__(self, z, b):
        return self.squash(z @ self.A[...].T + b)

    def start(self, b):
        return jnp.zeros_like(b)


class Bare(Model):
    """The cell and nothing else."""

    def __init__(self, A, squash=lambda u: u, solver="picard"):
        self.activation = activations.get("identity")
        self.deq = DEQ(Cell(A, squash), solver=solver)

    def stem(self, x):
        return x

    def head(self, z, injected):
        return z

    def guarantees(self):
        return (Contraction(self.activation, ("deq", "cell", "A")),)


def dense(model, x):
    """The Jacobian of the cell at the equilibrium of one input, formed."""
    z = model.deq(x[None]).value[0]
    return np.asarray(jax.jacfwd(lambda z: model.deq.cell(z[None], x[None])[0])(z), np.float64)


def turning(size, radius, rest):
    """A matrix whose leading eigenvalues are a complex pair, in a skew basis."""
    rng = np.random.default_rng(0)
    A = np.zeros((size, size))
    A[:2, :2] = radius * np.array([[0.6, -0.8], [0.8, 0.6]])
    A[2:, 2:] = rest * rng.standard_normal((size - 2, size - 2)) / np.sqrt(size)
    basis = np.eye(size) + 0.3 * rng.standard_normal((size, size)) / np.sqrt(size)
    return basis @ A @ np.linalg.inv(basis)


@pytest.mark.parametrize("size", [8, 80], ids=["dense", "arnoldi"])
@pytest.mark.parametrize("squash", [lambda u: u, jnp.tanh], ids=["linear", "tanh"])
def test_radius_and_norm_are_those_of_the_dense_jacobian(size, squash):
    A = turning(size, 0.7, 0.3)
    model = Bare(A, squash)
    x = 0.2 * jax.random.normal(jax.random.key(1), (3, size))
    found = jacobian_spectrum(model, x)
    for i in range(3):
        J = dense(model, x[i])
        values = np.linalg.eigvals(J)
        assert found.radius[i] == pytest.approx(np.max(np.abs(values)), rel=1e-3)
        assert found.norm[i] == pytest.approx(np.linalg.norm(J, 2), rel=1e-3)
        assert abs(found.leading[i, 0].imag) > 0.1
    assert found.bound == pytest.approx(np.linalg.norm(A, 2), rel=1e-6)
    assert np.all(found.radius <= found.norm * 1.001)
    assert np.all(found.norm <= found.bound * 1.001)


@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_a_jacobian_without_gaps_is_no_obstacle(factor):
    found = jacobian_spectrum(Bare(factor * np.eye(60)), jnp.ones((1, 60)))
    assert found.radius[0] == pytest.approx(factor, abs=1e-5)
    assert found.norm[0] == pytest.approx(factor, abs=1e-5)


def test_a_filled_disc_of_eigenvalues_has_the_right_radius():
    A = 0.9 * np.random.default_rng(2).standard_normal((150, 150)) / np.sqrt(150)
    found = jacobian_spectrum(Bare(A), jnp.ones((1, 150)))
    assert found.radius[0] == pytest.approx(np.max(np.abs(np.linalg.eigvals(A))), rel=1e-3)


def test_the_operator_and_its_transpose_agree():
    model = Bare(turning(12, 0.7, 0.3), jnp.tanh)
    x = jnp.ones((1, 12))
    operator = jacobian_operator(model, x, model.deq(x).value)
    u, v = np.random.default_rng(3).standard_normal((2, 12))
    assert u @ operator.matvec(v) == pytest.approx(operator.rmatvec(u) @ v, rel=1e-5)


def test_halving_needs_the_known_number_of_steps():
    model = Bare(np.eye(3) / 2)
    x = jnp.ones((5, 3))
    found = depth(model, x, Metric("loss", Square(), np.zeros((5, 3), np.float32)))
    # z_K = (1 - 2^-K) z*, so the loss is (1 - 2^-K)^2 of its limit: within 1 % from K = 8 on.
    assert found.solvers == ("picard",)
    assert found.effective == (8,)
    np.testing.assert_allclose(
        found.scores[0], (1 - 0.5 ** found.steps[0]) ** 2 * found.equilibrium, rtol=1e-4
    )
    # Evaluation k sees the residual 2^-k z*/(1 - 2^-k), below 1e-3 from k = 10 on.
    assert np.all(found.picard == 10)
    trace = convergence(model, x).traces[0]
    k = np.arange(1, 11)
    np.testing.assert_allclose(trace.median[:10], 0.5**k / (1 - 0.5**k), rtol=1e-3)
    assert trace.converged.all()


def test_solvers_are_compared_under_one_tolerance():
    rates = np.diag(np.linspace(0.5, 0.95, 6))
    found = convergence(Bare(rates, solver="anderson(rtol=1e-4)"), jnp.ones((4, 6)))
    anderson, picard = found.traces
    assert (anderson.solver, picard.solver) == ("anderson", "picard")
    assert anderson.steps.max() < picard.steps.max()
    for trace in found.traces:
        assert trace.median[-1] <= 1e-4
        assert np.all(trace.low <= trace.median)
        assert np.all(trace.median <= trace.high)


def test_the_effective_depth_of_a_metric_that_comes_back():
    assert effective_depth(np.array([0, 1, 2, 3]), [True, False, True, True]) == 2
    assert effective_depth(np.array([0, 1]), [True, False]) is None


def test_the_metric_is_looked_at_until_the_slowest_example_has_arrived():
    """Along its own axis evaluation k of an example sees ρᵏ(1 - ρ)/(1 - ρᵏ⁺¹) of its value."""
    rates, rtol = (0.1, 0.97), 1e-3
    model = Bare(np.diag(rates), solver=f"picard(predict=False, rtol={rtol})")
    x = jnp.eye(2)
    found = depth(model, x, Metric("loss", Square(), np.zeros((2, 2), np.float32)))
    k = np.arange(300)
    relative = [rate**k * (1 - rate) / (1 - rate ** (k + 1)) for rate in rates]
    needed = [1 + int(np.argmax(each <= rtol)) for each in relative]
    assert found.picard.tolist() == needed
    assert needed[0] < 10 < 100 < needed[1] == found.steps[0][-1]
    assert found.scores[0][-1] == pytest.approx(found.equilibrium, rel=1e-6)


def test_two_stable_equilibria_are_found_out():
    model = Bare(2 * np.eye(1), jnp.tanh)  # z = tanh(2z + b) has three solutions for small b
    x = jnp.full((6, 1), 0.01)
    found = path_independence(model, x, Metric("loss", Square(), np.zeros((6, 1), np.float32)))
    assert found.converged.all()
    assert found.dependent.any()
    assert not found.agree.all()
    assert found.distance.max() == pytest.approx(2, abs=0.05)  # they have opposite signs


def test_a_contraction_forgets_its_start():
    model = Bare(turning(8, 0.5, 0.2), jnp.tanh)
    x = jax.random.normal(jax.random.key(0), (6, 8))
    found = path_independence(model, x, Metric("loss", Square(), np.zeros((6, 8), np.float32)))
    assert found.agree.all()
    assert not found.dependent.any()
    assert found.alignment == pytest.approx(1, abs=1e-5)
    assert max(found.score) == pytest.approx(min(found.score), rel=1e-3)


def test_an_end_that_is_nan_is_as_far_as_can_be_and_no_equilibrium():
    model = Bare(0.5 * np.eye(3), lambda u: jnp.where(jnp.abs(u) < 3, jnp.tanh(u), jnp.nan))
    x = jax.random.normal(jax.random.key(0), (6, 3)) / 4
    found = path_independence(
        model, x, Metric("loss", Square(), np.zeros((6, 3), np.float32)), scales=(0.1, 1e4)
    )
    far = found.starts.index("normal, size 10000")
    assert np.all(found.distance[far] == 2)
    assert np.all(found.cosine[far] == 0)
    assert not found.agree.any()
    assert not found.dependent.any()  # nothing was found there
    assert np.all(np.delete(found.distance, far, axis=0) <= found.tolerance)


class TwoMatrices(Bare):
    """z -> A z + b and a matrix more, both limited."""

    def __init__(self, A, V):
        super().__init__(A)
        self.V = nnx.Param(jnp.asarray(V, jnp.float32))

    def guarantees(self):
        return (*super().guarantees(), Contraction(self.activation, ("V",)))


@pytest.mark.parametrize("larger", ["A", "V"])
def test_of_two_limited_matrices_the_larger_is_told(larger, monkeypatch):
    A, V = (np.diag([norm, 0.1]) for norm in ((0.8, 0.3) if larger == "A" else (0.3, 0.8)))
    model = TwoMatrices(A, V)
    run = SimpleNamespace(model=model, metrics=[])
    monkeypatch.setattr(
        "deqzoo.analysis.weights.history", lambda run: [(0, TwoMatrices(V, A)), (2, model)]
    )
    assert weights(run).bound == pytest.approx([0.8, 0.8], rel=1e-6)
    assert weights(run).spectra["V"][1] == pytest.approx(np.diag(V), rel=1e-6)
    assert jacobian_spectrum(model, jnp.ones((1, 2))).bound == pytest.approx(0.8, rel=1e-6)


def test_the_gram_spectrum_is_that_of_the_matrix():
    model = Wide((5,), 1, activation="tanh", width=24, rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).standard_normal((7, 5))
    expected = np.linalg.eigvalsh(model.network().gram(x))[::-1]
    np.testing.assert_allclose(spectrum(model, x), expected, rtol=1e-8)
    bare = Bare(turning(4, 0.5, 0.2), jnp.tanh)
    x = jax.random.normal(jax.random.key(0), (6, 4))
    Z = np.asarray(bare.deq(x).value, np.float64)
    np.testing.assert_allclose(spectrum(bare, x), np.linalg.eigvalsh(Z @ Z.T)[::-1], atol=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "gelu"
    list(train(TrainConfig(**SMALL, workdir=str(path))))
    return path


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "certified"
    with jax.enable_x64(True):
        list(train(TrainConfig(**CERTIFIED, workdir=str(path))))
        yield deqzoo.load_run(path)


def test_the_start_of_a_run_is_drawn_again(folder):
    run = deqzoo.load_run(folder)
    first = run.config.build_model((8, 8, 1), 10)
    again = as_drawn(run)
    np.testing.assert_array_equal(again.inputs.kernel[...], first.inputs.kernel[...])
    assert [step for step, _ in history(run)] == [0, 2, 4]


def test_weights_are_what_training_recorded(folder):
    found = weights(deqzoo.load_run(folder))
    recorded = dict(found.recorded)
    assert found.step == (0, 2, 4)
    for step, value in zip(found.step[1:], found.bound[1:], strict=True):
        assert value == pytest.approx(recorded[step], rel=1e-6)
    assert max(found.spectra["deq/cell/W"][1]) == pytest.approx(found.bound[-1], rel=1e-6)


def test_more_examples_than_units_are_cut(folder):
    run = deqzoo.load_run(folder)
    data = catalog.tasks.get("digits").load()
    found = gram(run, subject(run, data, 40).train.x)
    assert (found.examples, found.units) == (8, 16)
    assert np.all(found.smallest > 0)


def test_a_run_without_a_certificate_made_no_promise(folder):
    with pytest.raises(InapplicableError, match="without --certify"):
        promises(deqzoo.load_run(folder))


def test_other_data_are_refused(folder):
    run = deqzoo.load_run(folder)
    other = catalog.tasks.get("digits(scaling='sphere')").load()
    with pytest.raises(WorkdirError, match="are not those that .* was trained on"):
        subject(run, other)


def test_the_sample_is_the_same_every_time(folder):
    run = deqzoo.load_run(folder)
    data = catalog.tasks.get("digits").load()
    a, b = subject(run, data, 10), subject(run, data, 10)
    np.testing.assert_array_equal(a.train.x, b.train.x)
    assert len(subject(run, data, 10_000).test.x) == 360


def test_promises_are_those_of_training(certified):
    found = promises(certified)
    summary = certified.summary
    assert found.certified
    assert not found.alarms
    assert found.worst_ratio == summary["loss_ratio"] <= found.certified_ratio < 1
    assert np.all(found.loss <= found.bound * (1 + 1e-9))
    assert found.loss[0] == pytest.approx(found.bound[0])
    np.testing.assert_allclose(found.loss, found.predicted, rtol=1e-3)


def test_the_smallest_eigenvalue_is_the_certified_one_and_the_recorded_one(certified):
    data = catalog.tasks.get(certified.config.task).load()
    found = gram(certified, subject(certified, data).train.x)
    start = dict(zip(found.step, found.smallest, strict=True))
    assert start[0] == pytest.approx(promises(certified).lambda_0, rel=1e-9)
    assert start[4] == pytest.approx(last_of(certified.metrics, "lambda_min"), rel=1e-9)


def test_the_loss_of_a_certified_run_has_its_label_scale(certified):
    loss = metrics_of(certified)["loss"]
    assert 0 < loss.target_scale < 1
    data = catalog.tasks.get(certified.config.task).load()
    found = subject(certified, data)
    outputs, _ = certified.model(found.test.x)
    assert found.metric(outputs) == pytest.approx(certified.summary["test_loss"], rel=1e-9)


def test_a_certificate_survives_its_file(certified):
    text = (certified.path / "certificate.json").read_text()
    again = Certificate.from_dict(json.loads(text))
    assert again.to_json() == text
    assert again.certified
    np.testing.assert_array_equal(again.bound(range(4)), again.bound(np.arange(4)))


def changed(run, name, loss, **settings):
    """The same run under another name, with other settings and a last loss of its own."""
    return replace(
        run,
        path=run.path.with_name(name),
        config=replace(run.config, **settings),
        metrics=[*run.metrics[:-1], {**run.metrics[-1], "test_loss": loss}],
    )


def test_seeds_are_averaged_and_settings_told_apart(folder):
    run = deqzoo.load_run(folder)
    runs = [
        changed(run, "a", 1.0),
        changed(run, "b", 2.0, seed=1),
        changed(run, "c", 5.0, activation="tanh"),
    ]
    found = compare(runs)
    assert found.names == ("a", "b", "c")
    assert found.settings == {"activation": ("gelu", "gelu", "tanh"), "seed": (0, 1, 0)}
    assert found.final["test_loss"] == (1.0, 2.0, 5.0)
    (group,) = found.groups
    assert group.runs == ("a", "b")
    assert group.mean["test_loss"] == 1.5
    assert group.deviation["test_loss"] == pytest.approx(0.5**0.5)
    assert not found.notes
    with pytest.raises(ValueError, match="at least two runs, got 1"):
        compare(runs[:1])


def test_runs_on_other_tasks_are_not_comparable(folder, certified):
    found = compare([deqzoo.load_run(folder), certified])
    assert any("their task" in note for note in found.notes)
    assert "test loss (dots)" in found.seen  # the certified run holds nothing out


def test_runs_are_compared_on_the_validation_split(folder, tmp_path):
    run = deqzoo.load_run(folder)
    found = compare([changed(run, "a", 1.0), changed(run, "b", 2.0, seed=1)])
    assert {"validation_loss", "validation_accuracy", "test_accuracy"} <= found.final.keys()
    assert "validation loss (dots)" in found.seen
    assert "accuracy on the validation split" in found.seen
    assert found.draw(tmp_path / "picture.png").stat().st_size > 10_000
