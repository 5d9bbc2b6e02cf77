"""Where an equilibrium is proved there is one, within the radius, and no other."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_mondeq import plug_in

import activations
from deqzoo import catalog
from deqzoo.analysis import kantorovich
from deqzoo.analysis.finding import InapplicableError
from deqzoo.analysis.kantorovich import prove
from deqzoo.analysis.proved_equilibria import proved_equilibria

N, BATCH = 12, 40


def problem(act, size, seed):
    """An equation with L‖W‖₂ = size."""
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((N, N))
    return W * size / (np.linalg.norm(W, 2) * act.lipschitz), rng.standard_normal((BATCH, N))


def newton(act, W, u, z, steps=60):
    """Ends of damped Newton steps, far more accurate than what they are compared with."""
    for _ in range(steps):
        y = z @ W.T + u
        F = z - act.in_float64(y)
        J = np.eye(N) - act.slope_in_float64(y)[:, :, None] * W
        z = z - np.linalg.solve(J, F[..., None])[..., 0]
    return z


@pytest.mark.parametrize("size", [0.5, 1.5, 4.0])
@pytest.mark.parametrize("name", ["tanh", "gelu", "sin", "softplus", "elu", "random"])
def test_the_true_equilibrium_lies_within_the_radius(name, size):
    act = plug_in(3) if name == "random" else activations.get(name)
    W, u = problem(act, size, 0)
    # Where Newton's method ends there is an equilibrium; elsewhere nothing may be proved.
    end = newton(act, W, u, np.zeros((BATCH, N)))
    residual = np.max(np.abs(end - act.in_float64(end @ W.T + u)), axis=1)
    found = residual < 1e-12
    rng, proved = np.random.default_rng(1), 0
    for scale in (1e-15, 1e-8, 1e-3, 0.1):
        z = end + scale * rng.standard_normal(end.shape)
        result = prove(act, W, u, z)
        away = np.max(np.abs(z - end), axis=1)
        # Another equilibrium may be nearer; then it is the one that is proved.
        other = newton(act, W, u, z)
        nearest = np.minimum(away, np.max(np.abs(z - other), axis=1))
        assert np.all(nearest[result.holds & found] <= result.radius[result.holds & found])
        assert np.all(np.isnan(result.radius[~result.holds]))
        assert np.all(result.h[result.holds] <= 0.5)
        proved += np.sum(result.holds)
        if scale == 1e-8 and size <= 1.5:
            assert np.mean(result.holds) == 1
            assert np.max(result.radius) < 1e-6
    assert proved > 0 or size > 1.5


def test_the_theorem_by_hand_in_one_dimension():
    # z = tanh(z/2 + .3) from .512: F = z - tanh(y), F' = 1 - (1 - tanh²)/2.
    W, u, z = np.array([[0.5]]), np.array([[0.3]]), np.array([[0.512]])
    result = prove(activations.get("tanh"), W, u, z)
    tanh = np.tanh(0.556)
    slope = 1 - (1 - tanh**2) / 2
    eta, beta = abs(0.512 - tanh) / slope, 1 / slope
    h = beta * 4 / (3 * 3**0.5) * 0.25 * eta
    np.testing.assert_allclose(result.h, h, rtol=1e-9)
    radius = (1 - np.sqrt(1 - 2 * h)) / (beta * 4 / (3 * 3**0.5) * 0.25)
    np.testing.assert_allclose(result.radius, radius, rtol=1e-9)


def test_the_equilibrium_itself_is_proved_to_within_roundings():
    act = activations.get("tanh")
    W, u = problem(act, 1.5, 0)
    end = newton(act, W, u, np.zeros((BATCH, N)))
    result = prove(act, W, u, end)
    assert np.all(result.holds)
    assert np.all((result.radius > 1e-17) & (result.radius < 1e-12))
    # Against arithmetic of 64 bits of mantissa.
    wide, V, v = (np.asarray(array, np.longdouble) for array in (end, W, u))
    for _ in range(3):
        F = wide - np.tanh(wide @ V.T + v)
        slope = np.asarray(1 - np.tanh(wide @ V.T + v) ** 2, float)
        J = np.eye(N) - slope[:, :, None] * W
        wide = wide - np.linalg.solve(J, np.asarray(F, float)[..., None])[..., 0]
    assert np.all(np.max(np.abs(wide - end), axis=1) <= result.radius)


def test_a_kink_within_the_radius_stops_the_proof():
    relu, W = activations.get("relu"), np.array([[0.5]])
    # z = relu(z/2 + u): 2u for u > 0, 0 below.
    u = np.array([[1.0], [-1.0], [0.01], [-0.01]])
    exact = np.maximum(2 * u, 0)
    result = prove(relu, W, u, exact + 1e-4)
    assert result.holds.all()
    assert np.all(np.abs(result.radius - 1e-4) < 1e-8)
    # From the other side of the kink, and where the equilibrium sits on it.
    assert not prove(relu, W, np.array([[0.01]]), np.array([[-0.03]])).holds[0]
    assert not prove(relu, W, np.array([[0.0]]), np.array([[1e-4]])).holds[0]


@pytest.mark.parametrize(
    ("W", "u", "z"),
    [
        ([[1.0]], [[0.0]], [[0.0]]),  # the derivative is zero
        ([[0.5]], [[np.nan]], [[0.0]]),
        ([[0.5]], [[0.0]], [[np.inf]]),
        ([[np.nan]], [[0.0]], [[0.0]]),
        ([[3.0]], [[0.0]], [[0.5]]),  # far from both equilibria
    ],
)
def test_where_nothing_is_proved_it_says_so(W, u, z):
    result = prove(activations.get("tanh"), *(np.array(each) for each in (W, u, z)))
    assert not result.holds[0]
    assert np.isnan(result.radius[0])


def test_two_equilibria_are_told_apart():
    # z = tanh(3z) has three; the proof at each excludes the others.
    tanh, W, u = activations.get("tanh"), np.array([[3.0]]), np.zeros((3, 1))
    ends = np.array([[-0.9949], [0.0], [0.9949]])
    result = prove(tanh, W, u, ends)
    assert result.holds.all()
    assert np.all(result.radius < 0.1)


@pytest.mark.parametrize("values", [1, N * N * 7, 2**30])
def test_examples_are_proved_alike_in_blocks_of_any_size(values, monkeypatch):
    act = activations.get("gelu")
    W, u = problem(act, 1.5, 0)
    z = newton(act, W, u, np.zeros((BATCH, N))) + 1e-6
    whole = prove(act, W, u, z)
    monkeypatch.setattr(kantorovich, "_VALUES", values)
    for found, expected in zip(prove(act, W, u, z), whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert prove(act, W, u[:0], z[:0]).radius.shape == (0,)


def test_an_activation_that_bends_without_a_curvature_is_refused():
    with pytest.raises(ValueError, match="SELU.*no finite curvature and is not linear between"):
        prove(activations.get("selu"), np.eye(1), np.zeros((1, 1)), np.zeros((1, 1)))


@pytest.mark.parametrize("recipe", ["classifier", "mondeq", "implicit", "opteq", "lben"])
def test_solved_states_of_the_zoo_are_proved(recipe):
    model = catalog.models.load(recipe)((5,), 3, activation="gelu", width=16, rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32)
    found = proved_equilibria(model, x)
    assert found.share == 1
    assert np.all(found.radius < 0.01)
    assert found.facts["equilibria proved one by one"] == "1"


def test_a_cell_of_another_form_is_named():
    model = catalog.models.load("opteq")((5,), 3, depth=2, width=8, rngs=nnx.Rngs(0))
    with pytest.raises(InapplicableError, match="with one matrix W"):
        proved_equilibria(model, jnp.ones((2, 5)))
