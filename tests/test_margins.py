"""What a residual proves of an equilibrium, of a label, of a ball of inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_mondeq import Tilted, plug_in

from deqzoo import catalog
from deqzoo.analysis.final_labels import FinalLabels, final_labels
from deqzoo.analysis.finding import InapplicableError
from deqzoo.analysis.margins import Proof, exact, proof
from deqzoo.analysis.proved_equilibria import ProvedEquilibria
from deqzoo.analysis.proved_labels import proved_labels
from deqzoo.analysis.radii import CertifiedRadii, certified_radii
from deqzoo.nn import (
    DEQ,
    AveragedCell,
    ImplicitCell,
    LipschitzCell,
    MonotoneCell,
    SymmetricCell,
    WideCell,
)
from deqzoo.nn.model import Model
from deqzoo.nn.nearness import Nearness

WIDTH, BATCH = 8, 6
TERMS = "rtol=1e-13, max_steps=20000"


def averaged(sign):
    return lambda act, **kw: AveragedCell(WIDTH, WIDTH, act, sign=sign, averaging=0.4, **kw)


def symmetric(sign):
    return lambda act, **kw: SymmetricCell(WIDTH, WIDTH, act, sign=sign, **kw)


CELLS = {
    "contraction": lambda act, **kw: WideCell(WIDTH, act, **kw),
    "max": lambda act, **kw: ImplicitCell(WIDTH, act, norm="max", **kw),
    "perron": lambda act, **kw: ImplicitCell(WIDTH, act, norm="perron", **kw),
    "monotone": lambda act, **kw: MonotoneCell(WIDTH, act, margin=0.3, **kw),
    "lipschitz": lambda act, **kw: LipschitzCell(4, WIDTH, 3, act, gamma=1.5, margin=0.3, **kw),
    "symmetric": symmetric(1),
    "symmetric-negative": symmetric(-1),
    "averaged": averaged(1),
    "averaged-negative": averaged(-1),
}


def put_out(cell, z, u):
    return cell.output(z, u) if hasattr(cell, "output") else z


@pytest.mark.quick("0-*")
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("seed", range(4))
def test_a_residual_and_an_injection_bound_what_is_put_out(x64, seed, name):
    act, rng = plug_in(seed), np.random.default_rng(seed)
    cell = CELLS[name](act, rngs=nnx.Rngs(seed), dtype=jnp.float64)
    near = cell.guarantee().nearness(nnx.to_pure_dict(nnx.state(cell, nnx.Param)))
    columns = 2 * WIDTH if name.startswith("averaged") else WIDTH
    u = jnp.asarray(rng.standard_normal((BATCH, columns)))
    # The same equation with a step that every one of these maps converges under.
    solver = "auto" if hasattr(cell, "proximal") else "picard"
    deq = DEQ(cell, solver=f"{solver}({TERMS})")
    end = deq(u).check().value
    tightest = 0.0
    for scale in (1e-6, 0.1, 10.0):
        z = end + scale * jnp.asarray(rng.standard_normal(end.shape))
        away = near.size(np.asarray(put_out(cell, z, u) - put_out(cell, end, u)))
        bound = near.per_residual * near.size(np.asarray(deq.map(u)(z) - z))
        assert np.all(away <= bound + 1e-11)
        tightest = max(tightest, np.max(away / bound))
        v = u + scale * jnp.asarray(rng.standard_normal(u.shape))
        moved = near.size(
            np.asarray(put_out(cell, deq(v).check().value, v) - put_out(cell, end, u))
        )
        weights = near if near.weights is not None else Nearness(1.0, 1.0)
        assert np.all(moved <= near.per_injection * weights.size(np.asarray(v - u)) + 1e-9)
    assert tightest > 0.003  # a bound that says something


@pytest.mark.quick("monotone")
@pytest.mark.parametrize("name", CELLS)
def test_of_a_nearly_linear_activation_the_bound_of_the_injection_is_nearly_attained(x64, name):
    cell = CELLS[name](Tilted(0.05, 1.0), rngs=nnx.Rngs(0), dtype=jnp.float64)
    if name.startswith("averaged"):  # layers that agree
        cell.W[...] = jnp.stack([np.linalg.norm(cell.W[0], 2) * jnp.eye(WIDTH)] * 2)
    near = cell.guarantee().nearness(nnx.to_pure_dict(nnx.state(cell, nnx.Param)))
    columns = 2 * WIDTH if name.startswith("averaged") else WIDTH
    solver = "auto" if hasattr(cell, "proximal") else "picard"
    deq = DEQ(cell, solver=f"{solver}({TERMS})")
    moved = jax.jacobian(lambda u: put_out(cell, deq(u[None]).value, u[None])[0])
    J = np.asarray(moved(jnp.zeros(columns)))
    weights = np.eye(columns) if near.weights is None else np.diag(near.weights)
    order = 2 if near.weights is None else np.inf
    left = np.eye(WIDTH) if near.weights is None else np.diag(1 / near.weights)
    largest = np.linalg.norm(left @ J @ weights, order)
    loose = ("averaged-negative", "lipschitz")  # I - W and steps are better than what is used
    share = 0.05 if name in loose else 0.25
    assert share * near.per_injection < largest <= near.per_injection


def test_a_prescribed_bound_gives_the_radius_of_the_margin():
    proved = Proof(Nearness(2.0, 4.0), "", np.eye(2), np.eye(2), lipschitz=0.25)
    radii = proved.radii(np.array([[3.0, 1.0], [3.0, 1.0]]), np.array([[0.0, 0.0], [0.3, 0.0]]))
    # 2/(√2 0.25), and with the outputs known to within 0.6 each.
    np.testing.assert_allclose(radii, [8 / 2**0.5, 0.8 / (2**0.5 * 0.25)])


def test_without_a_bound_below_one_nothing_follows():
    from deqzoo.nn.guarantees.contraction import Contraction

    guarantee = Contraction(plug_in(0), ("W",))
    assert guarantee.nearness({"W": 9 * np.eye(2)}) is None
    assert guarantee.nearness({"W": np.full((2, 2), np.nan)}) is None


@pytest.mark.parametrize("weights", [None, np.array([0.5, 2.0, 1.0])])
def test_the_reach_is_the_largest_value_on_a_ball(weights):
    near, rng = Nearness(1.0, 1.0, weights), np.random.default_rng(0)
    rows = rng.standard_normal((4, 3))
    x = rng.standard_normal((100_000, 3))
    if weights is not None:
        x = np.sign(x) * weights  # the corners
    x = x / near.size(x)[:, None]
    largest = np.max(x @ rows.T, axis=0)
    assert np.all(largest <= near.reach(rows) * (1 + 1e-12))
    np.testing.assert_allclose(largest, near.reach(rows), rtol=1e-2)
    U = rng.standard_normal((3, 5))
    x = rng.standard_normal((100_000, 5))
    stretched = near.size((x / np.linalg.norm(x, axis=1, keepdims=True)) @ U.T)
    assert 0.8 * near.stretch(U) < np.max(stretched) <= near.stretch(U)


def test_margins_by_hand():
    A = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    proved = Proof(Nearness(2.0, 4.0), "", np.array([[3.0], [4.0]]), A)
    outputs = np.array([[1.0, 0.0, 0.4], [0.0, 2.0, 1.0], [0.0, 1.0, 1.0]])
    labels, far = proved.margins(outputs)
    assert labels.tolist() == [0, 1, 1]
    # Rows 1 and 2 of A agree: their outputs keep their distance, whatever it is.
    np.testing.assert_allclose(far[0], [np.inf, 1 / 2**0.5, 0.6 / 2**0.5])
    np.testing.assert_allclose(far[1], [2 / 2**0.5, np.inf, np.inf])
    np.testing.assert_allclose(far[2], [1 / 2**0.5, np.inf, 0])
    residual = np.array([[0.0, 0.2], [0.8, 0.0], [0.0, 0.0]])
    assert proved.is_final(outputs, residual).tolist() == [True, False, False]
    radii = proved.radii(outputs, residual)
    np.testing.assert_allclose(radii, [(0.6 / 2**0.5 - 0.4) / 20, 0, 0], rtol=1e-6)


class Curved(Model):
    """A model whose head is not affine."""

    def __init__(self):
        self.activation = plug_in(0)
        self.deq = DEQ(WideCell(3, self.activation, rngs=nnx.Rngs(0)))

    def stem(self, x):
        return x

    def head(self, z, injected):
        return jnp.tanh(z)


def test_of_a_model_without_affine_ends_nothing_is_proved():
    with pytest.raises(InapplicableError, match="is not affine"):
        proof(Curved())


def test_a_state_is_evaluated_in_float64():
    model = catalog.models.load("classifier")((4,), 3, width=8, rngs=nnx.Rngs(0))
    x, z = np.ones((2, 4), np.float32), np.full((2, 8), 0.1, np.float32)
    found = exact(model, x, z)
    W, U = np.asarray(model.deq.cell.W, np.float64), np.asarray(model.inputs.kernel, np.float64)
    y = z.astype(np.float64) @ W.T + x.astype(np.float64) @ U
    expected = model.activation.in_float64(y) - z
    np.testing.assert_allclose(found.residual, expected, atol=1e-15)


@pytest.fixture(scope="module")
def digits():
    data = catalog.tasks.get("digits").load()
    return np.asarray(data.test.x[:60], np.float32), data.test.y[:60]


MODELS = ["classifier", "lben", "mondeq", "opteq", "implicit(norm='perron')"]


@pytest.mark.quick("classifier")
@pytest.mark.parametrize("recipe", MODELS)
def test_certified_lies_below_attacked_and_attacked_below_clean(recipe, digits):
    x, y = digits
    model = catalog.models.load(recipe.partition("(")[0])
    arguments = {"norm": "perron"} if "perron" in recipe else {}
    model = model((8, 8, 1), 10, activation="gelu", width=24, **arguments, rngs=nnx.Rngs(1))
    outputs = np.asarray(model(x)[0])
    y = np.where(np.arange(60) % 4 > 0, np.argmax(outputs, axis=1), y)  # mostly what it says
    found = certified_radii(model, x, y, radii=(1e-4, 0.01, 0.1, 1.0))
    assert 0.75 <= found.clean == np.mean(np.argmax(outputs, axis=1) == y)
    assert np.all(found.certified <= found.attacked)
    assert np.all(found.attacked <= found.clean)
    assert found.certified[0] > 0
    assert found.attacked[-1] < found.clean
    assert np.all(np.diff(found.certified) <= 0)


@pytest.mark.quick("classifier", "opteq")
@pytest.mark.parametrize("recipe", MODELS)
def test_no_label_that_was_proved_final_ever_changes(recipe, digits):
    model = catalog.models.load(recipe.partition("(")[0])
    arguments = {"norm": "perron"} if "perron" in recipe else {}
    model = model((8, 8, 1), 10, activation="gelu", width=24, **arguments, rngs=nnx.Rngs(1))
    found = final_labels(model, digits[0], steps=(0, 1, 3, 6, 12, 25))
    assert found.violations == 0
    assert found.final[0] == 0
    assert found.final[-1] > 0.5
    assert np.all(found.final <= found.agree)


@pytest.mark.quick("classifier", "mondeq")
@pytest.mark.parametrize("recipe", MODELS)
def test_a_solve_that_stops_at_a_proof_gives_the_labels_of_a_whole_one(recipe, digits):
    model = catalog.models.load(recipe.partition("(")[0])
    arguments = {"norm": "perron"} if "perron" in recipe else {}
    model = model((8, 8, 1), 10, activation="gelu", width=24, **arguments, rngs=nnx.Rngs(1))
    outputs, solution = model(digits[0])
    found = proved_labels(model, digits[0])
    np.testing.assert_array_equal(found.labels, np.argmax(outputs, axis=1))
    steps, is_proved = np.asarray(solution.stats.steps), found.is_proved
    assert np.mean(is_proved) > 0.5
    assert np.all(found.evaluations[~is_proved] > steps[~is_proved])
    assert len(set(found.evaluations[is_proved])) > 1


def test_it_saves_evaluations_where_margins_are_large(digits):
    model = catalog.models.load("classifier")((8, 8, 1), 10, width=24, rngs=nnx.Rngs(1))
    model.deq.cell.W[...] *= 0.5
    steps = np.asarray(model(digits[0])[1].stats.steps)
    found = proved_labels(model, digits[0], every=1)
    assert np.mean(found.is_proved) > 0.9
    assert np.sum(found.evaluations) < np.sum(steps)


def test_labels_that_cannot_be_proved_are_those_of_a_whole_solve(digits):
    model = catalog.models.load("classifier")((8, 8, 1), 10, width=24, rngs=nnx.Rngs(1))
    model.outputs.kernel[...] = jnp.repeat(model.outputs.kernel[...][:, :5], 2, axis=1)  # ties
    found = proved_labels(model, digits[0])
    assert not np.any(found.is_proved)
    np.testing.assert_array_equal(found.labels, np.argmax(model(digits[0])[0], axis=1))


def test_what_is_proved_is_rounded_down():
    zeros = np.zeros(1)
    found = FinalLabels("picard", "", np.array([3]), np.array([0.99996]), zeros, 0, zeros)
    assert "0.9999" in found.facts.values()
    radii = CertifiedRadii("", np.array([0.1]), np.array([0.99996]), np.array([1.0]), 1.0, 0.123456)
    assert radii.facts["certified radius, median"] == "0.1234"
    assert "0.9999 / 1.0000" in radii.facts.values()
    known = ProvedEquilibria(np.append(np.full(99_999, 1e-3), np.nan), zeros, zeros)
    assert known.facts["equilibria proved one by one"] == "0.9999"
