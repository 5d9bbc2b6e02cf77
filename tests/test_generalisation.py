"""The bound on new examples holds, and so does every inequality it is made of."""

import math

import numpy as np
import pytest

import activations
from deqzoo.theory import Network, TheoryError, generalisation_bound
from deqzoo.theory.generalisation import enclosing
from deqzoo.theory.neighbourhood import Ball, Expansion
from deqzoo.theory.network import descend

NAMES = ("tanh", "relu")


def drawn(rng, name="tanh", width=16, dimension=3, s_a=0.3):
    phi = activations.get(name)
    s_w = rng.uniform(0.1, 0.3) / phi.lipschitz
    return Network.draw(phi, width, dimension, s_w=s_w, s_u=1.0, s_a=s_a, seed=rng)


def near(start, rng, ball):
    """A network at these distances from the start, in random directions."""

    def moved(weight, radius):
        direction = rng.standard_normal(weight.shape)
        return weight + radius * direction / np.linalg.norm(direction)

    moves = zip((start.W, start.U, start.a), ball[:3], strict=True)
    return Network(start.activation, *(moved(*each) for each in moves))


def gain(network):
    return network.activation.lipschitz * np.linalg.norm(network.W, 2)


def first_order(start, other, x):
    """The outputs of the start and their first change on the way to the other, by a difference."""

    def along(t):
        pairs = zip(weights(start), weights(other), strict=True)
        return Network(start.activation, *(b + t * (c - b) for b, c in pairs)).outputs(x)

    return along(0) + (along(1e-5) - along(-1e-5)) / 2e-5


def weights(network):
    return network.W, network.U, network.a


def test_what_moves_moves_no_further_than_is_said(x64):
    rng = np.random.default_rng(0)
    for _ in range(40):
        start, x = drawn(rng), rng.standard_normal((6, 3))
        ball = Ball(*(10 ** rng.uniform(-3, -0.5, 3)), 0.0)
        other = near(start, rng, ball)
        ball = ball._replace(gain=gain(other))
        of, Z = Expansion.of(start, x), start.equilibrium(x)[0]
        moved = other.equilibrium(x)[0]
        shifts = moved @ other.W.T + x @ other.U.T - Z @ start.W.T - x @ start.U.T
        rest = other.outputs(x) - first_order(start, other, x)
        assert np.all(np.linalg.norm(moved - Z, axis=1) <= of.movement(ball))
        assert np.all(np.linalg.norm(shifts, axis=1) <= of.shift(ball))
        assert np.all(np.abs(rest[:, 0]) <= of.rest(ball) + 1e-9)


def scalar(name, w, u, a):
    return Network(activations.get(name), *([[value]] for value in (w, u, a)))


def test_the_movement_is_reached_by_a_network_of_one_linear_unit(x64):
    start, x = scalar("identity", 0.5, 1.0, 1.0), np.array([[1.0]])
    other = scalar("identity", 0.6, 1.2, 1.0)
    ball = Ball(0.1, 0.2, 0.0, 0.6)
    of = Expansion.of(start, x)
    exact = other.equilibrium(x)[0] - start.equilibrium(x)[0]
    assert of.movement(ball) == pytest.approx(exact[0])
    pushed = 0.6 * other.equilibrium(x)[0] + 1.2 - (0.5 * start.equilibrium(x)[0] + 1)
    assert of.shift(ball) == pytest.approx(pushed[0])


def test_the_rest_is_reached_where_the_curvature_is_largest(x64):
    start, x = scalar("softplus", 1e-9, 1e-9, 0.7), np.array([[1.0]])
    of = Expansion.of(start, x)
    for ball, share in ((Ball(0.0, 0.01, 0.0, 1e-6), 0.99), (Ball(0.01, 0.0, 0.01, 0.01001), 0.5)):
        other = scalar("softplus", 1e-9 + ball.w, 1e-9 + ball.u, 0.7 + ball.a)
        rest = other.outputs(x) - first_order(start, other, x)
        assert share * of.rest(ball)[0] < abs(rest[0, 0]) <= of.rest(ball)[0]


def test_the_rademacher_complexity_of_what_is_linear_is_measured(x64):
    """By Khintchine's inequality norms of signed sums average 0.7 of their root mean square."""
    rng = np.random.default_rng(1)
    start, x = drawn(rng), rng.standard_normal((12, 3))
    of, Z = Expansion.of(start, x), start.equilibrium(x)[0]
    eps = 1e-6

    def change(which, place):
        ends = (changed(start, which, place, sign * eps).outputs(x) for sign in (1, -1))
        return next(ends) - next(ends)

    sizes = start.W.size, start.U.size
    features = [
        *(np.hstack([change(i, k) / (2 * eps) for k in range(sizes[i])]) for i in (0, 1)),
        Z,
    ]
    signs = rng.choice([-1.0, 1.0], (4000, 12))
    means = [np.mean(np.linalg.norm(signs @ each, axis=1)) / 12 for each in features]
    only = [of.complexity(Ball(*(1e-9 * np.eye(3)[i]), 0.5)) for i in range(3)]
    for mean, each in zip(means, (only[0].tangent, only[1].tangent, only[2].linear), strict=True):
        assert 0.7 * each <= 1e-9 * mean <= each


def changed(start, which, place, change):
    parts = [weight.copy() for weight in weights(start)]
    parts[which].flat[place] += change
    return Network(start.activation, *parts)


def trained_on(start, x, y, steps, learning_rate):
    now = weights(start)
    for _ in range(steps):
        now, *_ = descend(start.activation, *now, x, y[:, None], learning_rate)
    return Network(start.activation, *map(np.asarray, now))


@pytest.mark.parametrize(
    ("many", "names"), [(20, ["tanh"]), pytest.param(200, NAMES, marks=pytest.mark.slow)]
)
def test_the_bound_is_above_the_loss_of_new_examples(x64, many, names):
    proved = 0
    for seed in range(many):
        rng = np.random.default_rng(seed)
        start = drawn(rng, names[seed % len(names)], s_a=(0.0, 0.3)[seed // 2 % 2])
        teacher = drawn(rng, names[seed % len(names)], s_a=1.0)
        x, new = rng.standard_normal((100, 3)), rng.standard_normal((1500, 3))
        y, y_new = (teacher.outputs(each)[:, 0] for each in (x, new))
        trained = trained_on(start, x, y, 5, rng.uniform(1e-4, 1e-3))
        found = generalisation_bound(start, trained, x, y, clip=0.5)
        expected = np.mean(np.minimum(np.abs(trained.outputs(new)[:, 0] - y_new), 0.5))
        proved += found.proved
        assert expected <= found.bound
        assert abs(expected - found.empirical) <= found.gap
    assert proved > 0.9 * many


def test_the_complexity_is_above_what_signs_reach_in_the_ball(x64):
    """And not far above: moves along the signed sums of the features reach half of it."""
    rng = np.random.default_rng(2)
    start, x = drawn(rng), rng.standard_normal((12, 3))
    radii, of, Z = (1e-3, 1e-3, 1e-3), Expansion.of(start, x), start.equilibrium(x)[0]
    tangents, reached = start_tangents(start, x, Z), []
    for signs in rng.choice([-1.0, 1.0], (200, 12)):
        signed = tangents.T * signs
        sums = signed @ Z, signed @ x, (signs @ Z)[None]
        moves = zip(weights(start), radii, sums, strict=True)
        other = Network(
            start.activation, *(b + r * total / np.linalg.norm(total) for b, r, total in moves)
        )
        reached.append(signs @ (other.outputs(x) - start.outputs(x))[:, 0] / 12)
    bound = of.complexity(Ball(*radii, 0.99 * gain(start) + 0.01)).total
    assert 0.5 * bound < np.mean(reached) <= bound


def start_tangents(start, x, Z):
    """b_i, of dense linear algebra."""
    D = start.activation.slope_in_float64(Z @ start.W.T + x @ start.U.T)
    eye = np.eye(start.width)
    return np.array([d * np.linalg.solve(eye - start.W.T * d, start.a[0]) for d in D])


def test_the_grid_holds_what_it_is_asked_and_its_shares_add_up_to_one():
    rng = np.random.default_rng(3)
    for _ in range(200):
        now = Ball(*(10 ** rng.uniform(-8, 3, 3)), rng.uniform(0, 1))
        ball, price = enclosing(now)
        assert all(have <= upto <= 1.2 * have for have, upto in zip(now[:3], ball[:3], strict=True))
        assert now.gain <= ball.gain < 1
        assert (1 - now.gain) / (1 - ball.gain) < 1.2
        j = [abs(round(4 * math.log2(radius))) for radius in ball[:3]]
        k = round(-4 * math.log2(1 - ball.gain))
        shares = [2 / 3 / ((i + 1) * (i + 2)) for i in j]
        assert price == pytest.approx(-math.log(math.prod(shares) / ((k + 1) * (k + 2))))
    i = np.arange(1e6)
    one_side = np.sum(1 / ((i + 1) * (i + 2)))
    assert 2 / 3 * (2 * one_side - 0.5) == pytest.approx(1, abs=1e-5)


def test_it_says_what_is_proved_and_what_is_not(x64):
    rng = np.random.default_rng(4)
    start, x = drawn(rng, s_a=0.0), rng.standard_normal((400, 3)) / 4
    trained = Network(start.activation, start.W, start.U, start.a + 0.01)
    y = trained.outputs(x)
    found = generalisation_bound(start, trained, x, y, clip=2)
    exponent = math.log(2 / 0.05) + found.price
    assert found.gap == pytest.approx(
        2 * found.complexity.total + 6 * math.sqrt(exponent / (2 * 400))
    )
    assert "PROVED with probability 0.95: E min(|ŷ - y|, 2)" in str(found)
    assert "(not vacuous)" in str(found)
    assert "(vacuous: it exceeds" in str(generalisation_bound(start, trained, x, y, clip=0.01))
    expanding = Network(start.activation, 9 * start.W / gain(start), start.U, start.a)
    refused = generalisation_bound(start, expanding, x, y)
    assert refused.vacuous
    assert math.isinf(refused.bound)
    assert "NOT PROVED: nothing follows" in str(refused)
    with pytest.raises(TheoryError, match="one network before and after training"):
        generalisation_bound(start, drawn(rng, "relu"), x, y)
    with pytest.raises(TheoryError, match=r"inputs \(n, 3\) with as many targets, got 1 outputs"):
        generalisation_bound(start, trained, x, y[:-1])
    with pytest.raises(ValueError, match="delta must be a number in"):
        generalisation_bound(start, trained, x, y, delta=1)
