"""Spectral norms that never err on the unsafe side, and projections onto a ball of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deqzoo.core import spectral

SHAPES = ((1, 1), (40, 40), (40, 25), (25, 40), (30, 1))


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def orthogonal(n):
    return np.linalg.qr(numbers(n, n))[0]


def spread(n, values):
    """Given singular values."""
    return orthogonal(n) * values @ np.linalg.qr(numbers(n, n, seed=1))[0]


MATRICES = {
    **{f"gaussian {m}x{n}": numbers(m, n) for m, n in SHAPES},
    "zero": np.zeros((40, 40)),
    "rank one": np.outer(numbers(40), numbers(25, seed=1)),
    "one entry": np.eye(40)[:, :1] * np.eye(25)[:1],
    "orthogonal": orthogonal(40),
    "identity": np.eye(40),
    "ones": np.ones((40, 40)),
    "nilpotent": np.eye(40, k=1),
    "decaying": spread(40, 0.5 ** np.arange(40)),
    "plateau": spread(40, np.where(np.arange(40) < 20, 1, 0.1)),
}


@pytest.fixture(params=MATRICES)
def matrices(request):
    """One matrix at many scales; squares of the last two do not exist in float32."""
    return [scale * MATRICES[request.param] for scale in (1.0, 1e-20, 1e15, 1e-30, 1e30)]


def norm(matrix):
    return np.linalg.norm(np.asarray(matrix, np.float64), 2)


# Measured.


def test_spectral_norm_is_the_largest_singular_value(matrices):
    for weight in matrices:
        measured = spectral.spectral_norm(weight)
        assert isinstance(measured, float)
        assert measured == pytest.approx(norm(weight), rel=1e-13)


def test_the_sparse_branch_equals_the_dense_one(matrices, monkeypatch):
    dense = [spectral.spectral_norm(weight) for weight in matrices]
    monkeypatch.setattr(spectral, "_DENSE_LIMIT", 8)
    sparse = [spectral.spectral_norm(weight) for weight in matrices]
    np.testing.assert_allclose(sparse, dense, rtol=1e-11)


def test_the_sparse_branch_is_for_what_is_large_both_ways(monkeypatch):
    taken = []
    monkeypatch.setattr(spectral, "_DENSE_LIMIT", 8)
    monkeypatch.setattr(spectral, "_lanczos", lambda weight: taken.append(weight.shape) or 3.0)
    for shape in ((8, 8), (9, 9), (2, 9), (9, 1)):
        spectral.spectral_norm(np.ones(shape))
    assert taken == [(9, 9), (2, 9)]


def test_the_sparse_branch_sees_scales_whose_squares_do_not_exist(monkeypatch):
    monkeypatch.setattr(spectral, "_DENSE_LIMIT", 8)
    for scale in (1e-200, 1e200):
        weight = scale * numbers(40, 40)
        assert spectral.spectral_norm(weight) == pytest.approx(norm(weight), rel=1e-11)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_norm_of_a_non_finite_matrix_is_nan(bad):
    weight = numbers(5, 5)
    weight[2, 3] = bad
    assert np.isnan(spectral.spectral_norm(weight))


# Proved.


def test_the_proved_norm_is_above_the_norm_and_next_to_it(matrices):
    for weight in matrices:
        true = norm(weight)
        assert true <= spectral.proved_norm(weight) <= true * (1 + 1e-8)


@pytest.mark.slow
def test_the_proved_norm_of_a_wide_gaussian_matrix_is_not_that_of_a_power_iteration():
    """Sixty steps of the power iteration stop half a percent short; the proof does not."""
    weight = numbers(1200, 1200) * (0.4 / 1200**0.5)
    v = numbers(1200, seed=1)
    for _ in range(60):
        v = weight.T @ (weight @ v)
        v /= np.linalg.norm(v)
    true = norm(weight)
    assert np.linalg.norm(weight @ v) < true * (1 - 1e-4)
    assert true <= spectral.proved_norm(weight) <= true * (1 + 1e-8)


def test_the_proof_does_not_rest_on_the_estimate(monkeypatch):
    """An estimate that is too small fails the factorisation, and the bound stays one."""
    weight = numbers(40, 40)
    true = norm(weight)
    monkeypatch.setattr(spectral, "spectral_norm", lambda w: 0.9 * norm(w))
    assert spectral.proved_norm(weight) >= true


def test_the_proof_leaves_room_for_the_rounding_of_product_and_factorisation():
    """m ε ‖W‖_F² and (n + 2) ε n t², of which the second is by far the larger one here."""
    m, n = 80, 64
    weight = np.zeros((m, n))
    weight[0, 0] = 1
    room = (m + (n + 2) * n) * np.finfo(float).eps
    assert 1 + room <= spectral.proved_norm(weight) ** 2 <= 1 + 4 * room


def test_the_proved_norm_of_what_has_no_norm():
    assert spectral.proved_norm(np.zeros((3, 3))) == 0
    assert np.isnan(spectral.proved_norm(np.full((3, 3), np.nan)))


# Bounded.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_upper_bound_is_one(x64, matrices, dtype):
    upper_bound = jax.jit(spectral.norm_upper_bound)
    for weight in (matrix.astype(dtype) for matrix in matrices):
        bound, true = upper_bound(weight), norm(weight)
        assert bound.dtype == dtype
        assert true <= bound <= true * min(weight.shape) ** (1 / 256) * 1.0001


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_upper_bound_is_never_below_the_norm_by_rounding(x64, dtype):
    # Rank one matrices, where the bound is an equality before rounding.
    left, right = (numbers(200, size, seed=i) for i, size in enumerate((40, 25)))
    weights = (left[:, :, None] * right[:, None, :]).astype(dtype)
    bounds = jax.jit(jax.vmap(spectral.norm_upper_bound))(weights)
    true = np.linalg.norm(weights.astype(np.float64), 2, axis=(1, 2))
    assert np.all(bounds >= true)
    assert np.all(bounds <= true * 1.0001)


def test_the_upper_bound_is_tight_for_gaussian_matrices():
    for n in (64, 256):
        weights = numbers(5, n, n).astype(np.float32)
        bounds = jax.jit(jax.vmap(spectral.norm_upper_bound))(weights)
        ratio = bounds / np.linalg.norm(weights, 2, axis=(1, 2))
        assert np.all((ratio >= 1) & (ratio < 1.025))


def test_the_upper_bound_of_nan_is_nan():
    assert np.isnan(spectral.norm_upper_bound(jnp.full((3, 3), jnp.nan)))


# Projected.


def clipped(weight, limit):
    u, s, v = np.linalg.svd(np.asarray(weight, np.float64), full_matrices=False)
    return u * np.minimum(s, limit) @ v


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 3e-6), ("float64", 1e-13)])
def test_projection_clips_singular_values(x64, matrices, dtype, tolerance):
    project = jax.jit(spectral.project_norm)
    for weight in (matrix.astype(dtype) for matrix in matrices):
        true = float(norm(weight))
        limit = 0.3 * true
        projected = project(weight, limit)
        assert projected.dtype == dtype
        np.testing.assert_allclose(projected, clipped(weight, limit), atol=tolerance * true)
        assert norm(projected) <= limit * (1 + 10 * tolerance)


def test_projection_leaves_a_feasible_matrix_alone_bit_for_bit(matrices):
    project = jax.jit(spectral.project_norm)
    for weight in (matrix.astype(np.float32) for matrix in matrices):
        for room in (10, 1.001):  # far from the limit; between the norm and its cheap upper bound
            limit = max(float(norm(weight)) * room, 1e-30)
            np.testing.assert_array_equal(project(weight, limit), weight)


def test_half_precision_is_kept_and_bounded_in_float32():
    weight = jnp.asarray(numbers(60, 40).astype(jnp.bfloat16))
    true = norm(weight)
    assert true <= spectral.norm_upper_bound(weight) <= 1.05 * true
    for change in (spectral.project_norm, spectral.shrink_to):
        assert change(weight, 2 * true).dtype == jnp.bfloat16
        np.testing.assert_array_equal(change(weight, 2 * true), weight)
        changed = change(weight, 0.5 * true)
        assert changed.dtype == jnp.bfloat16
        assert norm(changed) == pytest.approx(0.5 * true, rel=0.05)


def test_projection_twice_is_projection_once(x64):
    once = spectral.project_norm(jnp.asarray(numbers(20, 30)), 0.5)
    np.testing.assert_allclose(spectral.project_norm(once, 0.5), once, atol=1e-14)


def test_shrinking_scales_down_only_what_is_too_large(matrices):
    shrink = jax.jit(spectral.shrink_to)
    for weight in (matrix.astype(np.float32) for matrix in matrices):
        true = float(norm(weight))
        np.testing.assert_array_equal(shrink(weight, 2 * true), weight)
        shrunk = np.asarray(shrink(weight, 0.5 * true))
        assert true / 2.2 <= norm(shrunk) <= true / 2 * (1 + 1e-6)
        direction = weight.astype(np.float64) / max(true, 1e-300) * norm(shrunk)
        np.testing.assert_allclose(shrunk, direction, rtol=0, atol=1e-6 * true)
