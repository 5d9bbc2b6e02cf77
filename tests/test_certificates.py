"""Certificates hold where they are given, and are not given where a hypothesis fails."""

import functools
import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import activations
from deqzoo.activation.contract import Activation
from deqzoo.activation.digits import at_most
from deqzoo.models.classifier import Classifier
from deqzoo.models.wide import Wide
from deqzoo.theory import (
    InitialisationError,
    Network,
    WideLimit,
    certified_start,
    certify,
    conditions,
    start_from,
)
from deqzoo.theory.certificate import RELATIONS, compare
from deqzoo.theory.network import descend
from deqzoo.theory.prediction import predict
from deqzoo.theory.statements import LING

A = "Theorem A"


def on_sphere(rng, n, d):
    x = rng.standard_normal((d, n))
    return (x / np.linalg.norm(x, axis=0) * math.sqrt(d)).T


def drawn(name="tanh", width=128, n=6, d=8, s_a=0.0, scale=1e-4, outputs=1):
    rng = np.random.default_rng(0)
    x, y = on_sphere(rng, n, d), scale * rng.standard_normal((n, outputs))
    act = activations.get(name)
    return Network.draw(act, width, d, outputs, s_w=act.default_s_w, s_a=s_a, seed=5), x, y


def failed(certificate, theorem=""):
    """The lines that fail."""
    return [
        line.name
        for each in certificate.theorems
        if each.name.startswith(theorem)
        for line in each.conditions
        if not line.holds
    ]


def run(network, x, y, learning_rate, steps):
    """(loss, Z, network) before every step of gradient descent, in float64."""
    weights = (network.W, network.U, network.a)
    with jax.enable_x64(True):
        for _ in range(steps):
            here = replace(network, **dict(zip("WUa", map(np.asarray, weights), strict=True)))
            weights, loss, Z = descend(network.activation, *weights, x, y, learning_rate)
            yield float(loss), np.asarray(Z), here


# What is certified holds.


def assert_certificate_holds(certificate, network, x, y, steps):
    """Rate, distances, λ_min and L‖W‖₂ at every step, without any slack but rounding."""
    descent, slack = certificate.descent, 1 + 1e-12
    before, bounds = None, certificate.bound(range(steps))
    steps_of_descent = run(network, x, y, descent.learning_rate, steps)
    for bound, (loss, Z, here) in zip(bounds, steps_of_descent, strict=True):
        assert loss <= bound * slack
        if before is not None:
            assert loss <= descent.rate() * before * slack
        assert np.linalg.eigvalsh(Z @ Z.T)[0] >= descent.lambda_0 / 2
        assert network.activation.lipschitz * np.linalg.norm(here.W, 2) < 1
        assert np.linalg.norm(here.W - network.W) <= descent.delta
        assert np.linalg.norm(here.a - network.a) <= descent.delta
        before = loss


def random_problem(seed):
    """Any activation, scale, norms; labels and readout near what passes.

    Fifty seeds share their sizes, since every size is compiled anew.
    """
    sizes, rng = np.random.default_rng(seed // 50), np.random.default_rng(seed)
    n, d, m = int(sizes.integers(1, 7)), int(sizes.integers(2, 9)), int(sizes.integers(16, 200))
    act = activations.get(str(rng.choice(activations.names())))
    x = on_sphere(rng, n, d) * (rng.uniform(0.5, 2, (n, 1)) if rng.random() < 0.5 else 1)
    y = rng.standard_normal((n, int(sizes.integers(1, 4))))
    s_w = rng.uniform(0.1, 0.45) / act.lipschitz
    network = Network.draw(act, m, d, y.shape[1], s_w=s_w, s_u=rng.uniform(0.5, 3), s_a=0, seed=rng)
    scale = certify(network, x, y, predict_loss=False).label_scale
    y = y * scale * rng.uniform(0.05, 1.2)  # most of these are certified
    if rng.random() < 0.3:
        size = 0.01 * rng.random() * np.sqrt(m) / m
        network = replace(network, a=size * rng.standard_normal(network.a.shape))
    return network, x, y


def check_problems(seeds, steps=25):
    """How many of the problems were certified; each that is keeps its certificate."""
    count = 0
    for seed in seeds:
        network, x, y = random_problem(seed)
        certificate = certify(network, x, y, predict_loss=False)
        if certificate.certified and certificate.loss > 0:
            assert_certificate_holds(certificate, network, x, y, steps)
            count += 1
    return count


@pytest.mark.slow
@pytest.mark.parametrize("half", range(2))
def test_no_certified_inequality_is_violated_in_random_problems(half):
    assert check_problems(range(1000 + 50 * half, 1050 + 50 * half)) >= 20


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def misleading(act, factor, x):
    """``factor`` times φ with the derivative of φ."""
    return factor * act(x)


@misleading.defjvp
def _(act, factor, primals, tangents):
    return factor * act(*primals), jax.jvp(act, primals, tangents)[1]


@dataclass(frozen=True)
class Lying(Activation):
    """An activation whose values, derivative and declared slopes do not belong together."""

    of: Activation
    lie: str
    factor: float

    @property
    def slope(self):
        low, high = self.of.slope
        return (low, high / self.factor) if self.lie == "declared" else (low, high)

    @property
    def curvature(self):
        return self.of.curvature

    @property
    def kinks(self):
        return self.of.kinks

    def __call__(self, x):
        if self.lie == "custom_jvp":
            return misleading(self.of, self.factor, x)
        hidden = {
            "stopped": lambda x: (self.factor - 1) * self.of(x),
            "straight through": lambda x: jnp.round(self.factor * x) / self.factor - x,
            "late": lambda x: (self.factor - 1) * jnp.clip(x - 40 * self.factor, 0, 9),
            "declared": jnp.zeros_like,
        }[self.lie]
        return self.of(x) + jax.lax.stop_gradient(hidden(x))


LIES = ("custom_jvp", "stopped", "straight through", "late", "declared")


@pytest.mark.quick("custom_jvp")
@pytest.mark.parametrize("lie", LIES)
def test_what_lies_is_never_certified_in_random_problems(lie):
    rng = np.random.default_rng(LIES.index(lie))
    for name in rng.choice(["tanh", "relu", "gelu", "sin", "softplus", "silu", "elu"], 3, False):
        act = Lying(activations.get(str(name)), lie, float(rng.uniform(1.05, 3)))
        x, y = on_sphere(rng, 4, 5), 1e-6 * rng.standard_normal((4, 1))
        network = Network.draw(act, 64, 5, s_w=0.1 / act.lipschitz, s_a=0.0, seed=rng)
        certificate = certify(network, x, y, predict_loss=False)
        assert not certificate.certified
        assert "declares what is not so" in str(certificate)


def test_dependent_features_are_not_certified_even_for_zero_targets():
    network, x, y = drawn()
    assert not certify(network, np.vstack([x, x[:1]]), np.zeros(7)).certified


def test_a_smaller_step_keeps_its_own_rate():
    network, x, y = drawn()
    certificate = certify(network, x, y)
    step = certificate.descent.learning_rate / 10
    losses = [loss for loss, _, _ in run(network, x, y, step, 10)]
    assert np.all(losses <= certificate.bound(range(10), step) * (1 + 1e-12))
    with pytest.raises(ValueError, match="covers learning rates in"):
        certificate.bound([1], 11 * step)


REFERENCE = json.loads((Path(__file__).parent / "reference_values.json").read_text())[
    "gradient_descent_expected"
]


def reference_problem(name, s_a):
    rng = np.random.default_rng(1)
    x = on_sphere(rng, 8, 8)
    y = rng.standard_normal((8, 1))
    return Network.draw(activations.get(name), 512, 8, s_w=0.4, s_a=s_a, seed=5), x, y


@pytest.mark.quick("tanhA", "reluL")
@pytest.mark.parametrize(
    "row", REFERENCE["certified"], ids=lambda r: r["activation"] + r["certificate"]
)
def test_certified_steps_and_rates_equal_the_reference(row):
    """Its δ comes from a coarse grid, hence one percent; labels twice as large fail."""
    network, x, y = reference_problem(row["activation"], 0.0)
    scale = 2.0 ** round(math.log2(row["label_scale"]))
    certificate, doubled = (
        certify(network, x, y * c, predict_loss=False) for c in (scale, 2 * scale)
    )
    measured = row["certificate"] == "A"
    form = "descent" if measured else "a_priori"
    descent = getattr(certificate, form)
    assert descent.lambda_0 == pytest.approx(row["lambda_0"], rel=2e-5)
    assert descent.delta == pytest.approx(row["delta"], rel=1e-2)
    assert descent.learning_rate == pytest.approx(row["eta"], rel=1e-3)
    assert 1 - descent.rate() == pytest.approx(1 - row["predicted_rate"], rel=1e-3, abs=1e-15)
    assert getattr(doubled, form) is None
    if measured:
        losses = [loss for loss, _, _ in run(network, x, y * scale, descent.learning_rate, 41)]
        ratios = np.array(losses[1:]) / losses[:-1]
        assert 1 - ratios.max() == pytest.approx(1 - row["worst_ratio"], rel=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("row", REFERENCE["practical"], ids=lambda row: row["activation"])
def test_the_tangent_kernel_predicts_the_practical_run(row):
    network, x, y = reference_problem(row["activation"], 1.0)
    certificate = certify(network, x, y)
    prediction = certificate.prediction
    assert not certificate.certified
    m = network.width
    assert prediction.eigenvalues[0] / m == pytest.approx(row["lambda_min_H_over_width"], rel=1e-3)
    assert prediction.eigenvalues[-1] / m == pytest.approx(row["lambda_max_H_over_width"], rel=1e-3)
    step = prediction.learning_rate
    assert prediction.rate(step) == pytest.approx(row["ntk_rate"], rel=1e-6)
    losses = [loss for loss, _, _ in run(network, x, y, step, 41)]
    assert (
        losses[0] == pytest.approx(certificate.loss) == pytest.approx(prediction.loss([0], step)[0])
    )
    assert losses[40] == pytest.approx(row["loss_40"], rel=1e-3)
    assert prediction.loss([40], step)[0] == pytest.approx(row["loss_40_linearised"], rel=1e-3)
    assert abs(losses[40] / prediction.loss([40], step)[0] - 1) < 0.35


@pytest.mark.slow
def test_the_closed_form_gradient_is_that_of_the_model():
    with jax.enable_x64(True):
        model = Wide(
            (5,),
            2,
            activation="gelu",
            width=24,
            solver="picard(rtol=1e-14)",
            rngs=nnx.Rngs(0),
            dtype=jnp.float64,
        )
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((6, 5)), rng.standard_normal((6, 2))
        graph, state = nnx.split(model)

        def loss(state):
            return jnp.sum((nnx.merge(graph, state)(x)[0] - y) ** 2) / 2

        gradient = nnx.to_pure_dict(jax.grad(loss)(state))
        network = model.network()
        moved, value, _ = descend(network.activation, network.W, network.U, network.a, x, y, 1.0)
        assert float(value) == pytest.approx(float(loss(state)), rel=1e-12)
        expected = (gradient["deq"]["cell"]["W"], gradient["U"], gradient["a"])
        for before, after, slope in zip(
            (network.W, network.U, network.a), moved, expected, strict=True
        ):
            np.testing.assert_allclose(before - np.asarray(after), slope, atol=1e-11)


def test_norms_are_bounded_from_above_and_eigenvalues_from_below(monkeypatch):
    """From a coarse solve too; W = c times a reflection has the norm c exactly."""
    rng = np.random.default_rng(0)
    v = rng.standard_normal((48, 1))
    W = 0.5 * (np.eye(48) - 2 * v @ v.T / np.sum(v * v))
    x, U, a = rng.standard_normal((4, 6)), 3.0 * np.eye(48, 6), 0.25 * np.eye(1, 48)
    network, y = Network(activations.get("tanh"), W, U, a), np.zeros(4)
    Z, _ = network.equilibrium(x)
    values = np.linalg.svd(Z, compute_uv=False)
    for rtol in (1e-2, 1e-5, 1e-14):
        monkeypatch.setattr("deqzoo.theory.network.SOLVER", f"picard(rtol={rtol}, max_steps=5000)")
        jax.clear_caches()
        at = certify(network, x, y, predict_loss=False).measured
        assert (at.norm_w >= 0.5 * (1 - 1e-15), at.norm_u >= 3, at.norm_a >= 0.25) == (True,) * 3
        assert at.norm_w == pytest.approx(0.5, rel=1e-8)
        assert at.lambda_0 <= values[-1] ** 2
        assert at.norm_z >= values[0]
        assert at.error >= np.linalg.norm(Z @ a.T)


# What fails is not certified, and says which line.


@dataclass(frozen=True)
class Steep(Activation):
    """Declares half its slope."""

    slope = (0.0, 1.0)
    curvature = 8 / (3 * math.sqrt(3))

    def __call__(self, x):
        return 2 * jnp.tanh(x)


def with_wrong_bounds(network, x, y):
    return replace(network, activation=Steep(), W=network.W / 2), x, y


def with_a_large_weight(network, x, y):
    return replace(network, W=network.W * 1.4), x, y


def with_parallel_inputs(network, x, y):
    return network, np.vstack([x, x[2:3]]), np.vstack([y, y[:1]])


def with_antipodal_inputs(network, x, y):
    return network, np.vstack([x, -x[2:3]]), np.vstack([y, y[:1]])


def with_nan_inputs(network, x, y):
    return network, np.where(x == x[1, 2], np.nan, x), y


def with_nan_targets(network, x, y):
    return network, x, np.where(y == y[1], np.nan, y)


def with_nan_weights(network, x, y):
    return replace(network, U=np.where(network.U[3, 1] == network.U, np.nan, network.U)), x, y


def with_fewer_units_than_inputs(network, x, y):
    return Network.draw(network.activation, 5, x.shape[1], s_w=0.3, s_a=0.0), x, y


def with_large_labels(network, x, y):
    return network, x, 1e4 * y


def with_a_large_readout(network, x, y):
    return replace(network, a=np.full((1, network.width), network.width**-0.5)), x, y


def with_a_map_that_does_not_contract(network, x, y):
    return replace(network, W=network.W * 30), x, y


FAILURES = {
    with_wrong_bounds: "declared bounds of Steep(), measured on a grid",
    with_a_large_weight: "L‖W‖₂ (upper bound)",
    with_parallel_inputs: "λ_0 = λ_min(G), lower bound",
    with_antipodal_inputs: "λ_0 = λ_min(G), lower bound",
    with_nan_inputs: "inputs are finite",
    with_nan_targets: "targets are finite",
    with_nan_weights: "weights are finite",
    with_fewer_units_than_inputs: "width m",
    with_large_labels: "(A1) δ",
    with_a_large_readout: "readout ‖a‖₂",
    with_a_map_that_does_not_contract: "equilibrium found for every input",
}


@dataclass(frozen=True)
class Foreign(Activation):
    """tanh(x), told truly, by another."""

    slope = (0.0, 1.0)
    curvature = 4 / (3 * math.sqrt(3))

    def __call__(self, x):
        return jnp.tanh(x)


def test_what_was_measured_on_a_grid_is_called_so():
    network, x, y = drawn()
    said = {
        type(act): str(certify(replace(network, activation=act), x, y, predict_loss=False))
        for act in (network.activation, Foreign())
    }
    assert "declared bounds of Foreign(), measured on a grid" in said.pop(Foreign)
    (ours,) = said.values()
    assert "one of deqzoo's" in ours
    assert "measured on a grid" not in ours


@pytest.mark.quick(
    "with_nan_*", "with_a_large_weight", "with_large_labels", "with_antipodal_inputs"
)
@pytest.mark.parametrize("spoil", FAILURES, ids=lambda spoil: spoil.__name__)
def test_a_failed_hypothesis_is_named_and_nothing_is_certified(spoil):
    assert certify(*drawn()).certified
    certificate = certify(*spoil(*drawn()))
    assert not certificate.certified
    assert certificate.descent is None
    assert FAILURES[spoil] in failed(certificate)
    assert "NOT CERTIFIED" in str(certificate)
    assert json.loads(certificate.to_json())["certified"] is False
    with pytest.raises(ValueError, match="not certified: there is no bound"):
        certificate.bound([1])


def test_an_even_activation_does_not_mind_antipodes_of_a_non_odd_one():
    """gelu is not odd: z(-x) ≠ -z(x), and the features stay independent."""
    network, x, y = with_antipodal_inputs(*drawn("gelu", width=256))
    assert certify(network, x, 1e-2 * y).certified
    assert "smallest sine of an angle between inputs" in failed(certify(network, x, y), "Truong")


def test_what_would_mend_is_what_mends():
    network, x, y = with_large_labels(*drawn())
    certificate = certify(network, x, y)
    scale = certificate.label_scale
    assert 0 < scale < 1
    assert f"labels times {at_most(0.99 * scale, 3)}" in str(certificate)
    assert certify(network, x, 0.99 * scale * y).certified
    assert not certify(network, x, 1.01 * scale * y).certified
    line = next(each for each in certificate.theorem(A).conditions if each.name == "(A1) δ")
    assert line.factor == line.need / line.have
    assert line.factor > 1


def test_the_label_scale_is_the_largest_to_nine_digits():
    """Against 400,001 radii; times it the labels are certified, with a billionth more not."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        network = Network.draw(activations.get("tanh"), 48, 4, s_w=0.35, s_a=0.0, seed=seed)
        x, y = rng.standard_normal((3, 4)), rng.standard_normal(3)
        scale, at = (certificate := certify(network, x, y)).label_scale, certificate.measured
        room = 1 / at.lipschitz - at.norm_w
        radii = np.geomspace(1e-6 * room, (1 - 1e-9) * room, 400_001)
        sides = conditions.theorem_a(at.without_readout(), radii).sides.values()
        (d, d_need), (k, k_need), (least, least_need) = sides
        scales = np.where(least >= least_need, np.minimum(d / d_need, k / k_need), 0)
        assert scale >= (1 - 1e-9) * np.max(scales)
        assert certify(network, x, (1 - 1e-9) * scale * y).certified
        assert not certify(network, x, (1 + 1e-9) * scale * y).certified


@pytest.mark.slow
def test_at_the_radius_given_every_line_holds_beyond_rounding():
    for name in ("tanh", "relu"):
        network, x, y = drawn(name)
        scale = certify(network, x, y).label_scale
        for share in (0.999999, 0.5, 1e-3):
            at = certify(network, x, share * scale * y, predict_loss=False)
            for form, descent in (
                (conditions.theorem_a, at.descent),
                (conditions.a_priori, at.a_priori),
            ):
                if descent is not None:
                    sides = form(at.measured, np.array([descent.delta])).sides.values()
                    assert all(need[0] <= (1 - 1e-12) * have[0] for have, need in sides)
            assert at.certified


@pytest.mark.parametrize(
    ("norm_u", "norm_a", "winner"), [(1e-3, 50.0, 1), (50.0, 1e-3, 2), (50.0, 50.0, 0)]
)
def test_every_term_of_lings_maximum_counts(norm_u, norm_a, winner):
    """(7): c_w = r_u r_a/(1-r_w)², c_u = r_a/(1-r_w), c_a = r_u/(1-r_w) are each largest once."""
    at = certify(*drawn("relu")).measured
    at, delta = replace(at, norm_u=norm_u, norm_a=norm_a, error=0.3), 0.01
    rw, ru, ra = at.norm_w + delta, norm_u + delta, norm_a + delta
    terms = [ru * ra / (1 - rw) ** 2, ra / (1 - rw), ru / (1 - rw)]
    assert np.argmax(terms) == winner
    have, need = conditions.a_priori(at, np.array([delta])).sides["(7) δ"]
    exact = 4 / at.lambda_0 * terms[winner] * at.frobenius_x * at.error
    assert (have[0], need[0]) == (delta, pytest.approx(exact, rel=1e-12))


@pytest.mark.parametrize("size", [1e200, 1e80])
def test_absurd_sizes_are_a_line_or_one_error(size):
    network, x, y = drawn()
    assert "inputs are finite" in failed(certify(network, size * x, y))
    assert "targets are finite" in failed(certify(network, x, size * np.ones_like(y)))
    assert "weights are finite" in failed(certify(replace(network, U=size * network.U), x, y))
    limit = WideLimit(network.activation, 0.4)
    assert "inputs are finite" in failed(certify(limit, size * x, y, width=100))
    with pytest.raises(ValueError, match="input . has a norm of .* scale the inputs"):
        limit.gram(size * x)
    with pytest.raises(ValueError, match="inputs must be an array of numbers"):
        certify(network, [[10**400] * 8] * 6, y)
    for width in (0, 10**20, math.nan):
        with pytest.raises(ValueError, match="needs the width it speaks of"):
            certify(limit, x, y, width=width)


def test_the_readout_that_is_said_to_be_allowed_is_the_largest():
    network, x, y = drawn(scale=0.0)
    allowed = conditions.largest_readout(certify(network, x, y).measured, conditions.theorem_a)
    direction = np.zeros((1, network.width))
    direction[0, 0] = allowed
    for share, holds in ((0.9, True), (1.1, False)):
        at = certify(replace(network, a=share * direction), x, y)
        assert ("readout ‖a‖₂" not in failed(at, A)) is holds


def test_lings_condition_is_impossible_with_a_readout_of_norm_one_at_any_width():
    """(9) forces ‖a‖ <= (1 - L‖W‖)/(2L√(2n)), since λ_0 <= ‖Z‖_F²/n."""
    network, x, y = drawn("relu", scale=0.0)
    at = certify(network, x, y).measured
    ceiling = (1 - at.norm_w) / (2 * math.sqrt(2 * at.examples))
    for factor in (1, 1e3, 1e6, 1e9):
        assert conditions.largest_readout(at.widened(factor), conditions.a_priori) <= ceiling
    certificate = certify(replace(network, a=np.full((1, 128), 128**-0.5)), x, y)
    assert "readout ‖a‖₂" in failed(certificate, LING)
    said = re.search(r"no width can help, .* < (\S+) at any width", str(certificate.theorem(LING)))
    assert ceiling <= float(said[1]) < 1.01 * ceiling


def test_the_a_priori_form_is_lings_condition_for_the_rectifier():
    """(7), (8) and, with 8, (9) in his own letters."""
    network, x, y = drawn("relu")
    at = certify(network, x, y).measured
    delta = 0.01
    rw, ru, ra = at.norm_w + delta, at.norm_u + delta, at.norm_a + delta
    cw, cu, ca = ru * ra / (1 - rw) ** 2, ra / (1 - rw), ru / (1 - rw)
    X, r0, spread = at.frobenius_x, at.error, cw**2 + cu**2
    expected = {
        "(7) δ": (delta, 4 / at.lambda_0 * max(cw, cu, ca) * X * r0),
        "(9) λ_0": (at.lambda_0, 8 * spread * X**2),
    }
    sides = conditions.a_priori(at, np.array([delta])).sides
    for name, pair in expected.items():
        assert [float(side[0]) for side in sides[name]] == pytest.approx(pair, rel=1e-12)
    have, need = sides["(8) κ√λ_0"]
    eight = 4 * (2 + math.sqrt(2)) / ra * spread * X**2 * r0
    assert need[0] / have[0] == pytest.approx(eight / at.lambda_0**1.5, rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_printed_is_proved(seed):
    """Steps, rates and label scales round down, and every inequality is true as it is printed."""
    rng = np.random.default_rng(seed)
    network = Network.draw(activations.get("tanh"), 48, 4, s_w=0.35, s_a=0.0, seed=seed)
    x, y = rng.standard_normal((3, 4)), rng.standard_normal(3)
    certificate = certify(network, x, 1e-5 * y, predict_loss=False)
    descent, text = certificate.descent, str(certificate)
    found = re.search(r"η <= (\S+) has .*\(1 - (\S+) η\)\^τ Φ\(0\).* rate is 1 - (\S+)", text)
    step, half, decrease = map(float, found.groups())
    for printed, proved in (
        (step, descent.learning_rate),
        (half, descent.lambda_0 / 2),
        (decrease, descent.learning_rate * descent.lambda_0 / 2),
    ):
        assert (1 - 1e-5) * proved <= printed <= proved
    assert np.all(certificate.bound([1], step) >= certificate.bound([1]))
    lines = re.findall(r"ok .* (\S+) (<=|>=|<|>) (\S+)$", text, re.MULTILINE)
    assert len(lines) >= 8
    for have, relation, need in lines:
        assert RELATIONS[relation](float(have), float(need))
    failing = certify(network, x, y, predict_loss=False)
    assert float(re.search(r"labels times (\S+),", str(failing))[1]) < failing.label_scale


@pytest.mark.parametrize("have", [0.99999996, 1 - 2**-53, 0.79999999, 1.0, 1.00000004])
def test_a_printed_inequality_says_what_holds(have):
    line = compare("L‖W‖₂", have, "<", 1.0)
    left, right = map(float, re.search(r"(\S+) < (\S+)", str(line)).groups())
    assert (left < right) is line.holds is (have < 1)
    assert left >= have


def test_how_far_a_condition_is_from_holding_is_printed_where_it_fails():
    assert str(compare("m", 10.0, ">=", 25.0)).endswith("(by a factor 2.5)")
    assert str(compare("m", 25.0, "<=", 10.0)).endswith("(by a factor 2.5)")
    assert "factor" not in str(compare("m", 25.0, ">=", 10.0))


def test_the_step_under_lings_name_is_said_to_be_ours():
    """(10) asks η < min(2/λ_0, 2C₂/C₁²); (9) with 8 makes ours, λ_0/(4C₁²), the larger one."""
    certificate = certify(*drawn("relu", scale=1e-7))
    at, delta = certificate.measured, certificate.a_priori.delta
    rw, ru, ra = at.norm_w + delta, at.norm_u + delta, at.norm_a + delta
    squares = [ru * ra / (1 - rw) ** 2, ra / (1 - rw), ru / (1 - rw)]
    cw, cu, ca = (c**2 for c in squares)
    ten = min(2 / at.lambda_0, 2 * (cw + cu) / ((cw + cu + ca) ** 2 * at.frobenius_x**2))
    assert ten <= certificate.a_priori.learning_rate
    assert "and deqzoo's step for (10)" in str(certificate.theorem(LING))


def test_provenance_is_said():
    text = str(certify(*drawn("relu")))
    assert "Theorem A (deqzoo): holds" in text
    assert "Ling et al., Theorem 1, with 8 for 4 in (9)" in text
    assert "his constants are not known here" in text
    assert "condition in Ling's form for general φ (deqzoo)" in str(certify(*drawn("tanh")))
    assert "tangent kernel, not certified" in text


def test_truongs_hypotheses_are_examined_but_claim_nothing():
    assert failed(certify(*drawn("tanh")), "Truong") == []
    assert failed(certify(*drawn("relu")), "Truong") == ["sup |φ''|"]
    network, x, y = drawn("tanh")
    assert failed(certify(network, 2 * x, y), "Truong") == ["largest |‖x‖/√d - 1|"]
    heavy = Network.draw(network.activation, 128, 8, s_w=0.6, s_a=0.0)
    assert "σ_w² = s_w²/2" in failed(certify(heavy, x, y), "Truong")


# Subjects.


def test_a_model_is_certified_as_its_network(x64):
    _, x, y = drawn(outputs=2)
    model = Wide((2, 4), 2, activation="tanh", width=64, s_a=0.0, rngs=nnx.Rngs(0))
    certificate = certify(model, x.reshape(-1, 2, 4), 1e-2 * y)
    assert certificate.measured == certify(model.network(), x, 1e-2 * y).measured
    assert certificate.certified


def test_other_models_and_shapes_are_refused():
    network, x, y = drawn()
    with pytest.raises(ValueError, match="the theorems speak of the wide DEQ"):
        certify(Classifier((8,), 1, width=8, rngs=nnx.Rngs(0)), x, y)
    with pytest.raises(ValueError, match="takes 8 inputs and gives 1 outputs, but the data have 7"):
        certify(network, x[:, :7], y)
    with pytest.raises(ValueError, match="one length n >= 1"):
        certify(network, x, y[:-1])
    with pytest.raises(ValueError, match=r"one-hot rows, for example np.eye"):
        certify(network, x, np.arange(6))
    with pytest.raises(ValueError, match="needs the width it speaks of"):
        certify((network.activation, 0.4), x, y)


@pytest.mark.slow
def test_an_estimate_is_near_the_network_and_certifies_nothing():
    network, x, y = drawn("tanh", width=2048)
    act = network.activation
    estimate = certify((act, act.default_s_w, math.sqrt(2), 0.0), x, y, width=2048)
    measured = certify(network, x, y).measured
    for name in ("norm_w", "norm_u", "norm_z", "frobenius_x", "error"):
        assert getattr(estimate.measured, name) == pytest.approx(getattr(measured, name), rel=0.1)
    assert estimate.measured.lambda_0 == pytest.approx(measured.lambda_0, rel=0.3)
    assert estimate.is_estimate
    assert not estimate.certified
    assert "only a drawn network can be certified" in str(estimate)


def test_the_estimated_error_counts_the_variance_of_every_output():
    """E‖ŷ - y‖² = ‖y‖² + s_a² Σ_i K_ii for each output of mean zero."""
    network, x, y = drawn("tanh", outputs=2)
    limit = WideLimit(network.activation, 0.4, s_a=0.7)
    expected = np.sum(y**2) + 2 * 0.7**2 * np.trace(limit.gram(x))
    assert certify(limit, x, y, width=512).measured.error ** 2 == pytest.approx(expected, rel=1e-9)


def test_the_estimate_fails_at_duplicates_and_nan():
    act = activations.get("tanh")
    _, x, y = drawn()
    limit = WideLimit(act, 0.4, s_a=0.0)
    double = certify(limit, np.vstack([x, x[:1]]), np.vstack([y, y[:1]]), width=1024)
    assert "λ_0 = λ_min(G), lower bound" in failed(double)
    broken = certify(limit, np.where(x == x[0, 0], np.nan, x), y, width=1024)
    assert failed(broken) == ["inputs are finite"]
    near_one = certify(WideLimit(act, 0.6, s_a=0.0), x, y, width=1024)
    assert "2 s_w L (‖W‖₂ tends to 2 s_w)" in failed(near_one)


def test_a_certificate_survives_json():
    certificate = certify(*drawn())
    values = json.loads(certificate.to_json())
    assert values["certified"] is True
    assert values["descent"]["learning_rate"] == certificate.descent.learning_rate
    assert values["descent"]["rate"] == certificate.descent.rate()
    names = [line["name"] for line in values["theorems"][1]["conditions"]]
    assert names[-3:] == ["(A1) δ", "(A2) κ√λ_0", "(A3) λ_0"]


# The weight-initialisation loop.


@pytest.mark.quick("tanh", "relu")
@pytest.mark.parametrize("name", ["relu", "tanh", "gelu", "cos", "softplus", "selu"])
def test_the_loop_ends_with_a_certificate_and_says_what_it_did(name):
    _, x, y = drawn(scale=1.0)
    start = certified_start(activations.get(name), x, y, width=128)
    assert start.certificate.certified
    assert start.draws >= 1
    assert "certified" in start.log[-1]
    np.testing.assert_array_equal(start.targets, start.label_scale * y)
    assert not np.any(start.network.a)
    again = certified_start(activations.get(name), x, y, width=128)
    np.testing.assert_array_equal(again.network.W, start.network.W)


@pytest.mark.slow
def test_the_loop_doubles_the_width_for_the_labels_it_must_keep():
    _, x, y = drawn(n=2, scale=0.1)
    start = certified_start(activations.get("sin"), x, y, width=32, mend="width", s_w=0.2)
    assert start.label_scale == 1
    assert start.network.width > 32
    assert start.certificate.certified
    assert "not certified (FAIL" in start.log[0]


def test_the_loop_terminates_without_a_certificate():
    _, x, y = drawn(scale=1.0)
    act = activations.get("tanh")
    with pytest.raises(InitialisationError, match="max_width = 64 is reached"):
        certified_start(act, x, y, width=32, mend="width", max_width=64)
    with pytest.raises(ValueError, match="2 s_w L = 1.2"):
        certified_start(act, x, y, width=32, s_w=0.6)
    with pytest.raises(ValueError, match="mend must be one of labels, width"):
        certified_start(act, x, y, width=32, mend="luck")


def test_weights_are_drawn_until_the_map_contracts_and_not_forever(monkeypatch):
    _, x, y = drawn()
    act, norms = activations.get("tanh"), iter([1.2, 1.1, 0.8, 0.8, *[1.5] * 20])
    monkeypatch.setattr("deqzoo.core.spectral.proved_norm", lambda weight: next(norms))
    assert certified_start(act, x, y, width=64).draws == 3
    with pytest.raises(InitialisationError, match="20 draws of W at width 64 all had L‖W‖₂ >= 1"):
        certified_start(act, x, y, width=64)


def test_a_start_from_given_weights_keeps_them():
    network, x, y = drawn(scale=1.0, s_a=1.0)
    start = start_from(network, x, y)
    assert start.certificate.certified
    np.testing.assert_array_equal(start.network.W, network.W)
    with pytest.raises(InitialisationError, match="λ_0 = λ_min"):
        start_from(network, np.vstack([x, x[:1]]), np.vstack([y, y[:1]]))


def test_outputs_share_their_kernel_and_add_up_their_predicted_losses():
    rng = np.random.default_rng(0)
    root, errors, steps = rng.standard_normal((5, 5)), rng.standard_normal((5, 3)), [0, 1, 7]
    kernel, rate = root @ root.T, 0.5 / np.linalg.norm(root @ root.T, 2)
    contraction = np.eye(5) - rate * kernel
    walked = [np.sum((np.linalg.matrix_power(contraction, k) @ errors) ** 2) / 2 for k in steps]
    np.testing.assert_allclose(predict(kernel, errors).loss(steps, rate), walked, rtol=1e-10)
