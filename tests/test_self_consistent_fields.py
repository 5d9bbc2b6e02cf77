"""Electrons: two ways to write one Hamiltonian; a plug-in of a matrix and its derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deqzoo import catalog
from deqzoo.activation.spectral import spectral
from deqzoo.experiments import _closed_pairs
from deqzoo.experiments._all_configurations import AllConfigurations
from deqzoo.experiments._chain import Hamiltonian


def drawn(count, seed=0):
    """A Hamiltonian of real orbitals: (pq|rs) keeps its value in eight orders of its indices."""
    rng = np.random.default_rng(seed)
    one, two = rng.standard_normal((count,) * 2), rng.standard_normal((count,) * 4)
    for order in ((1, 0, 2, 3), (0, 1, 3, 2), (2, 3, 0, 1)):
        two = (two + two.transpose(order)) / 2
    return Hamiltonian(one + one.T, two)


def symmetric(size, seed=0):
    matrix = np.random.default_rng(seed).standard_normal((size, size))
    return jnp.asarray(matrix + matrix.T)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("count", [2, 4, 5])
def test_the_formula_of_closed_pairs_is_a_block_of_the_matrix_of_all_configurations(count):
    hamiltonian, space = drawn(count), AllConfigurations(count)
    block = space.matrix(hamiltonian)[np.ix_(space.is_closed, space.is_closed)]
    np.testing.assert_allclose(_closed_pairs.matrix(hamiltonian), block, atol=1e-12)


def test_energies_of_all_configurations_do_not_depend_on_the_orbitals():
    hamiltonian, space = drawn(4), AllConfigurations(4)
    turn = jnp.asarray(np.random.default_rng(1).standard_normal(6))
    turned = hamiltonian.rotated(_closed_pairs.orbitals(turn, 4))
    expected = np.linalg.eigvalsh(space.matrix(hamiltonian))
    np.testing.assert_allclose(np.linalg.eigvalsh(space.matrix(turned)), expected, atol=1e-11)


def test_orbitals_are_the_matrix_exponential():
    turn = jnp.asarray(np.random.default_rng(2).standard_normal(6))
    upper = np.zeros((4, 4))
    upper[np.triu_indices(4, 1)] = turn
    expected = jax.scipy.linalg.expm(upper - upper.T)
    np.testing.assert_allclose(_closed_pairs.orbitals(turn, 4), expected, atol=1e-14)


@pytest.mark.parametrize("recipe", ["sigmoid", "softplus", "sin"])
def test_the_derivative_of_a_spectral_activation_is_the_difference_quotient(recipe):
    act, step = catalog.activations.get(recipe), 1e-5
    distinct, change = symmetric(4), symmetric(4, 1)
    twice = jnp.diag(jnp.array([0.3, 0.3, -1.0, 0.3 + 1e-9]))
    for matrix in (distinct, twice):
        values, moved = jax.jvp(lambda A: spectral(act, A), (matrix,), (change,))
        ends = [spectral(act, matrix + sign * step * change) for sign in (1, -1)]
        np.testing.assert_allclose(moved, (ends[0] - ends[1]) / (2 * step), atol=1e-8)
        slopes = jax.grad(lambda A: jnp.trace(spectral(act, A)))(matrix)  # φ'(A)
        np.testing.assert_allclose(slopes, slopes.T, atol=1e-14)
        assert jnp.vdot(slopes, change) == pytest.approx(float(jnp.trace(moved)), abs=1e-12)
        np.testing.assert_allclose(values @ matrix, matrix @ values, atol=1e-12)


def test_a_spectral_activation_of_a_batch_is_that_of_each():
    act = catalog.activations.get("tanh")
    batch = jnp.stack([symmetric(3, seed) for seed in range(4)])
    each = [spectral(act, matrix) for matrix in batch]
    np.testing.assert_allclose(spectral(act, batch), each, atol=1e-14)
