"""Fields and pictures: norms of Fourier multipliers, flow, and equilibria of places."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import activations
from deqzoo import catalog
from deqzoo.core import fourier_multiplier
from deqzoo.data.examples import TaskError
from deqzoo.models.fno import FNO
from deqzoo.models.inr import INR
from deqzoo.nn import FourierCell
from deqzoo.tasks.darcy import pressure
from deqzoo.tasks.picture import drawn

RNG = np.random.default_rng(0)
ACTIVATIONS = [*catalog.activations.names()]
FEW = [ACTIVATIONS[i] for i in np.random.default_rng(2).choice(len(ACTIVATIONS), 4, replace=False)]


# Fourier multipliers.


def matrices(modes, channels, seed=0):
    rng, count = np.random.default_rng(seed), fourier_multiplier.waves(modes)
    A, B = rng.standard_normal((2, count + 2, channels, channels))
    return jnp.asarray(A), jnp.asarray(B[2:])


def by_fft(z, A, B, modes):
    """The same with the Fourier transforms of NumPy and a matrix for every k of the grid."""
    A, B, (height, width) = np.asarray(A), np.asarray(B), z.shape[1:3]
    M = np.broadcast_to(A[0], (height, width, *A.shape[1:])).astype(complex)
    M[0, 0] = A[1]
    low = range(-modes, modes + 1)
    kept = [(k, 0) for k in low if k > 0] + [(k, j) for j in low if j > 0 for k in low]
    for (k, j), real, imaginary in zip(kept, A[2:], B, strict=True):
        M[k, j], M[-k, -j] = real + 1j * imaginary, real - 1j * imaginary
    moved = np.einsum("hwdc,bhwc->bhwd", M, np.fft.fft2(z, axes=(1, 2)))
    return np.fft.ifft2(moved, axes=(1, 2))


@pytest.mark.parametrize(("size", "modes"), [((7, 6), 2), ((5, 9), 2), ((3, 4), 1)])
def test_a_multiplier_has_the_matrices_as_fourier_transform_and_the_largest_norm(size, modes, x64):
    A, B = matrices(modes, 2)
    z = RNG.standard_normal((3, *size, 2))
    expected = by_fft(z, A, B, modes)
    found = fourier_multiplier.multiplied(jnp.asarray(z), A, B)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    basis = jnp.eye(2 * size[0] * size[1]).reshape(-1, *size, 2)
    dense = fourier_multiplier.multiplied(basis, A, B).reshape(len(basis), -1)
    norms = np.linalg.norm(fourier_multiplier.blocks(A, B), 2, axis=(1, 2))
    assert np.linalg.norm(dense, 2) == pytest.approx(max(norms), rel=1e-6)


@pytest.mark.parametrize("name", FEW)
def test_states_come_nearer_by_the_bound_and_no_more_is_given_away(name):
    act = activations.get(name)
    cell = FourierCell(3, act, modes=2, rngs=nnx.Rngs(1))
    parameters = {"A": cell.A[...], "B": cell.B[...]}
    guarantee = cell.guarantee("cell")
    sharp, cheap = (f({"cell": parameters}) for f in (guarantee.sharp_bound, guarantee.bound))
    assert 0.87 < sharp <= cheap <= 0.9 * (1 + 1e-6)
    u = jnp.asarray(RNG.standard_normal((20, 6, 7, 3)) * 2, jnp.float32)
    z, w = (jnp.asarray(RNG.standard_normal((20, 6, 7, 3)), jnp.float32) for _ in range(2))
    length = lambda a: np.linalg.norm(np.reshape(a, (20, -1)), axis=1)  # noqa: E731
    assert np.all(length(cell(z, u) - cell(w, u)) <= sharp * (1 + 1e-5) * length(z - w))


def test_a_projection_is_the_nearest_and_leaves_what_is_within_the_limit():
    A, B = (each.astype(jnp.float32) for each in matrices(1, 3))
    guarantee = FourierCell(3, activations.get("tanh"), rngs=nnx.Rngs(0)).guarantee("cell")
    parameters = {"cell": {"A": A.at[2].multiply(0.01), "B": B.at[0].multiply(0.01)}}
    new = guarantee.project(parameters, 0.9)["cell"]
    for k in range(len(B)):
        old = np.asarray(parameters["cell"]["A"][k + 2] + 1j * parameters["cell"]["B"][k])
        left, sizes, right = np.linalg.svd(old)
        expected = (left * np.minimum(sizes, 0.9)) @ right
        np.testing.assert_allclose(new["A"][k + 2] + 1j * new["B"][k], expected, atol=1e-5)
    np.testing.assert_array_equal(new["A"][2], parameters["cell"]["A"][2])
    assert guarantee.sharp_bound({"cell": new}) <= 0.9 * (1 + 1e-5)
    assert not guarantee.bound({"cell": {**new, "B": jnp.full_like(B, jnp.nan)}}) < 1


@pytest.mark.slow
def test_an_operator_takes_other_grids():
    model = FNO((8, 8, 1), 1, channels=4, modes=2, width=8, rngs=nnx.Rngs(0))
    coarse, fine = (np.full((1, n, n, 1), 0.5, np.float32) for n in (64, 128))
    outputs = [np.asarray(model(each)[0]) for each in (coarse, fine)]
    means = outputs[1].reshape(1, 64, 2, 64, 2, 1).mean((2, 4))
    np.testing.assert_allclose(outputs[0], means, atol=0.03)


def test_grids_that_are_too_coarse_and_what_is_no_field_are_refused():
    with pytest.raises(ValueError, match="4 modes need a grid of more than 8 points each way"):
        FNO((8, 9, 1), 1, modes=4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"takes fields \(height, width, k\)"):
        FNO((64,), 1, rngs=nnx.Rngs(0))


# Flow.


def test_the_pressure_balances_the_flow_of_every_cell():
    a = np.exp(RNG.standard_normal((5, 5)))
    u, h = pressure(a), 1 / 5
    for i in range(5):
        for j in range(5):
            out = 0.0
            for k, m in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                if 0 <= k < 5 and 0 <= m < 5:  # through half a cell of each
                    out += (u[i, j] - u[k, m]) / (h / 2 / a[i, j] + h / 2 / a[k, m]) * h
                else:
                    out += u[i, j] * a[i, j] / (h / 2) * h
            assert out == pytest.approx(100 * h * h)


def test_permeabilities_are_of_two_kinds():
    two, many = (
        catalog.tasks.get(f"darcy(size=8, fields=20, scaling='none', coefficient={kind!r})").load()
        for kind in ("threshold", "lognormal")
    )
    assert {*np.unique(two.train.x)} == {3.0, 12.0}
    assert 0.5 < np.std(np.log(many.train.x)) < 1.5
    assert (two.loss, two.metrics) == ("square", ("relative_l2",))


# Pictures.


def test_places_are_the_centres_of_pixels_and_the_splits_hold_them_all():
    data = catalog.tasks.get("picture(size=6)").load()
    x, y = (np.concatenate(pair) for pair in zip(data.train, data.test, strict=True))
    order = np.lexsort((x[:, 1], x[:, 0]))
    np.testing.assert_allclose(y[order].reshape(6, 6, 3), drawn(6), atol=1e-6)
    np.testing.assert_allclose(np.unique(x), np.arange(-5, 6, 2) / 6, atol=1e-6)


@pytest.mark.parametrize(
    ("picture", "channels"),
    [(np.full((4, 8), 255, np.uint8), 1), (np.ones((4, 8, 3)), 3)],
)
def test_a_picture_of_ones_own(picture, channels, tmp_path):
    np.save(tmp_path / "mine.npy", picture)
    data = catalog.tasks.get(f"picture:{tmp_path / 'mine.npy'}").load()
    assert data.train.y.shape == (24, channels)
    assert np.all(data.train.y == 1)
    assert np.abs(data.train.x).max(0).tolist() == [0.375, 0.875]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the picture .*np.save"),
        (b"text", "cannot read the picture"),
        (np.ones(7), r"is no picture, it has shape \(7,\)"),
        (np.full((2, 2), 1.5), r"real numbers in \[0, 1\]; got float64 in \[1.5, 1.5\]"),
        (np.full((2, 2), np.nan), r"real numbers in \[0, 1\]"),
        (np.ones((2, 2), int), "must hold bytes.* got int64"),
    ],
)
def test_what_is_no_picture_is_refused(content, message, tmp_path):
    path = tmp_path / "mine.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(TaskError, match=message):
        catalog.tasks.get(f"picture:{path}").load()


def test_places_are_turned_into_waves():
    model = INR((2,), 1, features=3, width=4, frequency=5.0, rngs=nnx.Rngs(0))
    x = RNG.standard_normal((5, 2)).astype(np.float32)
    turned = x @ np.asarray(model.F[...]).T
    expected = model.inputs(np.concatenate([np.sin(turned), np.cos(turned)], 1))
    np.testing.assert_allclose(model.injection(x), expected, atol=1e-4)
    assert model.ends() is None
