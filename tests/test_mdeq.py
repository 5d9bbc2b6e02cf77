"""The classic multiscale cell: residual blocks, fused and normalised; nothing is proved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import activations
from deqzoo.models.mdeq import MDEQ
from deqzoo.nn import DEQ, MDEQCell

CHANNELS = (2, 4, 6)
SHAPES = ((7, 6, 2), (4, 3, 4), (2, 2, 6))


def cell(act="tanh", seed=0, **settings):
    found = MDEQCell(CHANNELS, activations.get(act), groups=2, rngs=nnx.Rngs(seed), **settings)
    rng = np.random.default_rng(seed)
    for norm in (*found.inner, *found.outer):
        norm.scale[...] = jnp.asarray(rng.uniform(0.1, 0.5, norm.scale.shape))
        norm.shift[...] = jnp.asarray(rng.standard_normal(norm.shift.shape))
    return found


def states(seed, batch=2):
    """Of every scale, and what the cell takes."""
    rng = np.random.default_rng(seed)
    *z, b = (rng.standard_normal((batch, *shape)) for shape in (*SHAPES, SHAPES[0]))
    return z, b


def correlate(z, kernel, stride=1):
    """By loops, of images padded with zeros as TensorFlow's SAME does."""
    (height, width), taps = z.shape[1:3], kernel.shape[0]
    rows, columns = -(-height // stride), -(-width // stride)
    before, after = [], []
    for count, side in ((rows, height), (columns, width)):
        missing = max((count - 1) * stride + taps - side, 0)
        before.append(missing // 2)
        after.append(missing - missing // 2)
    padded = np.pad(z, ((0, 0), *zip(before, after, strict=True), (0, 0)))
    found = np.zeros((len(z), rows, columns, kernel.shape[3]))
    for i in range(rows):
        for j in range(columns):
            window = padded[:, i * stride : i * stride + taps, j * stride : j * stride + taps]
            found[:, i, j] = np.tensordot(window, kernel, 3)
    return found


def normalised(z, norm):
    groups = z.reshape(*z.shape[:3], norm.groups, -1)
    mean, variance = (fn(groups, axis=(1, 2, 4), keepdims=True) for fn in (np.mean, np.var))
    unit = ((groups - mean) / np.sqrt(variance + norm.epsilon)).reshape(z.shape)
    return unit * np.asarray(norm.scale[...]) + np.asarray(norm.shift[...])


def test_the_cell_is_that_of_its_formula(x64):
    found = cell(dtype=jnp.float64)
    K = {name: np.asarray(kernel[...]) for name, kernel in found.kernels.items()}
    z, b = states(0)
    x = [
        each + correlate(np.tanh(normalised(correlate(each, K[f"J{i}"]), norm)), K[f"K{i}"])
        for i, (each, norm) in enumerate(zip(z, found.inner, strict=True))
    ]
    x[0] = x[0] + b
    coarse = [x[i + 1] @ K[f"F{i + 1}_to_{i}"][0, 0] for i in range(2)]
    up = [
        each.repeat(2, 1).repeat(2, 2)[:, : z[i].shape[1], : z[i].shape[2]]
        for i, each in enumerate(coarse)
    ]
    down = [correlate(x[i], K[f"F{i}_to_{i + 1}"], 2) for i in range(2)]
    sums = [x[0] + up[0], x[1] + down[0] + up[1], x[2] + down[1]]
    image = found(tuple(map(jnp.asarray, z)), jnp.asarray(b))
    for total, norm, part in zip(sums, found.outer, image, strict=True):
        np.testing.assert_allclose(part, normalised(np.tanh(total), norm), atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["relu", "gelu", "tanh", "sin", "identity", "prelu"])
def test_most_equilibria_are_found_at_the_start(name):
    solve = nnx.jit(lambda model, x: model(x)[1].stats.fraction_converged)
    for seed in range(3):
        model = MDEQ((8, 8, 1), 3, activation=name, solver="anderson", rngs=nnx.Rngs(seed))
        assert solve(model, jax.random.normal(jax.random.key(seed), (64, 8, 8, 1))) >= 0.9


def test_a_coarse_scale_knows_the_input_by_the_fusion():
    found = MDEQCell((4, 4), activations.get("gelu"), rngs=nnx.Rngs(0))
    b = jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
    solution = DEQ(found, solver="picard")(b)
    assert np.all(np.abs(solution.value[1][0] - solution.value[1][1]).max(axis=(0, 1)) > 0.01)


def test_nothing_is_proved_and_it_says_so_by_giving_no_guarantee():
    assert MDEQ((8, 8, 1), 3, rngs=nnx.Rngs(0)).guarantees() == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": ()}, r"channels must have a number for every scale, got \(\)"),
        ({"taps": 0}, "taps must be a whole number >= 1, got 0"),
        ({"groups": 0}, "groups must be a whole number >= 1, got 0"),
        ({"channels": (16, 6)}, "groups must divide the number of channels, got 4 groups for 6"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MDEQ((8, 8, 1), 2, rngs=nnx.Rngs(0), **arguments)
    with pytest.raises(ValueError, match="takes images"):
        MDEQ((8,), 2, rngs=nnx.Rngs(0))
