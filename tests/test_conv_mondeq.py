"""Monotone equilibria of images: zero-padded convolutions, at one scale and at several."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree
from test_convolution_norm import dense
from test_mondeq import plug_in

import activations
from deqzoo.activation.sector import sector
from deqzoo.models.conv_mondeq import ConvMonDEQ
from deqzoo.nn import DEQ, ConvMonotoneCell
from deqzoo.nn.guarantees.conv_monotone import ConvMonotone
from deqzoo.nn.image_model import means

SIZE, CHANNELS, BATCH = (5, 4), (2, 3), 3
TIERS = [(2,), (2, 3)]


def cell(act, *, channels=CHANNELS, scale=1.0, seed=0, dtype=jnp.float64, **settings):
    found = ConvMonotoneCell(channels, act, rngs=nnx.Rngs(seed), dtype=dtype, **settings)
    for kernels in (found.A, found.B):
        for K in kernels.values():
            K[...] *= scale
    for i, b in found.b.items():
        b[...] += jnp.asarray(np.random.default_rng(int(i)).standard_normal(b.shape), dtype)
    return found


def injected(seed=0, channels=2):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((BATCH, *SIZE, channels)))


def flat(v):
    return np.concatenate([np.reshape(part, (len(part), -1)) for part in v], axis=1)


def weight(found):
    """W as a matrix, by forward mode, and the state that it belongs to."""
    start = found.start(injected()[:1])
    vector, back = ravel_pytree(start)
    linear = lambda v: ravel_pytree(found.affine(back(v), injected()[:1], None))[0]  # noqa: E731
    return np.asarray(jax.jacfwd(linear)(vector))


def offset(found, u):
    return flat(found.affine(found.start(u), u, None))


def equilibria(found, W, u):
    """v = ψ(Wv + u) by Newton's method on dense matrices, its steps halved where they fail."""
    psi, solved = sector(found.activation), []
    for row in offset(found, u):
        v = np.zeros_like(row)
        error = lambda v, row=row: v - psi.in_float64(W @ v + row)  # noqa: E731
        for _ in range(200):
            slope = np.eye(len(v)) - psi.slope_in_float64(W @ v + row)[:, None] * W
            step, share = np.linalg.solve(slope, error(v)), 1.0
            size = np.linalg.norm(error(v))
            while np.linalg.norm(error(v - share * step)) > size and share > 1e-6:
                share /= 2
            v = v - share * step
            if np.linalg.norm(error(v)) < 1e-13 * (1 + np.linalg.norm(v)):
                break
        solved.append(v)
    return np.stack(solved)


# The operator.


def test_the_operator_is_made_of_padded_convolutions_and_their_exact_transposes(x64):
    found = cell(activations.get("tanh"), scale=2.0, margin=0.3)

    def matrix(kernels):
        K = {name: np.asarray(each[...]) for name, each in kernels.items()}
        one, down = dense(K["0_to_0"], SIZE, (1, 1)), dense(K["0_to_1"], SIZE, (2, 2))
        two = dense(K["1_to_1"], (3, 2), (1, 1))
        return np.block([[one, np.zeros((len(one), len(two)))], [down, two]])

    A, B = matrix(found.A), matrix(found.B)
    W = 0.7 * np.eye(len(A)) - A.T @ A + B - B.T
    np.testing.assert_allclose(weight(found), W, atol=1e-12)


@pytest.mark.quick("10.0-channels1")
@pytest.mark.parametrize("channels", TIERS)
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_it_is_monotone_by_construction(x64, scale, channels):
    for seed in range(3):
        margin = float(np.random.default_rng(seed).uniform(0.05, 1))
        found = cell(plug_in(seed), channels=channels, scale=scale, seed=seed, margin=margin)
        W = weight(found)
        largest = np.linalg.eigvalsh((W + W.T) / 2)[-1]
        guarantee, parameters = found.guarantee(), nnx.to_pure_dict(nnx.state(found, nnx.Param))
        bound = float(guarantee.bound(parameters))
        assert guarantee.sharp_bound(parameters) == bound == 1 - margin
        assert largest <= bound + 1e-14 * np.linalg.norm(W, 2)


def test_kernels_that_are_not_finite_have_no_bound():
    guarantee = ConvMonotone(activations.get("gelu"), 0.1, ())
    K = jnp.ones((3, 3, 2, 2))
    for broken in ({"A": {"a": K * jnp.nan}, "B": {"a": K}}, {"A": {"a": K}, "B": {"a": K / 0}}):
        assert math.isnan(float(guarantee.bound(broken)))
        assert math.isnan(guarantee.sharp_bound(broken))
        assert guarantee.nearness(broken) is None


# The equilibrium.


@pytest.mark.quick("1")
@pytest.mark.parametrize("seed", range(4))
def test_the_equilibrium_is_that_of_a_dense_solve(x64, seed):
    act, u = plug_in(seed), injected(seed)
    for scale in (1.0, 10.0):
        found = cell(act, channels=TIERS[seed % 2], scale=scale, seed=seed)
        solution = DEQ(found, solver="auto(rtol=1e-11, max_steps=20000)")(u).check()
        expected = equilibria(found, weight(found), u)
        np.testing.assert_allclose(flat(solution.value), expected, atol=1e-8)


@pytest.mark.quick("relu")
@pytest.mark.parametrize("name", ["gelu", "relu", "sin"])
def test_the_gradient_is_that_of_a_dense_solve(x64, name):
    found, u = cell(activations.get(name), scale=2.0), injected()
    deq = DEQ(found, solver="auto(rtol=1e-13, max_steps=5000)")

    def loss(u):
        v = deq(u).value
        return sum(jnp.sum(jnp.sin(part)) for part in v), v

    slope, v = jax.grad(loss, has_aux=True)(u)
    v, W = flat(v), weight(found)
    D = found.proximal.slope_in_float64(v @ W.T + offset(found, u))
    for i in range(BATCH):
        J = D[i][:, None] * W
        expected = D[i] * np.linalg.solve((np.eye(len(W)) - J).T, np.cos(v[i]))
        finest = expected[: slope[i].size].reshape(slope[i].shape)
        np.testing.assert_allclose(slope[i], finest, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "channels"), [("prelu", (2, 3)), ("prelu(low=-0.5, high=2.0, per_unit=True)", (2,))]
)
def test_its_activation_is_learned_with_the_derivative_that_differences_show(x64, recipe, channels):
    found, u = cell(activations.get(recipe), channels=channels), injected()
    deq = DEQ(found, solver="auto(rtol=1e-13, max_steps=5000)")
    graph, learned, rest = nnx.split(deq, lambda path, _: "phi" in path, ...)

    def loss(learned):
        z = nnx.merge(graph, learned, rest)
        v = z(u).value
        return sum(jnp.sum(jnp.sin(part)) for part in z.cell.output(v, u))

    slope = jax.grad(loss)(learned)
    moved = lambda by: loss(jax.tree.map(lambda leaf: leaf + by, learned))  # noqa: E731
    total = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(slope))
    np.testing.assert_allclose(total, (moved(1e-6) - moved(-1e-6)) / 2e-6, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gelu", "relu", "sin"])
def test_it_converges_where_no_norm_is_small(name):
    found = cell(activations.get(name), scale=3.0, dtype=jnp.float32)
    assert found.activation.lipschitz * np.linalg.norm(weight(found), 2) > 3
    u = jnp.asarray(10 * injected(), jnp.float32)
    assert float(DEQ(found)(u).stats.fraction_converged) == 1.0
    assert float(DEQ(found, solver="picard")(u).stats.fraction_converged) < 1.0


def test_what_is_put_out_is_the_activation_and_not_its_sector():
    model = ConvMonDEQ((6, 5, 1), 3, activation="leaky_relu", channels=(4, 6), rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, 6, 5, 1)), jnp.float32)
    shapes = [(2, 6, 5, 4), (2, 3, 3, 6)]
    v = tuple(jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes)
    z = jax.tree.map(model.activation, model.deq.cell.affine(v, model.injection(x), None))
    rows = jnp.concatenate([means(each, 7) for each in z], axis=1)
    np.testing.assert_allclose(model.head(v, model.injection(x)), model.outputs(rows), rtol=1e-5)


def test_what_it_guarantees_names_what_a_and_b_are():
    said = " ".join(ConvMonotone(activations.get("sin"), 0.5, ()).hypotheses)
    assert "-1 <= φ' <= 1 for Sin" in said
    assert "<= 0.5 for all A and B" in said
    assert "transposes of these with their padding" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": ()}, r"channels must have a number for every scale, got \(\)"),
        ({"taps": 0}, "taps must be a whole number >= 1, got 0"),
        ({"margin": 0.0}, "margin must be a finite number > 0"),
        ({"activation": "identity"}, "is affine and has no sector"),
        (
            {"activation": "prelu(per_unit=True)", "channels": (2, 3)},
            "use one scale, or per_unit=False",
        ),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConvMonDEQ((8, 8, 1), 2, rngs=nnx.Rngs(0), **arguments)
