"""Newton's method for proximal operators: how many rounds, from afar and from where it last was."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import activations
from deqzoo.activation import preimage
from deqzoo.activation.sector import sector
from deqzoo.core.map.split import Split

STEP_SIZES = jnp.array([0.1, 0.5, 1.0, 2.0, 10.0])
SECTORS = [sector(activations.get(n)) for n in activations.names() if n != "identity"]
ITERATED = [act for act in SECTORS if not act.has_closed_prox]


@pytest.fixture
def rounds(monkeypatch):
    """The number of times that φ and φ' were evaluated; loops run in Python."""
    count, point = [0], preimage.point

    def counted(*args):
        count[0] += 1
        return point(*args)

    monkeypatch.setattr(preimage, "point", counted)
    with jax.disable_jit():
        yield count


def program(act, u):
    return Split(act, lambda z, args: z).program(u, ())


def arguments(size=24):
    return 3 * jnp.asarray(np.random.default_rng(0).standard_normal((5, size)), jnp.float32)


def approaching(fn, u, steps=12):
    """Like the argument of a prox in a solve that halves its error in every step."""
    near = fn.near(jnp.zeros_like(u))
    away = arguments()[::-1]
    for k in range(steps):
        value, near = fn.prox_near(u + 0.5**k * away, STEP_SIZES, near)
    return value, near


@pytest.mark.parametrize("act", ITERATED, ids=str)
def test_from_afar_the_rounds_are_few(rounds, act):
    u = jnp.concatenate([jnp.linspace(-30, 30, 61), jnp.array([1e-6, -1e-3, 1e4, -1e4])])
    step_sizes = jnp.array([0.01, *STEP_SIZES, 100.0])[:, None]
    act.prox(u[None] + 0 * step_sizes, step_sizes)
    assert rounds[0] <= 40


@pytest.mark.parametrize("name", ["cos", "gaussian"])
def test_where_newtons_method_runs_in_circles_the_bracket_is_halved(rounds, name):
    u = jnp.concatenate([jnp.linspace(-30, 30, 61), jnp.array([1e-6, -1e-3, 1e4, -1e4])])
    step_sizes = jnp.array([1e-3, 1e3])[:, None]
    sector(activations.get(name)).prox(u[None] + 0 * step_sizes, step_sizes)
    assert rounds[0] <= 40


@pytest.mark.parametrize("act", ITERATED, ids=str)
def test_of_a_convergent_solve_it_costs_three_rounds_at_most_and_ends_at_the_prox(rounds, act):
    u, fn = arguments(), program(act, arguments())
    near = approaching(fn, u)[1]
    assert rounds[0] <= 3 * 13
    for _ in range(4):
        value, near = fn.prox_near(u, STEP_SIZES, near)
    np.testing.assert_allclose(value, fn.prox(u, STEP_SIZES), rtol=2e-5, atol=1e-5)


def test_examples_end_where_they_end_alone():
    act = sector(activations.get("sin"))
    u, fn = arguments(), program(act, arguments())
    both = fn.prox_near(u, STEP_SIZES, fn.near(jnp.zeros_like(u)))[0]
    for row in range(5):
        mine = u[row : row + 1]
        near = fn.near(jnp.zeros_like(mine))
        alone = fn.prox_near(mine, STEP_SIZES[row : row + 1], near)[0]
        np.testing.assert_allclose(alone[0], both[row], rtol=1e-6)


def of_tanh(u, fn):
    """prox' = φ'/((1 - α)φ' + α) with φ' = 1 - y²."""
    y = jax.lax.stop_gradient(fn.prox(u, STEP_SIZES))
    steps = STEP_SIZES[:, None]
    return y + (u - jax.lax.stop_gradient(u)) * (1 - y**2) / ((1 - steps) * (1 - y**2) + steps)


def of_prelu(u, fn):
    """The sector for slopes in [-1, 1] has the slope k = (p + 1)/2 on the left, 1 on the right."""
    k, steps = (fn.learned["negative_slope"] + 1) / 2, STEP_SIZES[:, None]
    return jnp.where(u > 0, u, k * u / ((1 - steps) * k + steps))


@pytest.mark.parametrize(
    ("recipe", "learned", "closed"),
    [("tanh", {}, of_tanh), ("prelu(low=-1.0)", {"negative_slope": 0.3}, of_prelu)],
    ids=["tanh", "prelu"],
)
def test_the_derivative_is_that_of_the_prox(recipe, learned, closed):
    u = arguments()
    fn = replace(program(sector(activations.get(recipe)), u), learned=learned)
    with jax.disable_jit():
        near = approaching(fn, u, steps=20)[1]

    def slopes(prox):
        of = lambda u, learned: jnp.sum(jnp.sin(prox(u, replace(fn, learned=learned))))  # noqa: E731
        return jax.jit(jax.grad(of, (0, 1)))(u, learned)

    found = slopes(lambda u, fn: fn.prox_near(u, STEP_SIZES, near)[0])
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
    jax.tree.map(close, found, slopes(closed))


def test_where_the_prox_is_closed_there_is_nothing_to_remember():
    fn = program(activations.get("relu"), arguments())
    assert fn.near(arguments()) is None
    value, near = fn.prox_near(arguments(), STEP_SIZES, None)
    assert near is None
    np.testing.assert_array_equal(value, fn.prox(arguments(), STEP_SIZES))
